//! The end of a batch: floors rise, strides are trimmed, and what has changed in memory becomes rows, once.

use super::Turn;
#[cfg(feature = "planted-bugs")]
use super::plant::Plant;
use crate::{
    apply::message,
    effect::Effect,
    halt::{Halt, ensure},
    ids::DEFAULT_LANE,
    keys::{self, AckChunkKey, AsideKey, EntryKey, HeadKey, Key, ProgressKey, ShardKey, SubscriptionKey},
    kv::{Family, Writes},
    limits::{MAX_PUBLISH_ENTRIES, STRIDE},
    overlay::{decode_key, decode_row},
    state::{Queue, Subscription},
};

pub(super) fn flush(mut turn: Turn<'_>) -> Result<(Writes, Vec<Effect>), Halt> {
    for id in std::mem::take(&mut turn.touched) {
        let Some(mut queue) = turn.queues.remove(&id) else {
            return Err(Halt::Invariant(format!("queue {id:?} was taken and not given back")));
        };
        for subscription in queue.subscriptions.values_mut() {
            raise_floor(&mut turn, subscription, queue.head.next_sequence)?;
            write_subscription(&mut turn, subscription);
        }
        trim(&mut turn, &mut queue)?;
        if std::mem::take(&mut queue.head_changed) {
            turn.rows.put(&HeadKey { queue: id }, &queue.head);
        }
        turn.queues.insert(id, queue);
    }
    let shard = ShardKey { shard: turn.shard };
    turn.rows.put(&shard, turn.shard_row);
    Ok((turn.rows.into_writes(), turn.effects))
}

fn raise_floor(turn: &mut Turn<'_>, subscription: &mut Subscription, next_sequence: u64) -> Result<(), Halt> {
    #[cfg(feature = "planted-bugs")]
    let before = subscription.row.floor;
    subscription.raise_floor();
    while let Some(stragglers) = subscription.stragglers() {
        for sequence in stragglers {
            let body = message::read(turn, subscription, sequence)?;
            let aside = AsideKey { subscription: subscription.id, lane: DEFAULT_LANE, sequence };
            turn.rows.put_parts(AsideKey::FAMILY, aside.encode(), body, bytes::Bytes::new());
        }
        subscription.pass_chunk();
    }
    #[cfg(feature = "planted-bugs")]
    if turn.plant == Some(Plant::SkipFloor)
        && before < subscription.row.floor
        && subscription.row.floor < next_sequence
    {
        subscription.row.floor += 1;
    }
    let floor = subscription.row.floor;
    ensure!(floor <= next_sequence, "the floor {floor} is beyond the head {next_sequence}");
    Ok(())
}

fn write_subscription(turn: &mut Turn<'_>, subscription: &mut Subscription) {
    let id = subscription.id;
    for (chunk, gone) in subscription.take_changed_chunks() {
        let key = AckChunkKey { subscription: id, lane: DEFAULT_LANE, chunk };
        match subscription.chunks.get(&chunk) {
            Some(held) if !gone => turn.rows.put(&key, &held.to_row()),
            _ => turn.rows.delete(&key),
        }
    }
    for lease in std::mem::take(&mut subscription.changed_leases) {
        // A lease that closed meanwhile was written when it did.
        if let Some(open) = subscription.leases.get_mut(&lease) {
            open.changed = false;
            turn.rows.put(&ProgressKey { subscription: id, lease: open.id }, &open.progress(0));
        }
    }
    let first_open = subscription.leases.keys().next().copied().unwrap_or(subscription.row.next_lease);
    subscription.row_changed |= first_open != subscription.row.first_open;
    subscription.row.first_open = first_open;
    if std::mem::take(&mut subscription.row_changed) {
        turn.rows.put(&SubscriptionKey { subscription: id }, &subscription.row);
    }
}

/// Deletes, in long strides, what every subscription has passed.
fn trim(turn: &mut Turn<'_>, queue: &mut Queue) -> Result<(), Halt> {
    let Some(floor) = queue.subscriptions.values().map(|subscription| subscription.row.floor).min() else {
        return Ok(());
    };
    let (from, to) = (queue.head.trimmed, floor / STRIDE * STRIDE);
    if to <= from {
        return Ok(());
    }
    let id = queue.id;
    let body = |sequence| keys::body(id, DEFAULT_LANE, sequence);
    turn.rows.delete_range(Family::Body, body(from), body(to));

    // The last publish below may reach beyond: its row stays. It is near, and the look for it is short.
    let entry = |first_sequence| EntryKey { queue: id, first_sequence }.encode();
    let near = entry(to.saturating_sub(MAX_PUBLISH_ENTRIES as u64));
    let end = match turn.rows.range(Family::Entry, &near, &entry(to), MAX_PUBLISH_ENTRIES)?.pop() {
        Some((key, value)) if entry_end(&key, &value)? > to => key.to_vec(),
        _ => entry(to),
    };
    turn.rows.delete_range(Family::Entry, keys::kind_prefix(id, keys::Kind::Entry), end);
    queue.head.trimmed = to;
    queue.head_changed = true;
    Ok(())
}

/// The sequence after a publish.
fn entry_end(key: &[u8], value: &bytes::Bytes) -> Result<u64, Halt> {
    let first = decode_key::<EntryKey>(key)?.first_sequence;
    Ok(first + decode_row::<EntryKey>(value.clone())?.payload_bytes.len() as u64)
}
