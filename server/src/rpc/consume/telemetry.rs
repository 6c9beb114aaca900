//! What is counted, recorded and traced of deliveries and settlements.

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
        consume::settlements::Decided,
        wire::{convert, delivery::LeasedMessage},
    },
};

/// RecordSlots that the records of so many deliveries need at most: a record that is full has a range for each.
pub(crate) fn slots_of(deliveries: usize) -> u32 {
    u32::try_from(deliveries.div_ceil(MAX_ACCESS_RANGES)).unwrap_or(u32::MAX)
}

/// Deliveries are about to leave. `places` are for their records, where such are kept.
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
    for outgoing in deliveries {
        count += 1;
        bytes += outgoing.payload.len() as u64;
        if outgoing.resumed {
            resumed += 1;
        } else if outgoing.live.item.attempt > 1 {
            again += 1;
        } else {
            waiting.observe(Duration::from_millis(now.age_ms(outgoing.published_at_ms)).as_secs_f64());
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

/// One record, or several when the sequences are too scattered for one.
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

/// The message's stay in the queue, if its producer's trace is sampled.
fn trace(telemetry: &Telemetry, permit: &Permit<methods::Consuming>, outgoing: &LeasedMessage, now: Now) {
    let Some(traceparent) = outgoing.attributes.get(TRACEPARENT).filter(|_| !outgoing.resumed) else {
        return;
    };
    let (queue, subscription) = (permit.queue().to_string(), permit.subscription());
    // It has waited for as long as batches say, whatever the wall clock said when it was published.
    let delivered = UNIX_EPOCH + Duration::from_millis(now.wall_ms);
    let waited = Waited {
        queue: &queue,
        subscription: subscription.map_or("", |subscription| subscription.as_str()),
        message_id: &convert::message_id(outgoing.queue, outgoing.live.item.sequence),
        attempt: outgoing.live.item.attempt,
        payload_bytes: outgoing.payload.len(),
        published: delivered - Duration::from_millis(now.age_ms(outgoing.published_at_ms)),
        delivered,
    };
    telemetry.waited(traceparent, &waited);
}

/// Settlements were decided.
pub(crate) async fn settled(observer: &Observer, permit: &Permit<methods::Consuming>, decided: &Decided) {
    let not_made = count_settlements(observer, permit, decided);
    if observer.access.keeps_messages() {
        record_settlements(observer, permit, decided, not_made).await;
    }
}

/// How many were not made.
fn count_settlements(observer: &Observer, permit: &Permit<methods::Consuming>, decided: &Decided) -> u64 {
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

/// One record, or several when the deliveries are too scattered for one.
async fn record_settlements(
    observer: &Observer,
    permit: &Permit<methods::Consuming>,
    decided: &Decided,
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
