//! Decides whether a history keeps the promises of Posthouse, one property a file.
//!
//! An operation without a known outcome may or may not have happened, and is never held against the server. A history
//! must end with `Drained`: only then is an acked message that nobody received a lost one.

mod attempts;
mod index;
mod intact;
mod loss;
mod overlap;
mod phantom;
mod returned;
mod stored_twice;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::history::Event;
use index::Index;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise.
    pub property: Property,
    /// What happened, for a person.
    pub what: String,
}

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Every acked message is delivered, and stays there until it is settled.
    Loss,
    /// Only messages that were sent are received.
    Phantom,
    /// Payloads are received as they were sent.
    Intact,
    /// No message is received again after its settlement was confirmed.
    Returned,
    /// No two consumers hold the same message at the same time.
    Overlap,
    /// A message is stored at most once, and no two messages have one id.
    StoredTwice,
    /// Attempts count from 1 and never fall.
    Attempts,
    /// The history ends with empty queues.
    Drained,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.property, self.what)
    }
}

/// The result of a check, with the numbers of what was checked: an empty history breaks no promise.
#[derive(Debug)]
pub struct Verdict {
    /// The broken promises.
    pub violations: Vec<Violation>,
    /// Messages whose publish was confirmed.
    pub acked: usize,
    /// Messages whose publish has no known outcome.
    pub unknown: usize,
    /// Leases that a consumer received.
    pub leases: usize,
    /// Settlements that were confirmed.
    pub settled: usize,
    /// Messages that were leased more than once.
    pub leased_again: usize,
}

impl Verdict {
    /// Whether this property was broken.
    pub fn breaks(&self, property: Property) -> bool {
        self.violations.iter().any(|violation| violation.property == property)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} acked, {} unknown, {} leases, {} settled, {} leased again, {} violations",
            self.acked,
            self.unknown,
            self.leases,
            self.settled,
            self.leased_again,
            self.violations.len()
        )?;
        // The first twenty show what happened; the rest is in the saved history.
        self.violations.iter().take(20).try_for_each(|violation| writeln!(f, "  {violation}"))
    }
}

/// Checks a whole history.
pub fn check(events: &[Event]) -> Verdict {
    let index = Index::new(events);
    let properties = [
        intact::check,
        phantom::check,
        loss::check,
        returned::check,
        overlap::check,
        stored_twice::check,
        attempts::check,
    ];
    let mut violations: Vec<Violation> = properties.iter().flat_map(|property| property(&index)).collect();
    if index.drained.is_none() {
        let what =
            "the history does not end with an empty queue, so nothing can be said about loss".to_owned();
        violations.push(Violation { property: Property::Drained, what });
    }
    let settled = index.leases.values().filter(|lease| lease.confirmed().is_some()).count();
    Verdict {
        violations,
        acked: index.publishes.values().filter(|publish| publish.acked.is_some()).count(),
        unknown: index.publishes.values().filter(|publish| publish.unanswered()).count(),
        leases: index.leases.len(),
        settled,
        leased_again: index.messages.values().filter(|tokens| tokens.len() > 1).count(),
    }
}
