//! What handlers note of messages: figures, a batch at a time.

use std::time::{SystemTime, UNIX_EPOCH};

use posthouse_engine::outcome::{EntryResult, Published, SettleOutcome};
use posthouse_proto::v1::{Delivery, SettleAction, SettleResult, Settlement};

use super::{consume::Source, publish::Target, status::ApiError};
use crate::observe::Observer;

/// A batch was decided. `bytes` are those of all its messages.
pub(crate) fn published(
    observer: &Observer,
    target: &Target,
    published: &Published,
    errors: &[ApiError],
    bytes: usize,
) {
    let messages = &observer.metrics.messages;
    let count = |is: fn(&EntryResult) -> bool| published.results.iter().filter(|r| is(r)).count() as u64;
    let stored = count(|result| matches!(result, EntryResult::Stored(_)));
    messages.batch.observe(published.results.len() as f64);
    messages.duplicates.inc_by(count(|result| matches!(result, EntryResult::Duplicate(_))));
    errors.iter().for_each(|error| rejected(observer, error));
    if stored == 0 {
        return;
    }
    messages.published.inc_by(stored);
    messages.published_bytes.inc_by(bytes as u64);
    if let Some(tenant) = observer.metrics.tenant(&target.permit.principal().tenant) {
        tenant.published.inc_by(stored);
        tenant.published_bytes.inc_by(bytes as u64);
    }
}

/// A message, or a whole batch, was not taken.
pub(crate) fn rejected(observer: &Observer, error: &ApiError) {
    observer.metrics.messages.rejected.with_label_values(&[error.reason_name()]).inc();
}

/// Deliveries are about to leave.
pub(crate) fn delivered<'a>(
    observer: &Observer,
    source: &Source,
    deliveries: impl Iterator<Item = &'a Delivery>,
) {
    let messages = &observer.metrics.messages;
    let waiting = messages.waiting.local();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let (mut count, mut bytes, mut again, mut resumed) = (0, 0, 0, 0);
    for delivery in deliveries {
        count += 1;
        if delivery.resumed {
            resumed += 1;
        } else if delivery.attempt > 1 {
            again += 1;
        }
        let Some(message) = &delivery.message else { continue };
        bytes += message.payload.len() as u64;
        if delivery.attempt <= 1
            && !delivery.resumed
            && let Some(published) = &message.publish_time
        {
            let published_ms = u128::try_from(published.seconds).unwrap_or(0) * 1_000
                + u128::try_from(published.nanos).unwrap_or(0) / 1_000_000;
            waiting.observe(now_ms.saturating_sub(published_ms) as f64 / 1_000.0);
        }
    }
    waiting.flush();
    messages.delivered.inc_by(count);
    messages.delivered_bytes.inc_by(bytes);
    messages.redelivered.inc_by(again);
    messages.resumed.inc_by(resumed);
    if let Some(tenant) = observer.metrics.tenant(&source.permit.principal().tenant) {
        tenant.delivered.inc_by(count);
    }
}

/// Settlements were decided: the well-formed ones by the machine, the others are `refused`, each with its place.
pub(crate) fn settled(
    observer: &Observer,
    source: &Source,
    settlements: &[Settlement],
    refused: &[(usize, SettleResult)],
    outcomes: &[SettleOutcome],
) {
    let messages = &observer.metrics.messages;
    let mut made = [0_u64; ACTIONS.len()];
    let mut not_made = [0_u64; REASONS.len()];
    let mut count = |reason: usize| {
        if let Some(counted) = not_made.get_mut(reason) {
            *counted += 1;
        }
    };
    refused.iter().for_each(|_| count(0));
    let mut places = refused.iter().map(|(at, _)| *at).peekable();
    let decided = settlements.iter().enumerate().filter(|(at, _)| places.next_if_eq(at).is_none());
    for ((_, settlement), outcome) in decided.zip(outcomes) {
        match outcome {
            SettleOutcome::Settled => {
                let at = ACTIONS.iter().position(|(action, _)| *action == settlement.action());
                if let Some(counted) = at.and_then(|at| made.get_mut(at)) {
                    *counted += 1;
                }
            }
            SettleOutcome::TokenInvalid => count(0),
            SettleOutcome::LeaseLost => count(1),
            SettleOutcome::SettledByAnother => count(2),
            SettleOutcome::AlreadySettled(_) => count(3),
        }
    }
    for ((_, action), counted) in ACTIONS.iter().zip(made).filter(|(_, counted)| *counted > 0) {
        messages.settled.with_label_values(&[*action]).inc_by(counted);
    }
    for (reason, counted) in REASONS.iter().zip(not_made).filter(|(_, counted)| *counted > 0) {
        messages.settle_refused.with_label_values(&[*reason]).inc_by(counted);
    }
    if let Some(tenant) = observer.metrics.tenant(&source.permit.principal().tenant) {
        tenant.settled.inc_by(made.iter().sum());
    }
}

const ACTIONS: [(SettleAction, &str); 4] = [
    (SettleAction::Ack, "ack"),
    (SettleAction::Nack, "nack"),
    (SettleAction::Release, "release"),
    (SettleAction::DeadLetter, "dead_letter"),
];

const REASONS: [&str; 4] = ["token_invalid", "lease_lost", "settled_by_another", "already_settled"];
