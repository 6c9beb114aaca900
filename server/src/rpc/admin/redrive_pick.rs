//! Which dead letters one redrive comes to, which it passes over and why, and where it ends. Each call is bounded: by looks, by
//! what it may pick, by what it may pass over, and by bytes.

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

/// Dead letters that the first look asks for; each look after it asks for twice as many.
const FIRST_LOOK: usize = 16;
const MOST_OF_A_LOOK: usize = 1_024;

/// What was come to, in order.
pub(super) struct Picked {
    pub(super) subscription: SubscriptionRef,
    pub(super) sequences: Vec<u64>,
    /// Per sequence why it was passed over, as the machine takes it; 0: it is to go.
    pub(super) reasons: Vec<u8>,
    /// Where to go on after these; 0: nothing follows.
    pub(super) next_sequence: u64,
    /// The names of the queues they came from, on which the caller needed a right and has it.
    pub(super) origins: Vec<String>,
    /// How many are to go, and their bytes.
    going: usize,
    bytes: u64,
}

/// The queue that they are picked from, by a caller with certain rights.
pub(super) struct Pool<'a> {
    context: &'a Context,
    found: &'a FoundQueue,
    department: DepartmentResource,
    admission: &'a Admission<methods::RedriveDeadLetters>,
    /// They all go to one queue, wherever they came from.
    has_target: bool,
    /// By the names of queues that they came from.
    allowed: BTreeMap<String, bool>,
    picked: Picked,
}

impl Picked {
    /// Nothing is to go.
    pub(super) const fn is_empty(&self) -> bool {
        self.going == 0
    }

    /// If nothing is to go: what would become of each.
    pub(super) fn passed_over(&self) -> impl Iterator<Item = (u64, RedriveOutcome)> {
        let reasons = self.reasons.iter().map(|reason| SkipReason::try_from(i32::from(*reason)));
        let reasons = reasons.map(|reason| reason.unwrap_or(SkipReason::NotDeadLetter));
        self.sequences.iter().copied().zip(reasons.map(RedriveOutcome::PassedOver))
    }

    fn is_full(&self, most: usize) -> bool {
        let passed_over = self.sequences.len() - self.going;
        self.origins.len() >= MAX_REDRIVE_ORIGINS
            || self.going == most
            || passed_over == MAX_REDRIVE_PASSED_OVER
            || self.bytes >= MAX_REDRIVE_BYTES
    }

    fn pass_over(&mut self, sequence: u64, reason: SkipReason) {
        self.sequences.push(sequence);
        self.reasons.push(reason as u8);
    }

    fn go(&mut self, status: &MessageStatus) {
        self.sequences.push(status.sequence);
        self.reasons.push(SkipReason::Unspecified as u8);
        self.going += 1;
        self.bytes += u64::from(status.payload_bytes.unwrap_or(0));
    }
}

impl<'a> Pool<'a> {
    pub(super) fn new(
        context: &'a Context,
        found: &'a FoundQueue,
        subscription: SubscriptionRef,
        department: DepartmentResource,
        admission: &'a Admission<methods::RedriveDeadLetters>,
        has_target: bool,
    ) -> Self {
        let picked = Picked {
            subscription,
            sequences: Vec::new(),
            reasons: Vec::new(),
            next_sequence: 0,
            origins: Vec::new(),
            going: 0,
            bytes: 0,
        };
        Self { context, found, department, admission, has_target, allowed: BTreeMap::new(), picked }
    }

    /// The oldest that can go, from a sequence on: what cannot must not stand in the way of the rest.
    pub(super) async fn oldest(mut self, from: u64, most: usize) -> Result<Picked, ApiError> {
        let mut next = Some(from);
        let mut limit = FIRST_LOOK.max(most).min(MOST_OF_A_LOOK);
        for _ in 0..limits::DEAD_LETTER_SCANS {
            let Some(at) = next.filter(|_| !self.picked.is_full(most)) else { break };
            let page =
                dead_letters::read(self.context, self.found, self.picked.subscription, at, limit).await?;
            limit = (limit * 2).min(MOST_OF_A_LOOK);
            next = page.next;
            let gone = self.gone(&page.found).await?;
            for status in page.found {
                if self.picked.is_full(most) {
                    next = Some(status.sequence);
                    break;
                }
                self.take(&status, &gone)?;
            }
        }
        self.picked.next_sequence = next.unwrap_or(0);
        let whole = from == 0 && next.is_none();
        self.permitted(whole)
    }

