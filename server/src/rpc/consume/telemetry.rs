//! Counts, records and traces deliveries and settlements.

use std::time::{Duration, UNIX_EPOCH};

use posthouse_engine::outcome::SettleOutcome;
use posthouse_proto::v1::SettleAction;

use crate::{
    clock::Now,
    limits::MAX_ACCESS_RANGES,
    observe::{Action, Observer, Ranges, Record, RecordSlot, TRACEPARENT, Telemetry, Waited},
    policy::{Permit, methods},
    rpc::{
        access_record::record,
        consume::settlements::DecidedSettlements,
        wire::{convert, delivery::LeasedMessage},
    },
};

/// Slots that the records of so many deliveries need at most, if no two deliveries share a range.
pub(crate) fn slots_of(deliveries: usize) -> u32 {
    u32::try_from(deliveries.div_ceil(MAX_ACCESS_RANGES)).unwrap_or(u32::MAX)
}

/// Deliveries are about to be sent. `slots` are for their records, where deliveries are recorded.
pub(crate) fn delivered(
    observer: &Observer,
    permit: &Permit<methods::Consuming>,
    deliveries: &[LeasedMessage],
    now: Now,
    slots: Option<RecordSlot>,
) {
    count_deliveries(observer, permit, deliveries, now);
    if let Some(telemetry) = &observer.telemetry {
        deliveries.iter().for_each(|delivery| trace(telemetry, permit, delivery, now));
    }
    if let Some(slots) = slots {
        observer.access.put_all(delivery_records(permit, deliveries), slots);
    }
}

fn count_deliveries(
    observer: &Observer,
    permit: &Permit<methods::Consuming>,
    deliveries: &[LeasedMessage],
    now: Now,
) {
    let messages = &observer.metrics.messages;
    let waiting = messages.waiting.local();
    let (mut count, mut bytes, mut again, mut resumed) = (0, 0, 0, 0);
    for delivery in deliveries {
        count += 1;
        bytes += delivery.payload.len() as u64;
        if delivery.resumed {
            resumed += 1;
        } else if delivery.live.item.attempt > 1 {
            again += 1;
        } else {
            waiting.observe(Duration::from_millis(now.age_ms(delivery.published_at_ms)).as_secs_f64());
        }
    }
    waiting.flush();
    messages.delivered.inc_by(count);
    messages.delivered_bytes.inc_by(bytes);
    messages.redelivered.inc_by(again);
    messages.resumed.inc_by(resumed);
    if let Some(tenant) = observer.metrics.tenant(&permit.principal().tenant) {
        tenant.delivered.inc_by(count);
    }
}

/// One record, or several if the sequences have too many ranges for one.
fn delivery_records(
    permit: &Permit<methods::Consuming>,
    deliveries: &[LeasedMessage],
) -> Vec<Record<'static>> {
    let mut rest = deliveries.iter().peekable();
    let mut records = Vec::new();
    while rest.peek().is_some() {
        let mut record = record(Action::Deliver, "deliver", permit);
        while !record.sequences.is_full()
            && !record.leases.is_full()
            && let Some(LeasedMessage { live, .. }) = rest.next()
        {
            record.count += 1;
            record.sequences.add(None, live.item.sequence);
            record.leases.add(Some(live.lease.0), live.item.index.into());
        }
        records.push(record);
    }
    records
}

/// Exports a span of the message's time in the queue, if its producer's trace is sampled.
fn trace(telemetry: &Telemetry, permit: &Permit<methods::Consuming>, delivery: &LeasedMessage, now: Now) {
    let Some(traceparent) = delivery.attributes.get(TRACEPARENT).filter(|_| !delivery.resumed) else {
        return;
    };
    let (queue, subscription) = (permit.queue().to_string(), permit.subscription());
    // The waiting time is counted by stamps, whatever the wall clock showed when the message was published.
    let delivered = UNIX_EPOCH + Duration::from_millis(now.wall_ms);
    let waited = Waited {
        queue: &queue,
        subscription: subscription.map_or("", |subscription| subscription.as_str()),
        message_id: &convert::message_id(delivery.queue, delivery.live.item.sequence),
        attempt: delivery.live.item.attempt,
        payload_bytes: delivery.payload.len(),
        published: delivered - Duration::from_millis(now.age_ms(delivery.published_at_ms)),
        delivered,
    };
    telemetry.waited(traceparent, &waited);
}

/// Counts and records settlements that were decided.
pub(crate) async fn settled(
    observer: &Observer,
    permit: &Permit<methods::Consuming>,
    decided: &DecidedSettlements,
) {
    let not_made = count_settlements(observer, permit, decided);
    if observer.access.keeps_messages() {
        record_settlements(observer, permit, decided, not_made).await;
    }
}

/// Counts settlements, and returns how many were not made.
fn count_settlements(
    observer: &Observer,
    permit: &Permit<methods::Consuming>,
    decided: &DecidedSettlements,
) -> u64 {
    let (mut made, mut not_made) = ([0; ACTIONS.len()], [decided.refused.len() as u64, 0, 0, 0, 0]);
    for (settlement, outcome) in decided.outcomes() {
        let [invalid, lost, by_another, purged, already] = &mut not_made;
        match outcome {
            SettleOutcome::Settled => {
                let action = settlement.action();
                let mut counts = ACTIONS.iter().zip(&mut made);
                if let Some((_, count)) = counts.find(|((known, _), _)| *known == action) {
                    *count += 1;
                }
            }
            SettleOutcome::TokenInvalid => *invalid += 1,
            SettleOutcome::LeaseLost => *lost += 1,
            SettleOutcome::SettledByAnother => *by_another += 1,
            SettleOutcome::MessagePurged => *purged += 1,
            SettleOutcome::AlreadySettled(_) => *already += 1,
        }
    }
    let messages = &observer.metrics.messages;
    for ((_, name), count) in ACTIONS.iter().zip(made).filter(|(_, count)| *count > 0) {
        messages.settled.with_label_values(&[*name]).inc_by(count);
    }
    for (reason, count) in REASONS.iter().zip(not_made).filter(|(_, count)| *count > 0) {
        messages.settle_refused.with_label_values(&[*reason]).inc_by(count);
    }
    if let Some(tenant) = observer.metrics.tenant(&permit.principal().tenant) {
        tenant.settled.inc_by(made.iter().sum());
    }
    not_made.iter().sum()
}

/// One record, or several if the deliveries have too many ranges for one.
async fn record_settlements(
    observer: &Observer,
    permit: &Permit<methods::Consuming>,
    decided: &DecidedSettlements,
    mut not_made: u64,
) {
    let mut rest = decided.made().peekable();
    while rest.peek().is_some() || not_made > 0 {
        let mut record = record(Action::Settle, "settle", permit);
        record.not_done = std::mem::take(&mut not_made);
        while !record.settled.values().any(Ranges::is_full)
            && let Some(settlement) = rest.next()
        {
            record.count += 1;
            let name = ACTIONS.iter().find(|(action, _)| *action == settlement.action());
            if let (Some((_, name)), Some(token)) = (name, convert::token_ref(&settlement.token)) {
                record.settled.entry(*name).or_default().add(Some(token.lease), token.index.into());
            }
        }
        observer.access.put_in_any_case(record).await;
    }
}

const ACTIONS: [(SettleAction, &str); 4] = [
    (SettleAction::Ack, "ack"),
    (SettleAction::Nack, "nack"),
    (SettleAction::Release, "release"),
    (SettleAction::DeadLetter, "dead_letter"),
];

const REASONS: [&str; 5] =
    ["token_invalid", "lease_lost", "settled_by_another", "message_purged", "already_settled"];
