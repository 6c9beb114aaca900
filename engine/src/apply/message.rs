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
pub(crate) fn read(rows: &Overlay<'_>, held: &Subscription, sequence: u64) -> Result<Bytes, Halt> {
    body::read(rows, held.id, held.lane, sequence)?
        .ok_or_else(|| Halt::Corrupt(format!("message {sequence} of {:?} has no body", held.id)))
}

/// The header and content of a body that was read.
pub(crate) fn split(body: Bytes, held: &Subscription, sequence: u64) -> Result<(BodyHeader, Bytes), Halt> {
    body::split(body).map_err(|_| Halt::Corrupt(format!("the body of message {sequence} of {:?}", held.id)))
}

/// Settles a message that is neither leased nor waiting.
pub(super) fn settle(txn: &mut Transaction<'_>, held: &mut Subscription, sequence: u64) -> Result<(), Halt> {
    if held.settle(sequence)? {
        txn.rows.delete(&held.retry_key(sequence));
    }
    if sequence < held.cleared() {
        let key = held.relocated_key(sequence);
        let relocated = txn.rows.get(Family::Body, &key.encode())?;
        held.freed_bytes += relocated.map_or(0, |body| body.len() as u64);
        txn.rows.delete(&key);
    }
    txn.settled(held.id);
    Ok(())
}
