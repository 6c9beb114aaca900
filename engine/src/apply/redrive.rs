//! Redrives dead letters: each moves to the queue it came from, or to a target. A parked one that has no such queue
//! becomes free where it is.

use super::{entry::FactReader, failure, message, on_subscription, publish, queue_ref, subscription_ref};
use crate::{
    halt::Halt,
    ids::QueueRef,
    keys::QueueKey,
    limits::{MAX_REDRIVE_BYTES, MAX_REDRIVE_ITEMS, MAX_REDRIVE_ORIGINS, MAX_REDRIVE_PASSED_OVER},
    machine::Transaction,
    outcome::{RedriveError, RedriveOutcome, Redriven},
    schema::{BodyHeader, RedriveAnswer, RedriveDeadLetters, RetryRow, SkipReason},
    state::{Subscription, SubscriptionContext},
};

pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: &RedriveDeadLetters,
) -> Result<Result<Redriven, RedriveError>, Halt> {
    let passed_over = passed_over(command)?;
    let id = subscription_ref(command.department, command.queue, command.subscription);
    let target = (command.target_queue != 0).then(|| queue_ref(command.department, command.target_queue));
    let redriven = on_subscription(txn, id, |txn, mut context| {
        if let Some(target) = target
            && target != id.queue
            && !exists(txn, target)?
        {
            return Ok(Err(RedriveError::TargetNotFound));
        }
        let mut moved_bytes = 0;
        let redrive = |(at, sequence): (usize, &u64)| {
            if moved_bytes >= MAX_REDRIVE_BYTES {
                return Ok(RedriveOutcome::NotReached);
            }
            match passed_over.get(at) {
                Some(Some(reason)) => Ok(RedriveOutcome::PassedOver(*reason)),
                _ => redrive(txn, &mut context, *sequence, target, &mut moved_bytes),
            }
        };
        let outcomes: Vec<_> =
            command.sequences.iter().enumerate().map(redrive).collect::<Result<_, Halt>>()?;
        let letters = command.sequences.iter().copied().zip(outcomes.iter().copied());
        let mut answer = RedriveAnswer::of(id.queue.queue, letters, command.next_sequence);
        answer.origins.clone_from(&command.origins);
        Ok(Ok(Redriven { outcomes, answer }))
    })?;
    Ok(redriven.unwrap_or_else(|error| Err(error.into())))
}

/// For each sequence why the leader passed it over, if it did; empty if it passed over none.
fn passed_over(command: &RedriveDeadLetters) -> Result<Vec<Option<SkipReason>>, Halt> {
    let reason = |byte: &u8| match SkipReason::try_from(i32::from(*byte)) {
        Ok(SkipReason::Unspecified) => Ok(None),
        Ok(reason) => Ok(Some(reason)),
        Err(_) => Err(Halt::Malformed("a dead letter passed over for no known reason")),
    };
    let reasons: Vec<_> = command.passed_over.iter().map(reason).collect::<Result<_, Halt>>()?;
    if !reasons.is_empty() && reasons.len() != command.sequences.len() {
        return Err(Halt::Malformed("not one reason per dead letter"));
    }
    let passed_over = reasons.iter().filter(|reason| reason.is_some()).count();
    if command.sequences.len() - passed_over > MAX_REDRIVE_ITEMS || passed_over > MAX_REDRIVE_PASSED_OVER {
        return Err(Halt::Malformed("a redrive of too many dead letters"));
    }
    if command.origins.len() > MAX_REDRIVE_ORIGINS {
        return Err(Halt::Malformed("a redrive of dead letters of too many queues"));
    }
    Ok(reasons)
}

fn redrive(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    sequence: u64,
    target: Option<QueueRef>,
    moved_bytes: &mut u64,
) -> Result<RedriveOutcome, Halt> {
    let (here, subscription) = (context.subscription.id.queue, &mut *context.subscription);
    if sequence == 0 || sequence >= context.head.next_sequence || subscription.is_settled(sequence) {
        return Ok(RedriveOutcome::NotDeadLetter);
    }
    if subscription.is_leased(sequence) {
        return Ok(RedriveOutcome::Leased);
    }
    let retry = failure::retry(&txn.rows, subscription, sequence)?.unwrap_or_default();
    let origin = match context.head.dead_letters {
        0 => None,
        _ => FactReader::default().read(&txn.rows, context.head, subscription, sequence)?.origin,
    };
    let origin = origin.map(|origin| queue_ref(here.department.0, origin.queue_id));
    let Some(source) = origin.or_else(|| retry.parked.then_some(here)) else {
        return Ok(RedriveOutcome::NotDeadLetter);
    };
    let to = target.unwrap_or(source);
    if to == here {
        return if retry.parked {
            unpark(txn, subscription, sequence)
        } else {
            Ok(RedriveOutcome::NotDeadLetter)
        };
    }
    if !exists(txn, to)? {
        return Ok(RedriveOutcome::QueueGone);
    }
    let (header, content) =
        message::split(message::read(&txn.rows, subscription, sequence)?, subscription, sequence)?;
    *moved_bytes += content.len() as u64;
    let (published_at_ms, wall_ahead_ms) = (txn.now, txn.wall_ahead());
    let header = BodyHeader { published_at_ms, wall_ahead_ms, dead_letter: None, ..header };
    let moved = publish::append_one(txn, to, &header, content)?;
    end_wait(txn, subscription, sequence, &retry)?;
    subscription.sums().redriven += 1;
    message::settle(txn, subscription, sequence)?;
    Ok(RedriveOutcome::Moved { queue: to.queue, sequence: moved })
}

fn unpark(
    txn: &mut Transaction<'_>,
    subscription: &mut Subscription,
    sequence: u64,
) -> Result<RedriveOutcome, Halt> {
    end_wait(txn, subscription, sequence, &RetryRow { parked: true, ..RetryRow::default() })?;
    // The attempts are counted from 0 again. The row stays, since the message was delivered before.
    txn.rows.put(&subscription.retry_key(sequence), &RetryRow::default());
    txn.returned(subscription.id, sequence);
    Ok(RedriveOutcome::Freed)
}

fn end_wait(
    txn: &mut Transaction<'_>,
    subscription: &mut Subscription,
    sequence: u64,
    retry: &RetryRow,
) -> Result<(), Halt> {
    if !subscription.is_waiting(sequence) {
        return Ok(());
    }
    subscription.end_wait(sequence)?;
    if retry.parked {
        subscription.row.parked -= 1;
        subscription.row_changed = true;
    } else {
        txn.delete_timer(retry.due_ms, subscription.retry_timer(sequence));
    }
    Ok(())
}

fn exists(txn: &Transaction<'_>, queue: QueueRef) -> Result<bool, Halt> {
    Ok(txn.rows.row(&QueueKey { queue })?.is_some())
}
