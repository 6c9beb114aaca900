//! Settles deliveries: acks, nacks, releases, or gives up.

use super::{
    close_lease, dead_letter, failure, message, on_subscription, subscription_ref,
    token::{Token, Tokens},
};
use crate::{
    halt::Halt,
    limits::{MAX_NACK_DELAY_MS, MAX_SETTLE_ITEMS},
    machine::Transaction,
    outcome::{SettleOutcome, SubscriptionError},
    schema::{DeadLetterCause, Settle, SettleItem, SettleKind, SubscriptionSums},
    state::{Index, SubscriptionContext},
};

pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: &Settle,
) -> Result<Result<Vec<SettleOutcome>, SubscriptionError>, Halt> {
    let id = subscription_ref(command.department, command.queue, command.subscription);
    let holder = command.holder.as_ref().ok_or(Halt::Malformed("a settlement without a holder"))?;
    let deliveries = command.deliveries();
    if deliveries > MAX_SETTLE_ITEMS {
        return Err(Halt::Malformed("too many settlements"));
    }
    on_subscription(txn, id, |txn, mut context| {
        let (mut tokens, mut outcomes) = (Tokens::new(holder), Vec::with_capacity(deliveries));
        for item in command.items.iter().flat_map(SettleItem::expand) {
            outcomes.push(settle(txn, &mut context, &mut tokens, &item)?);
        }
        Ok(outcomes)
    })
}

fn settle(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    tokens: &mut Tokens<'_>,
    item: &SettleItem,
) -> Result<SettleOutcome, Halt> {
    let token = item.token.as_ref().ok_or(Halt::Malformed("a settlement without a token"))?;
    Ok(match tokens.read(txn, context.subscription, token)? {
        Token::Open { lease, index } => {
            settle_open(txn, context, lease, index, item)?;
            SettleOutcome::Settled
        }
        Token::Settled(kind) => SettleOutcome::AlreadySettled(kind),
        Token::Lost => SettleOutcome::LeaseLost,
        Token::SettledByAnother => SettleOutcome::SettledByAnother,
        Token::Purged => SettleOutcome::MessagePurged,
        Token::Invalid => SettleOutcome::TokenInvalid,
    })
}

fn settle_open(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    lease: u64,
    index: usize,
    item: &SettleItem,
) -> Result<(), Halt> {
    let outcome = match item.kind() {
        SettleKind::Ack => Index::Acked,
        SettleKind::Nack => Index::Nacked,
        SettleKind::Release => Index::Released,
        SettleKind::DeadLetter => Index::DeadLettered,
        SettleKind::Unspecified => return Err(Halt::Malformed("a settlement of no known kind")),
    };
    let subscription = &mut *context.subscription;
    let Some(open) = subscription.leases.get_mut(&lease) else {
        return Err(Halt::Invariant(format!("lease {lease} is open and is not in memory")));
    };
    open.end(index, outcome)?;
    let (sequence, attempt, closed) = (open.sequences[index], open.attempt(index), open.is_closed());
    let leased_ms = txn.now.saturating_sub(open.granted_at_ms);
    if !std::mem::replace(&mut open.changed, true) {
        subscription.changed_leases.push(lease);
    }
    subscription.unlease(sequence)?;
    count(subscription.sums(), outcome, txn.wall, leased_ms);
    match outcome {
        Index::Acked => message::settle(txn, subscription, sequence)?,
        Index::Nacked => {
            failure::failed(txn, context, sequence, attempt, item.delay_ms.min(MAX_NACK_DELAY_MS))?
        }
        Index::DeadLettered => {
            let failures = attempt.saturating_sub(1);
            dead_letter::move_to_dead_letters(txn, context, sequence, failures, DeadLetterCause::Consumer)?;
        }
        _ => failure::returned(txn, subscription, sequence),
    }
    if closed {
        close_lease::close(txn, context.subscription, lease)?;
    }
    Ok(())
}

const fn count(sums: &mut SubscriptionSums, outcome: Index, wall: u64, leased_ms: u64) {
    match outcome {
        Index::Acked => {
            sums.acked += 1;
            sums.processing_ms += leased_ms;
            sums.last_acked_at_ms = wall;
        }
        Index::Nacked => sums.nacked += 1,
        Index::Released => sums.released += 1,
        // Dead letters are counted by `dead_letter`.
        _ => {}
    }
}
