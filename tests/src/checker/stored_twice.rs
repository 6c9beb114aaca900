//! A message is stored at most once, where its ack said, and no two messages have one id.
//!
//! A dead letter is a copy in another queue; its first id counts.

use std::collections::{BTreeMap, BTreeSet};

use super::{Property, Violation, index::Index};
use crate::payload::{PayloadId, Seen};

pub(super) fn check(index: &Index) -> Vec<Violation> {
    let mut messages: BTreeMap<PayloadId, BTreeSet<&str>> = BTreeMap::new();
    let mut payloads: BTreeMap<&str, BTreeSet<PayloadId>> = BTreeMap::new();
    let mut found = Vec::new();
    for lease in index.leases.values() {
        let delivery = &lease.delivery;
        let Seen::Intact(payload) = delivery.payload else { continue };
        let message = delivery.origin.as_deref().unwrap_or(&delivery.message);
        messages.entry(payload).or_default().insert(message);
        payloads.entry(message).or_default().insert(payload);
        let acked = index.publishes.get(&payload).and_then(|publish| publish.acked.as_ref());
        let answered = acked.and_then(|acked| acked.sequence);
        if delivery.origin.is_none() && answered.is_some_and(|answered| answered != delivery.sequence) {
            found.push(violation(format!(
                "{payload:?} was acked as {} and came as {}",
                answered.unwrap_or_default(),
                delivery.sequence
            )));
        }
    }
    for (payload, messages) in messages.iter().filter(|(_, messages)| messages.len() > 1) {
        found.push(violation(format!("{payload:?} is stored as {messages:?}")));
    }
    for (message, payloads) in payloads.iter().filter(|(_, payloads)| payloads.len() > 1) {
        found.push(violation(format!("message {message} is {payloads:?}")));
    }
    found
}

fn violation(what: String) -> Violation {
    Violation { property: Property::StoredTwice, what }
}
