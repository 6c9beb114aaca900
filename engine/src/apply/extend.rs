//! Extends leases: a deadline moves to a later time, never to an earlier one.

use super::{
    grant::clamp,
    on_subscription, subscription_ref,
    token::{Token, Tokens},
};
use crate::{
    halt::Halt,
    limits::MAX_SETTLE_ITEMS,
    machine::Transaction,
    outcome::{ExtendOutcome, SubscriptionError},
    schema::{Extend, TokenRef},
    state::Subscription,
};

pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: &Extend,
) -> Result<Result<Vec<ExtendOutcome>, SubscriptionError>, Halt> {
    let id = subscription_ref(command.department, command.queue, command.subscription);
    let holder = command.holder.as_ref().ok_or(Halt::Malformed("an extension without a holder"))?;
    if command.tokens.len() > MAX_SETTLE_ITEMS {
        return Err(Halt::Malformed("too many extensions"));
    }
    let deadline_ms = txn.after(clamp(command.duration_ms));
    on_subscription(txn, id, |txn, context| {
        let mut tokens = Tokens::new(holder);
        let extend = |token| extend(txn, context.subscription, &mut tokens, token, deadline_ms);
        command.tokens.iter().map(extend).collect()
    })
}

fn extend(
    txn: &Transaction<'_>,
    subscription: &mut Subscription,
    tokens: &mut Tokens<'_>,
    token: &TokenRef,
    deadline_ms: u64,
) -> Result<ExtendOutcome, Halt> {
    Ok(match tokens.read(txn, subscription, token)? {
        Token::Open { lease, .. } => {
            let Some(open) = subscription.leases.get_mut(&lease) else {
                return Err(Halt::Invariant(format!("lease {lease} is open and is not in memory")));
            };
            let deadline_ms = open.extend(token.index, deadline_ms);
            subscription.lease_changed(lease);
            ExtendOutcome::Extended(deadline_ms)
        }
        Token::Settled(kind) => ExtendOutcome::AlreadySettled(kind),
        Token::Lost => ExtendOutcome::LeaseLost,
        Token::SettledByAnother => ExtendOutcome::SettledByAnother,
        Token::Purged => ExtendOutcome::MessagePurged,
        Token::Invalid => ExtendOutcome::TokenInvalid,
    })
}