    /// Those of these sequences, in this order, no more than so many.
    pub(super) async fn named(mut self, mut wanted: Vec<u64>, most: usize) -> Result<Picked, ApiError> {
        let mut whole = wanted.len() <= most;
        wanted.truncate(most);
        let id = self.picked.subscription;
        // A look may have to read a body, and others use the worker too.
        'looks: for some in wanted.chunks(limits::MESSAGES_PER_READ) {
            let asked = some.to_vec();
            let read = self.context.shards.query(self.found.department.origin(), move |m, kv| {
                let status = |sequence| m.message_status(kv, id, sequence);
                asked.into_iter().map(status).collect::<Result<Vec<_>, _>>()
            });
            let statuses = read.await??;
            let there: Vec<_> = statuses.iter().flatten().cloned().collect();
            let gone = self.gone(&there).await?;
            for (sequence, status) in some.iter().zip(statuses) {
                if self.picked.origins.len() >= MAX_REDRIVE_ORIGINS {
                    // The others are not reached.
                    whole = false;
                    break 'looks;
                }
                match status {
                    Some(status) => self.take(&status, &gone)?,
                    None => self.picked.pass_over(*sequence, SkipReason::NotDeadLetter),
                }
            }
        }
        self.permitted(whole)
    }

    /// Refuses a call that came to all it may come to, and whose caller has no right on where any of it came from.
    fn permitted(self, whole: bool) -> Result<Picked, ApiError> {
        let not_allowed = |reason: &u8| *reason == SkipReason::NotAllowed as u8;
        let reasons = &self.picked.reasons;
        if whole && !reasons.is_empty() && reasons.iter().all(not_allowed) {
            return Err(Denied::GrantMissing.into());
        }
        Ok(self.picked)
    }

    fn take(&mut self, status: &MessageStatus, gone: &BTreeSet<u32>) -> Result<(), ApiError> {
        let reason = self.obstacle(status, gone)?;
        match reason {
            Some(reason) => self.picked.pass_over(status.sequence, reason),
            None => self.picked.go(status),
        }
        Ok(())
    }

    /// Why a message stays. The right on where it came from is asked first, so that nothing else is told without it.
    fn obstacle(
        &mut self,
        status: &MessageStatus,
        gone: &BTreeSet<u32>,
    ) -> Result<Option<SkipReason>, ApiError> {
        let parked = matches!(status.state, MessageState::Parked(_));
        Ok(match (&status.origin, status.state) {
            (_, MessageState::Settled) => Some(SkipReason::NotDeadLetter),
            (Some(origin), _) if !self.may_go_back(origin)? => Some(SkipReason::NotAllowed),
            (Some(origin), _) if gone.contains(&origin.queue_id) => Some(SkipReason::QueueGone),
            (_, MessageState::Leased { .. }) => Some(SkipReason::Leased),
            (None, _) if !parked => Some(SkipReason::NotDeadLetter),
            _ => None,
        })
    }

    /// Whether the caller has a right on the queue that a message came from, which may not exist any more.
    fn may_go_back(&mut self, origin: &DeadLetterOrigin) -> Result<bool, ApiError> {
        if self.has_target {
            return Ok(true);
        }
        match self.allowed.entry(origin.queue.clone()) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(place) => {
                let queue = self.department.queue(QueueName::parse(&origin.queue)?);
                let allowed = self.admission.permit::<methods::RedrivingBack>(&queue).is_ok();
                if allowed {
                    self.picked.origins.push(origin.queue.clone());
                }
                Ok(*place.insert(allowed))
            }
        }
    }

    /// Which of the queues that these came from are no more, as far as they would go back there.
    async fn gone(&self, statuses: &[MessageStatus]) -> Result<BTreeSet<u32>, ApiError> {
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
            let mut gone = BTreeSet::new();
            for queue in origins {
                if m.queue(kv, QueueRef { department, queue: QueueId(queue) })?.is_none() {
                    gone.insert(queue);
                }
            }
            Ok::<_, Halt>(gone)
        });
        Ok(read.await??)
    }
}
