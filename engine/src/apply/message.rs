//! Reads the body of a message, and settles it.

use bytes::Bytes;

use crate::{
    body,
    halt::Halt,
    keys::Key as _,
    kv::{Family, Kv as _},
    machine::Transaction,
    overlay::Overlay,
    schema::BodyHeader,
    state::Subscription,
};

/// The stored body of a message that is not settled.
pub(crate) fn read(rows: &Overlay<'_>, subscription: &Subscription, sequence: u64) -> Result<Bytes, Halt> {
    body::read(rows, subscription.id, subscription.lane, sequence)?
        .ok_or_else(|| Halt::Corrupt(format!("message {sequence} of {:?} has no body", subscription.id)))
}

/// The header and content of a body that was read.
pub(crate) fn split(
    body: Bytes,
    subscription: &Subscription,
    sequence: u64,
) -> Result<(BodyHeader, Bytes), Halt> {
    body::split(body)
        .map_err(|_| Halt::Corrupt(format!("the body of message {sequence} of {:?}", subscription.id)))
}

/// Settles a message that is neither leased nor waiting.
pub(super) fn settle(
    txn: &mut Transaction<'_>,
    subscription: &mut Subscription,
    sequence: u64,
) -> Result<(), Halt> {
    if subscription.settle(sequence)? {
        txn.rows.delete(&subscription.retry_key(sequence));
    }
    if sequence < subscription.cleared() {
        let key = subscription.relocated_key(sequence);
        let relocated = txn.rows.get(Family::Body, &key.encode())?;
        subscription.freed_bytes += relocated.map_or(0, |body| body.len() as u64);
        txn.rows.delete(&key);
    }
    txn.settled(subscription.id);
    Ok(())
}
