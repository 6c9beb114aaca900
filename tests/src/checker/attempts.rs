//! Attempts count from 1, and never fall from one lease of a message to its next.

use super::{
    Property, Violation,
    index::{Index, Lease},
};

pub(super) fn check(index: &Index) -> Vec<Violation> {
    let mut found = Vec::new();
    for (message, tokens) in &index.messages {
        let mut leases: Vec<&Lease> = tokens.iter().filter_map(|token| index.leases.get(token)).collect();
        leases.sort_by_key(|lease| (lease.granted, lease.first_received()));
        let mut before = 1;
        for lease in leases {
            let attempt = lease.delivery.attempt;
            if attempt < before {
                let what = format!("message {message} came as attempt {attempt} after attempt {before}");
                found.push(Violation { property: Property::Attempts, what });
            }
            before = before.max(attempt);
        }
    }
    found
}
