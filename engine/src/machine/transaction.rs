//! The transaction of a batch: its rows, its effects and what its commands share, before anything is written.

use std::collections::{BTreeMap, BTreeSet};

#[cfg(feature = "planted-bugs")]
use super::plant::Plant;
use super::{hydrate::hydrate, relocate};
use crate::{
    effect::Effect,
    halt::{Halt, ensure},
    ids::{DepartmentId, QueueId, QueueRef, ShardId, SubscriptionRef},
    keys::{DepartmentKey, QueueNameKey, Timer, TimerKey},
    outcome::DepartmentError,
    overlay::Overlay,
    schema::{DepartmentRow, ShardRow},
    state::Queue,
    tally::Tally,
};

pub(crate) struct Transaction<'a> {
    pub(crate) rows: Overlay<'a>,
    pub(crate) shard: ShardId,
    pub(crate) shard_row: &'a mut ShardRow,
    /// The batch's time, Unix milliseconds: deadlines and durations go by it.
    pub(crate) now: u64,
    /// The wall clock's time, Unix milliseconds: only for times that are shown.
    pub(crate) wall: u64,
    /// The machine version of the batch.
    pub(crate) version: u32,
    pub(super) departments: &'a mut BTreeMap<DepartmentId, DepartmentRow>,
    pub(super) queues: &'a mut BTreeMap<QueueRef, Box<Queue>>,
    /// Queues whose state may have changed.
    pub(super) touched: BTreeSet<QueueRef>,
    /// Departments whose row has changed or will change: bytes added and bytes freed.
    pub(super) charges: BTreeMap<DepartmentId, (u64, u64)>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) tally: Tally,
    /// The earliest time of a timer that was set.
    pub(super) deadline_ms: Option<u64>,
    pub(super) relocation: relocate::Rule,
    /// Effects of the current command, collected.
    appended: BTreeMap<QueueRef, u64>,
    returned: BTreeMap<SubscriptionRef, Vec<u64>>,
    /// A subscription that follows itself is added once; sorted at the command's end.
    settled: Vec<SubscriptionRef>,
    #[cfg(feature = "planted-bugs")]
    pub(crate) plant: Option<Plant>,
}

/// The proposer's facts of a batch.
pub(super) struct Proposed {
    pub(super) version: u32,
    pub(super) wall: u64,
}

impl<'a> Transaction<'a> {
    pub(super) const fn new(
        rows: Overlay<'a>,
        shard: ShardId,
        shard_row: &'a mut ShardRow,
        Proposed { version, wall }: Proposed,
        departments: &'a mut BTreeMap<DepartmentId, DepartmentRow>,
        queues: &'a mut BTreeMap<QueueRef, Box<Queue>>,
        relocation: relocate::Rule,
        #[cfg(feature = "planted-bugs")] plant: Option<Plant>,
    ) -> Self {
        Self {
            rows,
            shard,
            now: shard_row.now_ms,
            wall,
            version,
            shard_row,
            departments,
            queues,
            touched: BTreeSet::new(),
            charges: BTreeMap::new(),
            effects: Vec::new(),
            relocation,
            tally: Tally { expired: 0, moved: 0, parked: 0 },
            deadline_ms: None,
            appended: BTreeMap::new(),
            returned: BTreeMap::new(),
            settled: Vec::new(),
            #[cfg(feature = "planted-bugs")]
            plant,
        }
    }

    pub(crate) fn department(&mut self, id: DepartmentId) -> Result<Option<&DepartmentRow>, Halt> {
        use std::collections::btree_map::Entry;
        match self.departments.entry(id) {
            Entry::Occupied(known) => Ok(Some(known.into_mut())),
            Entry::Vacant(unread) => {
                let row = self.rows.row(&DepartmentKey { department: id })?;
                Ok(row.map(|row| &*unread.insert(row)))
            }
        }
    }

    pub(crate) fn open_department(
        &mut self,
        id: DepartmentId,
    ) -> Result<Result<&DepartmentRow, DepartmentError>, Halt> {
        Ok(match self.department(id)? {
            None => Err(DepartmentError::NotFound),
            Some(row) if row.set_aside => Err(DepartmentError::SetAside),
            Some(row) if row.closed => Err(DepartmentError::Closed),
            Some(row) => Ok(row),
        })
    }

    pub(crate) fn is_set_aside(&mut self, id: DepartmentId) -> Result<bool, Halt> {
        Ok(self.department(id)?.is_some_and(|row| row.set_aside))
    }

