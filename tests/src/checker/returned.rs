//! No message is received again after its settlement was confirmed, and no two holders settle one.
//!
//! A delivery may have been granted before the lease that settled the message, and received long after; the server's
//! clock decides.

use super::{
    Property, Violation,
    index::{Index, Lease},
};
use crate::history::{Moment, Token};

pub(super) fn check(index: &Index) -> Vec<Violation> {
    index.messages.iter().flat_map(|(message, tokens)| of_message(index, message, tokens)).collect()
}

fn of_message(index: &Index, message: &str, tokens: &[Token]) -> Vec<Violation> {
    let leases: Vec<&Lease> = tokens.iter().filter_map(|token| index.leases.get(token)).collect();
    let mut found = Vec::new();
    let mut settled = 0;
    for settler in &leases {
        let Some((_, confirmed)) = settler.confirmed() else { continue };
        settled += 1;
        let returns = leases.iter().filter(|lease| returned(settler, lease, confirmed));
        found.extend(returns.map(|lease| {
            violation(format!(
                "message {message} ({:?}) came to consumer {} after its settlement by consumer {} was confirmed",
                lease.delivery.payload, lease.delivery.consumer, settler.delivery.consumer
            ))
        }));
    }
    if settled > 1 {
        found.push(violation(format!(
            "{settled} holders of message {message} were told that they settled it"
        )));
    }
    found
}

fn returned(settler: &Lease, lease: &Lease, confirmed: Moment) -> bool {
    let later = lease.received.iter().any(|received| *received > confirmed);
    let same = settler.delivery.token == lease.delivery.token;
    later && (same || lease.granted >= settler.granted)
}

fn violation(what: String) -> Violation {
    Violation { property: Property::Returned, what }
}
