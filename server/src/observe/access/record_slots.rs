//! Slots in the queue of records. An action that is recorded reserves one first, so that nothing is done whose record
//! could not be written.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use crate::limits::{ACCESS_PATIENCE, MAX_ACCESS_RECORDS_WAITING};

/// How often free slots are counted, while there are few.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// How long there must be no slot before that is reported.
const BLOCKED_AFTER: Duration = Duration::from_millis(200);
/// Fewer slots than this count as none: deliveries may need as many at once.
const FEW: usize = 16;
/// How many slots must be free again before that is reported: not one after the other.
const FREE_AGAIN: usize = MAX_ACCESS_RECORDS_WAITING / 16;

/// One or several slots, free again when the record is written, or this is dropped.
pub(crate) type RecordSlot = OwnedSemaphorePermit;

#[derive(Debug)]
pub(super) struct RecordSlots {
    free: Arc<Semaphore>,
    /// Somebody found none.
    missed: Notify,
    blocked: watch::Sender<bool>,
}

impl RecordSlots {
    pub(super) fn new() -> Self {
        let free = Arc::new(Semaphore::new(MAX_ACCESS_RECORDS_WAITING));
        Self { free, missed: Notify::new(), blocked: watch::Sender::new(false) }
    }

    /// Reserves slots if they are free.
    pub(super) fn at_once(&self, count: u32) -> Option<RecordSlot> {
        let slot = Arc::clone(&self.free).try_acquire_many_owned(count).ok();
        if slot.is_none() {
            self.missed.notify_one();
        }
        slot
    }

    /// Waits until the slots are free, and reserves them.
    pub(super) async fn however_long(&self, count: u32) -> RecordSlot {
        loop {
            if let Some(slot) = self.at_once(count) {
                return slot;
            }
            if let Ok(slot) = Arc::clone(&self.free).acquire_many_owned(count).await {
                return slot;
            }
        }
    }

    /// Waits for a slot; `None` if there was none in time.
    pub(super) async fn in_time(&self) -> Option<RecordSlot> {
        timeout(ACCESS_PATIENCE, self.however_long(1)).await.ok()
    }

    /// Whether there have been no slots for a while.
    pub(super) fn is_blocked(&self) -> bool {
        *self.blocked.borrow()
    }

    /// Whether there are slots, at first and after each change. [`Self::watch_for_slots`] reports it.
    pub(super) fn changes(&self) -> watch::Receiver<bool> {
        self.blocked.subscribe()
    }

    /// Counts free slots for as long as this is polled. `waiting` returns the records that are not written yet.
    pub(super) async fn watch_for_slots(&self, waiting: impl Fn() -> usize) {
        loop {
            self.missed.notified().await;
            let mut since = Instant::now();
            while self.is_blocked() || self.free.available_permits() < FEW {
                sleep(CHECK_INTERVAL).await;
                let free = self.free.available_permits();
                if self.is_blocked() {
                    self.blocked.send_replace(free < FREE_AGAIN);
                } else if free >= FEW || waiting() == 0 {
                    since = Instant::now();
                } else if since.elapsed() >= BLOCKED_AFTER {
                    self.blocked.send_replace(true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u32 = MAX_ACCESS_RECORDS_WAITING as u32;

    #[tokio::test]
    async fn one_who_waits_is_told_in_time_that_there_is_none() {
        let slots = RecordSlots::new();
        let held = slots.at_once(ALL).unwrap();
        let begun = Instant::now();
        let (refused, patient) =
            tokio::join!(slots.in_time(), timeout(2 * ACCESS_PATIENCE, slots.however_long(1)));
        assert!(refused.is_none() && patient.is_err());
        assert!(begun.elapsed() >= 2 * ACCESS_PATIENCE);
        let waiting = slots.in_time();
        drop(held);
        assert!(waiting.await.is_some());
    }

    #[tokio::test]
    async fn that_there_are_none_is_told_after_a_while_and_that_there_are_again_when_there_are_some() {
        let slots = Arc::new(RecordSlots::new());
        let watching = Arc::clone(&slots);
        tokio::spawn(async move { watching.watch_for_slots(|| 1).await });
        let mut changes = slots.changes();
        let mut held = slots.at_once(ALL).unwrap();
        assert!(slots.at_once(1).is_none() && !slots.is_blocked());
        changes.wait_for(|blocked| *blocked).await.unwrap();
        drop(held.split(1));
        sleep(5 * CHECK_INTERVAL).await;
        assert!(slots.is_blocked(), "one place is not enough to begin again");
        drop(held);
        changes.wait_for(|blocked| !blocked).await.unwrap();
        assert!(slots.at_once(1).is_some());
    }
}
