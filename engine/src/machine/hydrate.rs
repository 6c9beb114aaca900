//! Reads a queue's state from its rows. The cost does not grow with the backlog, since no message is read.

use std::collections::BTreeMap;

#[cfg(feature = "planted-bugs")]
use super::plant::Plant;
use crate::{
    halt::{Halt, ensure},
    ids::{LANES, LeaseId, QueueRef},
    keys::{self, AckChunkKey, HeadKey, Key, Kind, LeaseKey, ProgressKey, QueueKey, SubscriptionKey},
    kv::{Kv as _, Row},
    overlay::{Overlay, decode_key, decode_row},
    state::{Chunk, Entries, OpenLease, Queue, Subscription, chunk},
};

const PAGE: usize = 256;

/// The state of a queue, if it exists.
pub(super) fn hydrate(
    rows: &Overlay<'_>,
    id: QueueRef,
    #[cfg(feature = "planted-bugs")] plant: Option<Plant>,
) -> Result<Option<Box<Queue>>, Halt> {
    let Some(definition) = rows.row(&QueueKey { queue: id })? else { return Ok(None) };
    let Some(head) = rows.row(&HeadKey { queue: id })? else {
        return Err(Halt::Corrupt(format!("queue {id:?} has no head")));
    };
    let Some(settings) = definition.settings.clone() else {
        return Err(Halt::Corrupt(format!("queue {id:?} has no settings")));
    };
    let ([lane], mut subscriptions) = (LANES, BTreeMap::new());
    let prefix = keys::kind_prefix(id, Kind::Subscription);
    for_each_row::<SubscriptionKey>(rows, &prefix, &prefix, |key, value| {
        let row = decode_row::<SubscriptionKey>(value)?;
        subscriptions.insert(key.subscription.subscription, Subscription::new(key.subscription, lane, row));
        Ok(())
    })?;
    for subscription in subscriptions.values_mut() {
        chunks(rows, subscription)?;
        leases(
            rows,
            subscription,
            #[cfg(feature = "planted-bugs")]
            plant,
        )?;
        count(subscription, head.next_sequence)?;
    }
    Ok(Some(Box::new(Queue {
        id,
        lane,
        definition,
        settings,
        charged_bytes: head.stored_bytes,
        head,
        head_changed: false,
        recent: Entries::default(),
        passing: None,
        subscriptions,
        used_at: 0,
    })))
}

fn chunks(rows: &Overlay<'_>, subscription: &mut Subscription) -> Result<(), Halt> {
    let prefix = keys::subscription_prefix(subscription.id, Kind::AckChunk);
    for_each_row::<AckChunkKey>(rows, &prefix, &prefix, |key, value| {
        ensure!(key.lane == subscription.lane, "a chunk of lane {}", key.lane);
        let chunk = Chunk::from_row(&decode_row::<AckChunkKey>(value)?)?;
        subscription.chunks.insert(key.chunk, chunk);
        Ok(())
    })
}

fn leases(
    rows: &Overlay<'_>,
    subscription: &mut Subscription,
    #[cfg(feature = "planted-bugs")] plant: Option<Plant>,
) -> Result<(), Halt> {
    let id = subscription.id;
    let first = ProgressKey { subscription: id, lease: LeaseId(subscription.row.first_open) };
    let prefix = keys::subscription_prefix(id, Kind::Progress);
    for_each_row::<ProgressKey>(rows, &first.encode(), &prefix, |key, value| {
        let progress = decode_row::<ProgressKey>(value)?;
        if progress.closed_at_ms > 0 {
            return Ok(());
        }
        let Some(row) = rows.row(&LeaseKey { subscription: id, lease: key.lease })? else {
            return Err(Halt::Corrupt(format!("lease {} has progress but no row", key.lease)));
        };
        let lease = OpenLease::from_rows(key.lease, row, &progress)?;
        #[cfg(feature = "planted-bugs")]
        if plant == Some(Plant::HydrateWrongly) {
            subscription.leases.insert(key.lease.0, lease);
            return Ok(());
        }
        for index in lease.open() {
            subscription.lease(lease.sequences[index])?;
        }
        subscription.leases.insert(key.lease.0, lease);
        Ok(())
    })
}

fn count(subscription: &mut Subscription, next_sequence: u64) -> Result<(), Halt> {
    let floor = subscription.row.floor;
    ensure!(floor <= next_sequence, "the floor {floor} is beyond the head {next_sequence}");
    let (mut settled_above, mut left_below, mut waiting) = (0, 0, 0);
    for (number, state) in &subscription.chunks {
        ensure!(*number <= chunk::number(next_sequence), "chunk {number} is beyond the head {next_sequence}");
        waiting += u64::from(state.waiting.ones());
        let settled = u64::from(state.settled.ones());
        if *number < chunk::number(floor) {
            left_below += crate::limits::CHUNK - settled;
        } else if *number == chunk::number(floor) {
            let below = chunk::bit(floor) as u64;
            ensure!(settled >= below, "a message below the floor {floor} is not settled");
            settled_above += settled - below;
        } else {
            settled_above += settled;
        }
    }
    ensure!(settled_above <= next_sequence - floor, "more is settled than was published");
    subscription.unsettled = next_sequence - floor - settled_above + left_below;
    subscription.waiting = waiting;
    Ok(())
}

/// Visits every row from `from` to the end of `prefix`, page by page.
pub(crate) fn for_each_row<K: Key>(
    rows: &Overlay<'_>,
    from: &[u8],
    prefix: &[u8],
    mut visit: impl FnMut(K, bytes::Bytes) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let end = keys::after(prefix);
    let mut from = from.to_vec();
    loop {
        let page: Vec<Row> = rows.range(K::FAMILY, &from, &end, PAGE)?;
        let full = page.len() == PAGE;
        if let (true, Some((last, _))) = (full, page.last()) {
            from = [last, &[0][..]].concat();
        }
        for (key, value) in page {
            visit(decode_key(&key)?, value)?;
        }
        if !full {
            return Ok(());
        }
    }
}
