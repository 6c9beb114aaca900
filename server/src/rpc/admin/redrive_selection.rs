//! Selects the dead letters of one redrive: which of them move, which are passed over and why, and where the next call
//! continues. A call is bounded in reads, in messages that move, in messages that are passed over, and in bytes.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use posthouse_engine::{
    halt::Halt,
    ids::{QueueId, QueueRef, SubscriptionRef},
    limits::{MAX_REDRIVE_BYTES, MAX_REDRIVE_ORIGINS, MAX_REDRIVE_PASSED_OVER},
    outcome::RedriveOutcome,
    schema::{DeadLetterOrigin, SkipReason},
    views::{MessageState, MessageStatus},
};

use crate::{
    limits,
    names::{DepartmentResource, QueueName},
    policy::{Admission, Denied, methods},
    rpc::{
        admin::dead_letters,
        context::{Context, FoundQueue},
        wire::status::ApiError,
    },
};

/// Dead letters of the first read. Each further read asks for twice as many.
const FIRST_READ: usize = 16;
const MAX_READ: usize = 1_024;

/// The messages that a redrive has come to, in order.
pub(super) struct Selection {
    pub(super) subscription: SubscriptionRef,
    pub(super) sequences: Vec<u64>,
    /// Per sequence why it is passed over, in the engine's encoding; 0 if the message moves.
    pub(super) reasons: Vec<u8>,
    /// The sequence from which the next call continues; 0 if no dead letters follow.
    pub(super) next_sequence: u64,
    /// The names of queues that messages came from, on which the caller needed a right and has it.
    pub(super) origins: Vec<String>,
    /// How many messages move, and their bytes.
    moving: usize,
    bytes: u64,
}

/// Selects from the dead letters of one queue, by the rights of one caller.
pub(super) struct Selector<'a> {
    context: &'a Context,
    found: &'a FoundQueue,
    department: DepartmentResource,
    admission: &'a Admission<methods::RedriveDeadLetters>,
    /// Whether all messages move to one queue, wherever they came from.
    has_target: bool,
    /// By the name of a queue, whether messages may move back to it.
    allowed: BTreeMap<String, bool>,
    selection: Selection,
}

impl Selection {
    /// Whether no message moves.
    pub(super) const fn is_empty(&self) -> bool {
        self.moving == 0
    }

    /// The outcome of each message if none moves.
    pub(super) fn passed_over(&self) -> impl Iterator<Item = (u64, RedriveOutcome)> {
        let reasons = self.reasons.iter().map(|reason| SkipReason::try_from(i32::from(*reason)));
        let reasons = reasons.map(|reason| reason.unwrap_or(SkipReason::NotDeadLetter));
        self.sequences.iter().copied().zip(reasons.map(RedriveOutcome::PassedOver))
    }

    fn is_full(&self, limit: usize) -> bool {
        let passed_over = self.sequences.len() - self.moving;
        self.origins.len() >= MAX_REDRIVE_ORIGINS
            || self.moving == limit
            || passed_over == MAX_REDRIVE_PASSED_OVER
            || self.bytes >= MAX_REDRIVE_BYTES
    }

    fn pass_over(&mut self, sequence: u64, reason: SkipReason) {
        self.sequences.push(sequence);
        self.reasons.push(reason as u8);
    }

    fn select(&mut self, status: &MessageStatus) {
        self.sequences.push(status.sequence);
        self.reasons.push(SkipReason::Unspecified as u8);
        self.moving += 1;
        self.bytes += u64::from(status.payload_bytes.unwrap_or(0));
    }
}

impl<'a> Selector<'a> {
    pub(super) fn new(
        context: &'a Context,
        found: &'a FoundQueue,
        subscription: SubscriptionRef,
        department: DepartmentResource,
        admission: &'a Admission<methods::RedriveDeadLetters>,
        has_target: bool,
    ) -> Self {
        let selection = Selection {
            subscription,
            sequences: Vec::new(),
            reasons: Vec::new(),
            next_sequence: 0,
            origins: Vec::new(),
            moving: 0,
            bytes: 0,
        };
        Self { context, found, department, admission, has_target, allowed: BTreeMap::new(), selection }
    }

    /// Selects the oldest messages that can move, from a sequence on. Those that cannot move are passed over, so that
    /// they do not block the others.
    pub(super) async fn oldest(mut self, from: u64, limit: usize) -> Result<Selection, ApiError> {
        let mut next = Some(from);
        let mut read_limit = FIRST_READ.max(limit).min(MAX_READ);
        for _ in 0..limits::DEAD_LETTER_SCANS {
            let Some(at) = next.filter(|_| !self.selection.is_full(limit)) else { break };
            let id = self.selection.subscription;
            let page = dead_letters::read(self.context, self.found, id, at, read_limit).await?;
            read_limit = (read_limit * 2).min(MAX_READ);
            next = page.next;
            let deleted = self.deleted_origins(&page.found).await?;
            for status in page.found {
                if self.selection.is_full(limit) {
                    next = Some(status.sequence);
                    break;
                }
                self.add(&status, &deleted)?;
            }
        }
        self.selection.next_sequence = next.unwrap_or(0);
        let is_complete = from == 0 && next.is_none();
        self.permitted(is_complete)
    }

