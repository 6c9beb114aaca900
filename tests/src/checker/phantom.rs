//! No message is received that was not sent, before it was sent, or although it was refused.

use super::{
    Property, Violation,
    index::{Index, Lease},
};
use crate::payload::{PayloadId, Seen};

pub(super) fn check(index: &Index) -> Vec<Violation> {
    index.leases.values().filter_map(|lease| phantom(index, lease)).collect()
}

fn phantom(index: &Index, lease: &Lease) -> Option<Violation> {
    let Seen::Intact(payload) = lease.delivery.payload else { return None };
    let why = match index.publishes.get(&payload) {
        None => "was never published",
        Some(publish) if publish.started > lease.first_received() => "came before it was published",
        Some(publish) if publish.refused => "was refused when it was published",
        Some(_) => return None,
    };
    Some(violation(payload, &lease.delivery.message, why))
}

fn violation(payload: PayloadId, message: &str, why: &str) -> Violation {
    Violation { property: Property::Phantom, what: format!("{payload:?}, delivered as {message}, {why}") }
}
