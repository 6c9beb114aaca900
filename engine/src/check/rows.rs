//! Reads all rows of a shard, or of one of its departments.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    body,
    halt::Halt,
    ids::{DepartmentId, LANES, Lane, LeaseId, QueueId, QueueRef, ShardId, SubscriptionId, SubscriptionRef},
    keys::{
        self, AckChunkKey, BodyKey, ClosedLeaseKey, DeadLetterUseKey, DepartmentKey, EntryKey, HeadKey, Key,
        LeaseKey, ParkedTimerKey, ProducerKey, ProducerUseKey, ProgressKey, Publisher, PublisherKey,
        QueueKey, QueueNameKey, RelocatedBodyKey, RequestKey, RequestOrderKey, Requester, RequesterKey,
        RetryKey, SetAsideKey, ShardKey, SubscriptionKey, Timer, TimerKey,
    },
    kv::{Family, Kv},
    machine::for_each_row,
    overlay::{Overlay, decode_row},
    schema::{
        DeadLetterOrigin, DepartmentRow, EntryRow, LeaseRow, ProducerRow, ProgressRow, PublisherRow,
        QueueHeadRow, QueueRow, RequestOrderRow, RequestRow, RequesterRow, RetryRow, ShardRow,
        SubscriptionRow,
    },
    state::Chunk,
};

/// The lane of all messages.
pub(super) const LANE: Lane = {
    let [lane] = LANES;
    lane
};

#[derive(Default)]
pub(super) struct Rows {
    pub(super) shard: ShardRow,
    pub(super) departments: BTreeMap<DepartmentId, Department>,
    pub(super) queues: BTreeMap<QueueRef, Queue>,
    pub(super) requesters: BTreeMap<Requester, Requests>,
    /// The times at which each timer is due: there may be a stale one beside the one that counts.
    pub(super) timers: BTreeMap<Timer, BTreeSet<u64>>,
    /// The timers that were due while their department was set aside.
    parked: BTreeMap<Timer, BTreeSet<u64>>,
}

#[derive(Default)]
pub(super) struct Department {
    pub(super) row: DepartmentRow,
    pub(super) names: BTreeMap<String, QueueId>,
    pub(super) uses: BTreeSet<(String, QueueId)>,
    /// There is a row that says why the department is set aside.
    pub(super) has_reason: bool,
    pub(super) parked_timers: usize,
}

#[derive(Default)]
pub(super) struct Requests {
    pub(super) row: Option<RequesterRow>,
    pub(super) order: BTreeMap<u64, RequestOrderRow>,
    pub(super) done: BTreeMap<String, RequestRow>,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) definition: Option<QueueRow>,
    pub(super) head: Option<QueueHeadRow>,
    pub(super) subscriptions: BTreeMap<SubscriptionId, Subscription>,
    pub(super) producers: BTreeMap<Bytes, ProducerRow>,
    pub(super) producer_uses: BTreeSet<(Publisher, u64, Bytes)>,
    pub(super) publishers: BTreeMap<Publisher, PublisherRow>,
    /// The bytes of each body.
    pub(super) bodies: BTreeMap<u64, u64>,
    pub(super) origins: BTreeMap<u64, DeadLetterOrigin>,
    pub(super) entries: BTreeMap<u64, EntryRow>,
}

#[derive(Default)]
pub(super) struct Subscription {
    pub(super) row: Option<SubscriptionRow>,
    pub(super) chunks: BTreeMap<u64, Chunk>,
    pub(super) leases: BTreeMap<LeaseId, LeaseRow>,
    pub(super) progress: BTreeMap<LeaseId, ProgressRow>,
    pub(super) closed: BTreeSet<(u64, LeaseId)>,
    pub(super) retries: BTreeMap<u64, RetryRow>,
    /// The bytes of each relocated body.
    pub(super) relocated: BTreeMap<u64, u64>,
}

