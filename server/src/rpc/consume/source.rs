//! The subscription that is consumed, with the caller's right to it, and the commands that settle and extend its
//! leases.

use posthouse_engine::{
    ids::SubscriptionRef,
    limits::LEASE_DURATION_MS,
    outcome::{ExtendOutcome, Outcome, SettleOutcome, SubscriptionError},
    schema::{Command, Extend, Holder, Settle, SettleItem, TokenRef},
};
use posthouse_proto::v1::{ErrorReason, ExtendResult, Settlement};

use crate::{
    clock::Now,
    dispatch::SessionEvent,
    limits,
    names::{SubscriptionName, SubscriptionResource},
    policy::{Admission, Asks, Permit, methods},
    rpc::{
        consume::{
            session_events::ended,
            settlements::{self, DecidedSettlements},
            telemetry,
        },
        context::{self, Context, FoundQueue, holder, queue_name, subscription_name},
        wire::{convert, status::ApiError},
    },
};

/// A subscription that a caller consumes.
pub(crate) struct Source {
    pub(crate) permit: Permit<methods::Consuming>,
    pub(crate) queue: FoundQueue,
    pub(crate) at: SubscriptionRef,
    pub(crate) holder: Holder,
}

impl Source {
    pub(crate) async fn open<M: Asks<methods::Consuming>>(
        context: &Context,
        admission: &Admission<M>,
        queue: &str,
        subscription: &str,
        session_id: &[u8],
    ) -> Result<Self, ApiError> {
        let name = queue_name("queue", queue)?;
        let subscription = SubscriptionName::parse(subscription_name(subscription))?;
        let resource = SubscriptionResource { queue: name.clone(), subscription: subscription.clone() };
        let permit = admission.permit(&resource)?;
        let queue = context.queue(&name).await?;
        let at = context.subscription(&queue, &name, subscription.as_str()).await?;
        let holder = holder(queue.department, admission.principal(), session_id);
        Ok(Self { permit, queue, at, holder })
    }

    /// This source with a fresh permit.
    pub(crate) fn with(&self, permit: Permit<methods::Consuming>) -> Self {
        let Self { queue, at, holder, .. } = self;
        Self { permit, queue: queue.clone(), at: *at, holder: holder.clone() }
    }

    /// The lease duration that a request asks for, or else the subscription's.
    pub(crate) fn lease_duration_ms(&self, asked: Option<&prost_types::Duration>) -> Result<u64, ApiError> {
        match asked {
            None => Ok(self.queue.view.settings.lease_duration_ms),
            Some(asked) => convert::millis("lease_duration", asked, LEASE_DURATION_MS),
        }
    }

    /// Settles. A malformed settlement is refused alone.
    pub(crate) async fn settle(
        &self,
        context: &Context,
        settlements: Vec<Settlement>,
    ) -> Result<DecidedSettlements, ApiError> {
        check_count("settlements", settlements.len())?;
        self.permit.check_again(context::now())?;
        let (items, refused) = settlements::items(&settlements);
        // Settlements need no slot for their record in advance, but their number in progress is bounded.
        let _settling = context.observer.access.settling().await;
        let outcomes = if items.is_empty() { Vec::new() } else { self.settle_items(context, items).await? };
        if outcomes.len() + refused.len() != settlements.len() {
            return Err(ApiError::fault("a settle was answered for more or fewer deliveries"));
        }
        let decided = DecidedSettlements { settlements, refused, outcomes };
        telemetry::settled(&context.observer, &self.permit, &decided).await;
        Ok(decided)
    }

    fn settle_command(&self, items: Vec<SettleItem>) -> Command {
        Command::Settle(Settle {
            department: self.at.queue.department.0,
            queue: self.at.queue.queue.0,
            subscription: self.at.subscription.0,
            holder: Some(self.holder.clone()),
            items,
        })
    }

    async fn settle_items(
        &self,
        context: &Context,
        items: Vec<SettleItem>,
    ) -> Result<Vec<SettleOutcome>, ApiError> {
        let command = self.settle_command(items);
        match context.shards.call(self.queue.department.origin(), command).await? {
            Outcome::Settle(outcomes) => outcomes.map_err(since_found),
            _ => Err(ApiError::fault("a settle was answered by another outcome")),
        }
    }

    /// Extends the leases of these tokens; one outcome per token.
    pub(crate) async fn extend(
        &self,
        context: &Context,
        tokens: &[bytes::Bytes],
        lease_duration: Option<&prost_types::Duration>,
    ) -> Result<Extended, ApiError> {
        check_count("tokens", tokens.len())?;
        self.permit.check_again(context::now())?;
        let duration_ms = self.lease_duration_ms(lease_duration)?;
        let refs: Vec<Option<TokenRef>> = tokens.iter().map(|token| convert::token_ref(token)).collect();
        let command = Command::Extend(Extend {
            department: self.at.queue.department.0,
            queue: self.at.queue.queue.0,
            subscription: self.at.subscription.0,
            holder: Some(self.holder.clone()),
            tokens: refs.iter().flatten().copied().collect(),
            duration_ms,
        });
        if refs.iter().all(Option::is_none) {
            return Ok(Extended {
                outcomes: vec![ExtendOutcome::TokenInvalid; refs.len()],
                now: context.clock.now(),
            });
        }
        let outcomes = match context.shards.call(self.queue.department.origin(), command).await? {
            Outcome::Extend(outcomes) => outcomes.map_err(since_found)?,
            _ => return Err(ApiError::fault("an extension was answered by another outcome")),
        };
        let (mut outcomes, now) = (outcomes.into_iter(), context.clock.now());
        let outcome = |known: &Option<TokenRef>| {
            known.and_then(|_| outcomes.next()).unwrap_or(ExtendOutcome::TokenInvalid)
        };
        Ok(Extended { outcomes: refs.iter().map(outcome).collect(), now })
    }
}

/// The outcomes of extensions, and when they were decided.
pub(crate) struct Extended {
    outcomes: Vec<ExtendOutcome>,
    now: Now,
}

impl Extended {
    /// About its bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.outcomes.len() * size_of::<ExtendOutcome>()
    }

    /// One result of the schema per extension.
    pub(crate) fn results(&self) -> Vec<ExtendResult> {
        settlements::map_runs(&self.outcomes, |outcome| convert::extend_result(*outcome, self.now))
    }
}

/// The error of a subscription that was found before: if its queue is not found now, it was deleted meanwhile.
fn since_found(error: SubscriptionError) -> ApiError {
    match error {
        SubscriptionError::QueueNotFound => ended(&SessionEvent::QueueDeleted),
        error => error.into(),
    }
}

/// Checks how many settlements or tokens a request has.
pub(crate) fn check_count(field: &'static str, count: usize) -> Result<(), ApiError> {
    if (1..=limits::MAX_SETTLEMENTS).contains(&count) {
        return Ok(());
    }
    let text = format!("there are {count}; it takes 1 to {}", limits::MAX_SETTLEMENTS);
    Err(ApiError::field(ErrorReason::BatchInvalid, field, text).with_limit(limits::MAX_SETTLEMENTS))
}