    pub(crate) fn put_department(&mut self, id: DepartmentId, row: DepartmentRow) {
        self.rows.put(&DepartmentKey { department: id }, &row);
        self.charge(id, 0, 0);
        self.departments.insert(id, row);
    }

    pub(crate) fn find_queue(&self, department: DepartmentId, name: &str) -> Result<Option<QueueRef>, Halt> {
        let row = self.rows.row(&QueueNameKey { department, name: name.into() })?;
        Ok(row.map(|row| QueueRef { department, queue: QueueId(row.queue) }))
    }

    /// Moves a queue's state out of the machine, until [`Transaction::return_queue`].
    pub(crate) fn borrow_queue(&mut self, id: QueueRef) -> Result<Option<Box<Queue>>, Halt> {
        if let Some(queue) = self.queues.remove(&id) {
            return Ok(Some(queue));
        }
        // A borrowed queue is not in the machine, and must not be read a second time.
        let queue = hydrate(
            &self.rows,
            id,
            #[cfg(feature = "planted-bugs")]
            self.plant,
        )?;
        ensure!(queue.is_none() || !self.touched.contains(&id), "queue {id:?} is used while it changes");
        Ok(queue)
    }

    /// Moves a queue's state back: its rows are written at the batch's end.
    pub(crate) fn return_queue(&mut self, mut queue: Box<Queue>) {
        queue.used_at = self.shard_row.applied_index;
        self.touched.insert(queue.id);
        self.queues.insert(queue.id, queue);
    }

    /// Forgets a queue whose rows were deleted.
    pub(crate) fn forget(&mut self, queue: &Queue) {
        self.touched.remove(&queue.id);
        self.charge(queue.id.department, 0, queue.charged_bytes);
    }

    /// Counts bytes that a department gains and loses; its row is written at the batch's end.
    pub(super) fn charge(&mut self, id: DepartmentId, added: u64, freed: u64) {
        let charged = self.charges.entry(id).or_default();
        charged.0 += added;
        charged.1 += freed;
    }

    /// A queue's state, for reading alone.
    pub(super) fn peek_queue(&mut self, id: QueueRef) -> Result<Option<&Queue>, Halt> {
        if self.is_set_aside(id.department)? {
            return Err(Halt::SetAside(id.department));
        }
        let Some(mut queue) = self.borrow_queue(id)? else { return Ok(None) };
        queue.used_at = self.shard_row.applied_index;
        Ok(Some(self.queues.entry(id).or_insert(queue)))
    }

    pub(crate) fn put_timer(&mut self, due_ms: u64, timer: Timer) {
        self.deadline_ms = Some(self.deadline_ms.map_or(due_ms, |known| known.min(due_ms)));
        self.rows.put(&TimerKey { shard: self.shard, due_ms, timer }, &());
    }

    pub(crate) fn delete_timer(&mut self, due_ms: u64, timer: Timer) {
        self.rows.delete(&TimerKey { shard: self.shard, due_ms, timer });
    }

    pub(crate) fn after(&self, delay_ms: u64) -> u64 {
        self.now.saturating_add(delay_ms)
    }

    /// How far the wall clock is ahead of the batch's time, milliseconds.
    pub(crate) const fn wall_ahead(&self) -> i64 {
        self.wall.wrapping_sub(self.now).cast_signed()
    }

    pub(crate) fn appended(&mut self, queue: QueueRef, last_sequence: u64) {
        self.appended.insert(queue, last_sequence);
    }

    pub(crate) fn returned(&mut self, subscription: SubscriptionRef, sequence: u64) {
        self.returned.entry(subscription).or_default().push(sequence);
    }

    pub(crate) fn settled(&mut self, subscription: SubscriptionRef) {
        if self.settled.last() != Some(&subscription) {
            self.settled.push(subscription);
        }
    }

    /// Turns what the command has collected into effects.
    pub(super) fn end_command(&mut self) {
        let appended = std::mem::take(&mut self.appended).into_iter();
        self.effects.extend(appended.map(|(queue, last_sequence)| Effect::Appended { queue, last_sequence }));
        for (subscription, mut sequences) in std::mem::take(&mut self.returned) {
            sequences.sort_unstable();
            self.effects.push(Effect::Returned { subscription, sequences });
        }
        self.settled.sort_unstable();
        self.settled.dedup();
        self.effects.extend(self.settled.drain(..).map(Effect::Settled));
    }
}