impl Rows {
    pub(super) fn read(
        shard: ShardId,
        only: Option<DepartmentId>,
        kv: &dyn Kv,
        problems: &mut Vec<String>,
    ) -> Result<Self, Halt> {
        let overlay = Overlay::new(kv);
        let mut rows =
            Self { shard: overlay.row(&ShardKey { shard })?.unwrap_or_default(), ..Self::default() };
        let timers = TimerKey::all_of(shard);
        for_each_row::<TimerKey>(&overlay, &timers, &timers, |key, _| {
            rows.timers.entry(key.timer).or_default().insert(key.due_ms);
            Ok(())
        })?;
        // One seek per department: those of other shards are between them.
        let (mut from, end) = (Vec::new(), vec![u8::MAX; 64]);
        while let Some((key, _)) = overlay.range(Family::State, &from, &end, 1)?.pop() {
            let Some(id) = keys::department_of(Family::State, &key) else {
                return Err(Halt::Corrupt("a key that is too short".into()));
            };
            let prefix = keys::department_prefix(id);
            from = keys::after(&prefix);
            if only.is_some_and(|only| only != id) {
                continue;
            }
            match overlay.row(&DepartmentKey { department: id })? {
                None => problems.push(format!("department {id} has rows but is not known")),
                Some(row) if row.shard != u32::from(shard.0) => {}
                Some(row) => {
                    rows.departments.insert(id, Department { row, ..Department::default() });
                    for family in [Family::State, Family::Body, Family::Entry] {
                        rows.read_family(kv, family, &prefix)?;
                    }
                }
            }
        }
        Ok(rows)
    }

    fn read_family(&mut self, kv: &dyn Kv, family: Family, prefix: &[u8]) -> Result<(), Halt> {
        let (mut from, end) = (prefix.to_vec(), keys::after(prefix));
        loop {
            let page = kv.range(family, &from, &end, 1_000)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = [last, &[0][..]].concat();
            for (key, value) in page {
                if self.read_row(family, &key, value)?.is_none() {
                    return Err(Halt::Corrupt(format!(
                        "a key of family {} is of no known kind: {key:?}",
                        family.name()
                    )));
                }
            }
        }
    }

    fn read_row(&mut self, family: Family, key: &[u8], value: Bytes) -> Result<Option<()>, Halt> {
        match family {
            Family::Body => self.read_body(key, value),
            Family::Entry => {
                let Some(key) = EntryKey::decode(key) else { return Ok(None) };
                let row = decode_row::<EntryKey>(value)?;
                self.queue(key.queue).entries.insert(key.first_sequence, row);
                Ok(Some(()))
            }
            _ => {
                let read = self.read_definition(key, value.clone())?;
                let read = if read.is_none() { self.read_request(key, value.clone())? } else { read };
                if read.is_none() { self.read_subscription(key, value) } else { Ok(read) }
            }
        }
    }

    fn read_body(&mut self, key: &[u8], value: Bytes) -> Result<Option<()>, Halt> {
        let bytes = value.len() as u64;
        let header = body::split(value).map_err(|error| Halt::Corrupt(error.to_string()))?.0;
        if let Some(BodyKey { queue, lane: LANE, sequence }) = BodyKey::decode(key) {
            self.queue(queue).bodies.insert(sequence, bytes);
            let origin = header.dead_letter.map(|origin| (sequence, origin));
            self.queue(queue).origins.extend(origin);
        } else if let Some(RelocatedBodyKey { subscription, lane: LANE, sequence }) =
            RelocatedBodyKey::decode(key)
        {
            self.subscription(subscription).relocated.insert(sequence, bytes);
        } else {
            return Ok(None);
        }
        Ok((header.lane == u32::from(LANE.0)).then_some(()))
    }