    /// Selects from the messages of these sequences, in this order, at most `limit`.
    pub(super) async fn named(mut self, mut wanted: Vec<u64>, limit: usize) -> Result<Selection, ApiError> {
        let mut is_complete = wanted.len() <= limit;
        wanted.truncate(limit);
        let id = self.selection.subscription;
        // A query may have to read bodies, so each is small: others use the worker too.
        'queries: for some in wanted.chunks(limits::MESSAGES_PER_READ) {
            let asked = some.to_vec();
            let read = self.context.shards.query(self.found.department.origin(), move |m, kv| {
                let status = |sequence| m.message_status(kv, id, sequence);
                asked.into_iter().map(status).collect::<Result<Vec<_>, _>>()
            });
            let statuses = read.await??;
            let existing: Vec<_> = statuses.iter().flatten().cloned().collect();
            let deleted = self.deleted_origins(&existing).await?;
            for (sequence, status) in some.iter().zip(statuses) {
                if self.selection.origins.len() >= MAX_REDRIVE_ORIGINS {
                    // The remaining messages are not reached.
                    is_complete = false;
                    break 'queries;
                }
                match status {
                    Some(status) => self.add(&status, &deleted)?,
                    None => self.selection.pass_over(*sequence, SkipReason::NotDeadLetter),
                }
            }
        }
        self.permitted(is_complete)
    }

    /// Refuses a complete selection if the caller has no right on any of the queues that its messages came from.
    fn permitted(self, is_complete: bool) -> Result<Selection, ApiError> {
        let not_allowed = |reason: &u8| *reason == SkipReason::NotAllowed as u8;
        let reasons = &self.selection.reasons;
        if is_complete && !reasons.is_empty() && reasons.iter().all(not_allowed) {
            return Err(Denied::GrantMissing.into());
        }
        Ok(self.selection)
    }

    fn add(&mut self, status: &MessageStatus, deleted: &BTreeSet<u32>) -> Result<(), ApiError> {
        match self.obstacle(status, deleted)? {
            Some(reason) => self.selection.pass_over(status.sequence, reason),
            None => self.selection.select(status),
        }
        Ok(())
    }

    /// Why a message cannot move, if it cannot. The right on the queue it came from is checked first, so that no other
    /// reason is disclosed without it.
    fn obstacle(
        &mut self,
        status: &MessageStatus,
        deleted: &BTreeSet<u32>,
    ) -> Result<Option<SkipReason>, ApiError> {
        let parked = matches!(status.state, MessageState::Parked(_));
        Ok(match (&status.origin, status.state) {
            (_, MessageState::Settled) => Some(SkipReason::NotDeadLetter),
            (Some(origin), _) if !self.may_go_back(origin)? => Some(SkipReason::NotAllowed),
            (Some(origin), _) if deleted.contains(&origin.queue_id) => Some(SkipReason::QueueGone),
            (_, MessageState::Leased { .. }) => Some(SkipReason::Leased),
            (None, _) if !parked => Some(SkipReason::NotDeadLetter),
            _ => None,
        })
    }

    /// Whether the caller has a right on the queue that a message came from. That queue need not exist any more.
    fn may_go_back(&mut self, origin: &DeadLetterOrigin) -> Result<bool, ApiError> {
        if self.has_target {
            return Ok(true);
        }
        match self.allowed.entry(origin.queue.clone()) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(entry) => {
                let queue = self.department.queue(QueueName::parse(&origin.queue)?);
                let allowed = self.admission.permit::<methods::RedrivingBack>(&queue).is_ok();
                if allowed {
                    self.selection.origins.push(origin.queue.clone());
                }
                Ok(*entry.insert(allowed))
            }
        }
    }

    /// The ids of those queues that these messages came from, and would move back to, that were deleted.
    async fn deleted_origins(&self, statuses: &[MessageStatus]) -> Result<BTreeSet<u32>, ApiError> {
        if self.has_target {
            return Ok(BTreeSet::new());
        }
        let origins = statuses.iter().filter_map(|status| status.origin.as_ref());
        let origins: BTreeSet<u32> = origins.map(|origin| origin.queue_id).collect();
        if origins.is_empty() {
            return Ok(origins);
        }
        let department = self.found.at.department;
        let read = self.context.shards.query(self.found.department.origin(), move |m, kv| {
            let mut deleted = BTreeSet::new();
            for queue in origins {
                if m.queue(kv, QueueRef { department, queue: QueueId(queue) })?.is_none() {
                    deleted.insert(queue);
                }
            }
            Ok::<_, Halt>(deleted)
        });
        Ok(read.await??)
    }
}
