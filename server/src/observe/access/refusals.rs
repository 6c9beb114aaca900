//! Refusals: the first ones of a tenant for one reason are recorded each, further ones as one record with their number.
//! So no caller's noise hides another's probing, and all refusals together write a limited amount. A refusal never
//! waits for a slot: without one it is counted with the others.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{
    record::{Caller, Record},
    record_slots::RecordSlot,
};

/// How often a record of many is written, and how long the first ones are counted for.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// How many of one tenant and reason are recorded each, in an interval.
const IN_FULL: u32 = 20;
/// Pairs of tenant and reason that are distinguished: more than there are, unless somebody finds a way to invent some.
const MAX_KEYS: usize = 8_192;
/// All the others.
const OTHER: &str = "OTHER";

#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<(String, String), Count>>);

/// Refusals of one tenant for one reason, in this interval.
#[derive(Debug, Default)]
struct Count {
    in_full: u32,
    more: Option<More>,
}

/// Those that were not recorded each.
#[derive(Debug)]
struct More {
    count: u64,
    first: SystemTime,
    last: SystemTime,
    last_record: Record<'static>,
}

impl Refusals {
    /// The record to write now, with its slot, unless this refusal is only counted.
    pub(super) fn record_refusal<'a>(
        &self,
        record: Record<'a>,
        slot: impl FnOnce() -> Option<RecordSlot>,
    ) -> Option<(Record<'a>, RecordSlot)> {
        let mut counts = self.lock();
        let key = (record.caller.answerable(), record.reason.to_string());
        let known = counts.len() < MAX_KEYS || counts.contains_key(&key);
        let key = if known { key } else { (String::new(), OTHER.to_owned()) };
        let count = counts.entry(key).or_default();
        if count.in_full < IN_FULL && known {
            count.in_full += 1;
            if let Some(slot) = slot() {
                return Some((record, slot));
            }
        }
        count.add(record, SystemTime::now());
        None
    }

    /// Begins a new interval. Returns the records of the old one with the results of `slot`; those without a slot are
    /// counted further.
    pub(super) fn rotate<P>(&self, mut slot: impl FnMut() -> Option<P>) -> Vec<(Record<'static>, P)> {
        let mut summaries = Vec::new();
        self.lock().retain(|(_, reason), count| {
            count.in_full = 0;
            // Quiet for an interval, it is forgotten.
            let Some(more) = count.more.take() else { return false };
            match slot() {
                Some(slot) => summaries.push((more.into_record(reason), slot)),
                None => count.more = Some(more),
            }
            true
        });
        summaries
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn add(&mut self, record: Record<'_>, now: SystemTime) {
        let last_record = record.into_owned();
        let (count, first) = self.more.take().map_or((0, now), |more| (more.count, more.first));
        self.more = Some(More { count: count + 1, first, last: now, last_record });
    }
}

impl More {
    /// One record of all of them. Action and resource are the last one's; the caller is named only if all have the
    /// same.
    fn into_record(self, reason: &str) -> Record<'static> {
        let mut record = self.last_record;
        if reason == OTHER {
            record.caller = Caller::default();
            record.reason = OTHER.into();
        }
        record.of_many(self.count, self.first, self.last);
        record
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::{super::record::Action, *};

    fn refusal(tenant: &str, reason: &'static str) -> Record<'static> {
        let mut record = Record::new(Action::Refused, "m", Caller::default());
        tenant.clone_into(&mut record.caller.tenant);
        record.reason = reason.into();
        record
    }

    fn slots(count: usize) -> impl Fn() -> Option<RecordSlot> {
        let free = Arc::new(Semaphore::new(count));
        move || Arc::clone(&free).try_acquire_owned().ok()
    }

    /// How many refusals of a tenant are in records: singly, and in sums.
    fn of(tenant: &str, summaries: &[Record<'_>]) -> (usize, u64) {
        let own = || summaries.iter().filter(|record| record.caller.tenant == tenant);
        (own().filter(|record| record.count == 0).count(), own().map(|record| record.count).sum())
    }

    #[test]
    fn noise_hides_nobody_and_nothing_is_lost() {
        let (refusals, slot) = (Refusals::default(), slots(10_000));
        let mut summaries = Vec::new();
        let mut record_refusal =
            |record| summaries.extend(refusals.record_refusal(record, &slot).map(|(record, _)| record));
        for round in 0..40 {
            (0..1_000).for_each(|_| record_refusal(refusal("loud", "TOKEN_MISSING")));
            record_refusal(refusal("quiet", "GRANT_MISSING"));
            if round == 7 {
                record_refusal(refusal("loud", "GRANT_MISSING"));
            }
        }
        assert_eq!(summaries.len(), 20 + 20 + 1);
        summaries.extend(refusals.rotate(|| Some(())).into_iter().map(|(record, ())| record));
        assert_eq!(of("loud", &summaries), (21, 39_980));
        assert_eq!(of("quiet", &summaries), (20, 20));
        let sum = summaries.iter().find(|record| record.count == 39_980).unwrap();
        assert!(sum.reason == "TOKEN_MISSING" && !sum.first_time.is_empty());
        // A new interval has its own first ones, and what is quiet is forgotten.
        assert!(refusals.record_refusal(refusal("loud", "TOKEN_MISSING"), &slot).is_some());
        assert!(refusals.rotate(|| Some(())).is_empty());
        assert!(refusals.lock().is_empty());
    }

    #[test]
    fn without_a_place_it_is_counted_until_there_is_one() {
        let (refusals, none) = (Refusals::default(), slots(0));
        (0..7).for_each(|_| assert!(refusals.record_refusal(refusal("t", "TOKEN_MISSING"), &none).is_none()));
        assert!(refusals.rotate(&none).is_empty());
        assert!(refusals.record_refusal(refusal("t", "TOKEN_MISSING"), &none).is_none());
        let summaries = refusals.rotate(|| Some(()));
        assert_eq!((summaries.len(), summaries[0].0.count), (1, 8));
    }

    #[test]
    fn there_is_an_end_to_what_is_told_apart() {
        let (refusals, slot) = (Refusals::default(), slots(100_000));
        for number in 0..3 * MAX_KEYS {
            refusals.record_refusal(refusal(&number.to_string(), "TOKEN_MISSING"), &slot);
        }
        assert!(refusals.lock().len() <= MAX_KEYS + 1);
        let summaries = refusals.rotate(|| Some(()));
        let rest: Vec<_> = summaries.iter().filter(|(record, ())| record.reason == OTHER).collect();
        assert_eq!((rest.len(), rest[0].0.count), (1, 2 * MAX_KEYS as u64));
    }
}