    fn read_definition(&mut self, key: &[u8], value: Bytes) -> Result<Option<()>, Halt> {
        if DepartmentKey::decode(key).is_some() {
        } else if let Some(SetAsideKey { department }) = SetAsideKey::decode(key) {
            decode_row::<SetAsideKey>(value)?;
            self.departments.entry(department).or_default().has_reason = true;
        } else if let Some(ParkedTimerKey { department, timer }) = ParkedTimerKey::decode(key) {
            self.departments.entry(department).or_default().parked_timers += 1;
            self.parked.entry(timer.timer).or_default().insert(timer.due_ms);
        } else if let Some(QueueNameKey { department, name }) = QueueNameKey::decode(key) {
            let queue = QueueId(decode_row::<QueueNameKey>(value)?.queue);
            self.departments.entry(department).or_default().names.insert(name, queue);
        } else if let Some(DeadLetterUseKey { department, target, queue }) = DeadLetterUseKey::decode(key) {
            self.departments.entry(department).or_default().uses.insert((target, queue));
        } else if let Some(QueueKey { queue }) = QueueKey::decode(key) {
            self.queue(queue).definition = Some(decode_row::<QueueKey>(value)?);
        } else if let Some(HeadKey { queue }) = HeadKey::decode(key) {
            self.queue(queue).head = Some(decode_row::<HeadKey>(value)?);
        } else if let Some(ProducerKey { queue, producer }) = ProducerKey::decode(key) {
            self.queue(queue).producers.insert(producer, decode_row::<ProducerKey>(value)?);
        } else if let Some(ProducerUseKey { publisher, used_ms, producer }) = ProducerUseKey::decode(key) {
            self.queue(publisher.queue).producer_uses.insert((publisher, used_ms, producer));
        } else if let Some(PublisherKey { publisher }) = PublisherKey::decode(key) {
            let row = decode_row::<PublisherKey>(value)?;
            self.queue(publisher.queue).publishers.insert(publisher, row);
        } else {
            return Ok(None);
        }
        Ok(Some(()))
    }

    fn read_request(&mut self, key: &[u8], value: Bytes) -> Result<Option<()>, Halt> {
        if let Some(RequesterKey { requester }) = RequesterKey::decode(key) {
            self.requests(requester).row = Some(decode_row::<RequesterKey>(value)?);
        } else if let Some(RequestOrderKey { requester, number }) = RequestOrderKey::decode(key) {
            self.requests(requester).order.insert(number, decode_row::<RequestOrderKey>(value)?);
        } else if let Some(RequestKey { requester, id }) = RequestKey::decode(key) {
            self.requests(requester).done.insert(id, decode_row::<RequestKey>(value)?);
        } else {
            return Ok(None);
        }
        Ok(Some(()))
    }

    fn read_subscription(&mut self, key: &[u8], value: Bytes) -> Result<Option<()>, Halt> {
        if let Some(SubscriptionKey { subscription }) = SubscriptionKey::decode(key) {
            self.subscription(subscription).row = Some(decode_row::<SubscriptionKey>(value)?);
        } else if let Some(AckChunkKey { subscription, lane: LANE, chunk }) = AckChunkKey::decode(key) {
            let held = Chunk::from_row(&decode_row::<AckChunkKey>(value)?)?;
            self.subscription(subscription).chunks.insert(chunk, held);
        } else if let Some(LeaseKey { subscription, lease }) = LeaseKey::decode(key) {
            self.subscription(subscription).leases.insert(lease, decode_row::<LeaseKey>(value)?);
        } else if let Some(ProgressKey { subscription, lease }) = ProgressKey::decode(key) {
            self.subscription(subscription).progress.insert(lease, decode_row::<ProgressKey>(value)?);
        } else if let Some(ClosedLeaseKey { subscription, closed_at_ms, lease }) = ClosedLeaseKey::decode(key)
        {
            self.subscription(subscription).closed.insert((closed_at_ms, lease));
        } else if let Some(RetryKey { subscription, lane: LANE, sequence }) = RetryKey::decode(key) {
            self.subscription(subscription).retries.insert(sequence, decode_row::<RetryKey>(value)?);
        } else {
            return Ok(None);
        }
        Ok(Some(()))
    }

    fn requests(&mut self, requester: Requester) -> &mut Requests {
        self.requesters.entry(requester).or_default()
    }

    fn queue(&mut self, id: QueueRef) -> &mut Queue {
        self.queues.entry(id).or_default()
    }

    fn subscription(&mut self, id: SubscriptionRef) -> &mut Subscription {
        self.queue(id.queue).subscriptions.entry(id.subscription).or_default()
    }

    /// The first time at which a timer is due.
    pub(super) fn first_due(&self, timer: &Timer) -> Option<u64> {
        self.dues(timer).min()
    }

    /// Whether a timer is due at a time.
    pub(super) fn is_due(&self, timer: &Timer, due_ms: u64) -> bool {
        self.dues(timer).any(|due| due == due_ms)
    }

    fn dues(&self, timer: &Timer) -> impl Iterator<Item = u64> {
        [&self.timers, &self.parked].into_iter().filter_map(|timers| timers.get(timer)).flatten().copied()
    }
}
