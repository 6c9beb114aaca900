//! Payloads are received as they were sent.

use super::{Property, Violation, index::Index};
use crate::payload::Seen;

pub(super) fn check(index: &Index) -> Vec<Violation> {
    let leases = index.leases.values().map(|lease| &lease.delivery);
    leases
        .filter_map(|delivery| match delivery.payload {
            Seen::Intact(_) => None,
            Seen::Corrupt { size } => Some(Violation {
                property: Property::Intact,
                what: format!("message {} came with {size} bytes that nobody sent", delivery.message),
            }),
        })
        .collect()
}
