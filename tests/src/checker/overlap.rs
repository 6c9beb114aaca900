//! No two consumers hold the same message at the same time.
//!
//! Beginnings and ends of leases are times of the server's clock, as its frames give them. A lease ends early when its
//! holder settles it or closes its stream, which may take effect as soon as it is sent.

use super::{
    Property, Violation,
    index::{Index, Lease},
};

pub(super) fn check(index: &Index) -> Vec<Violation> {
    let mut found = Vec::new();
    for (message, tokens) in &index.messages {
        let mut leases: Vec<&Lease> = tokens.iter().filter_map(|token| index.leases.get(token)).collect();
        leases.sort_by_key(|lease| (lease.granted, lease.first_received()));
        let pairs = leases
            .iter()
            .enumerate()
            .flat_map(|(at, first)| leases.iter().skip(at + 1).map(move |second| (first, second)));
        found.extend(pairs.filter(|(first, second)| overlap(first, second)).map(|(first, second)| {
            Violation {
                property: Property::Overlap,
                what: format!(
                    "message {message} was leased to consumer {} until {}, and to consumer {} from {}",
                    first.delivery.consumer, first.deadline, second.delivery.consumer, second.granted
                ),
            }
        }));
    }
    found
}

fn overlap(first: &Lease, second: &Lease) -> bool {
    let is_released = first.released_at().is_some_and(|at| at < second.first_received());
    second.granted < first.deadline && !is_released
}
