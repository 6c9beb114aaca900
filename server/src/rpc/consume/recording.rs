//! Reserves slots for the access records of a stream's deliveries: no delivery is sent before it has one.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    limits::ACCESS_PATIENCE,
    observe::{Observer, RecordSlot},
    rpc::consume::telemetry::slots_of,
};

type SlotWait = Pin<Box<dyn Future<Output = RecordSlot> + Send>>;

/// The record slots of a stream's next deliveries, or its wait for them.
pub(crate) struct Recording {
    observer: Arc<Observer>,
    waiting: Option<(SlotWait, Instant)>,
    slots: Option<RecordSlot>,
}

impl Recording {
    pub(crate) fn new(observer: &Arc<Observer>) -> Self {
        Self { observer: Arc::clone(observer), waiting: None, slots: None }
    }

    /// Returns when there are slots for so many deliveries, or at once where deliveries are not recorded. Another call
    /// continues the wait of one that was dropped.
    pub(crate) async fn ready(&mut self, deliveries: usize) {
        if self.slots.is_some() || !self.observer.access.keeps_messages() {
            return;
        }
        let (waiting, _) = self.waiting.get_or_insert_with(|| {
            let observer = Arc::clone(&self.observer);
            let slots = async move { observer.access.reserve_many(slots_of(deliveries)).await };
            (Box::pin(slots), Instant::now())
        });
        let slots = waiting.as_mut().await;
        (self.slots, self.waiting) = (Some(slots), None);
    }

    /// Removes and returns the slots for the deliveries that are sent now.
    pub(crate) fn pop(&mut self) -> Option<RecordSlot> {
        self.slots.take()
    }

    /// Whether deliveries have waited for slots so long that other consumers should get them.
    pub(crate) fn is_late(&self) -> bool {
        self.waiting.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed()) >= ACCESS_PATIENCE
    }

    /// Releases the slots, or ends the wait, because no deliveries wait.
    pub(crate) fn forget(&mut self) {
        (self.waiting, self.slots) = (None, None);
    }
}
