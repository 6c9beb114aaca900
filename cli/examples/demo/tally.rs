//! What producers and consumers saw, and the figures that follow from it.

use std::collections::{BTreeMap, HashMap, HashSet};

/// What was seen of one queue, by the numbers of the applications.
#[derive(Default)]
pub struct OfficeTally {
    published: HashSet<String>,
    settled: HashSet<String>,
    /// Dead letters, with their attempts.
    dead: BTreeMap<String, u32>,
    /// Applications that a clerk returned and that were not delivered since.
    failed: HashSet<String>,
    /// The message id of each delivered application.
    delivered: HashMap<String, String>,
    duplicated: u64,
    redelivered: u64,
}

/// Closing figures of one queue.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Applications whose publish was confirmed.
    pub published: u64,
    /// Applications that were delivered and whose settlement was confirmed.
    pub processed: u64,
    /// Applications in the dead-letter queue.
    pub dead_lettered: u64,
    /// Applications that were published and are neither processed nor dead letters.
    pub lost: u64,
    /// Applications that were stored twice, delivered after a confirmed settlement, or settled twice.
    pub duplicated: u64,
    /// Applications that were delivered again without a confirmed settlement.
    pub redelivered: u64,
}

impl OfficeTally {
    /// A publish was confirmed.
    pub fn published(&mut self, number: &str) {
        self.published.insert(number.to_owned());
    }

    /// An application was delivered.
    pub fn delivered(&mut self, number: &str, message: &str) {
        let before = self.delivered.insert(number.to_owned(), message.to_owned());
        match before {
            None => {}
            Some(before) if before == message && self.failed.remove(number) => {}
            Some(before) if before != message || self.settled.contains(number) => self.duplicated += 1,
            Some(_) => self.redelivered += 1,
        }
    }

    /// A settlement was confirmed.
    pub fn settled(&mut self, number: &str) {
        if !self.settled.insert(number.to_owned()) {
            self.duplicated += 1;
        }
    }

    /// An application was found in the dead-letter queue.
    pub fn dead_lettered(&mut self, number: &str, attempts: u32) {
        let known = self.dead.insert(number.to_owned(), attempts).is_some();
        if known || self.settled.contains(number) {
            self.duplicated += 1;
        }
    }

    /// The dead letters, each with its attempts.
    pub fn dead_letters(&self) -> Vec<(String, u32)> {
        self.dead.iter().map(|(number, attempts)| (number.clone(), *attempts)).collect()
    }

    /// A clerk returned an application, which explains its next delivery.
    pub fn failed(&mut self, number: &str) {
        self.failed.insert(number.to_owned());
    }

    /// The figures so far.
    pub fn figures(&self) -> Figures {
        Figures {
            published: self.published.len() as u64,
            processed: self.settled.len() as u64,
            dead_lettered: self.dead.len() as u64,
            lost: self.published.iter().filter(|number| !self.ended(number)).count() as u64,
            duplicated: self.duplicated,
            redelivered: self.redelivered,
        }
    }

    fn ended(&self, number: &str) -> bool {
        self.settled.contains(number) || self.dead.contains_key(number)
    }
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.processed += other.processed;
        self.dead_lettered += other.dead_lettered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.redelivered += other.redelivered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_run_has_neither_loss_nor_duplicate() {
        let mut tally = OfficeTally::default();
        tally.published("1");
        tally.delivered("1", "m1");
        tally.settled("1");
        assert_eq!(tally.figures(), Figures { published: 1, processed: 1, ..Figures::default() });
    }

    #[test]
    fn loss_is_seen() {
        let mut tally = OfficeTally::default();
        tally.published("1");
        tally.delivered("1", "m1");
        assert_eq!(tally.figures().lost, 1);
    }

    #[test]
    fn a_dead_letter_is_not_lost_but_may_not_have_been_processed_too() {
        let mut tally = OfficeTally::default();
        tally.published("1");
        tally.delivered("1", "m1");
        tally.failed("1");
        tally.delivered("1", "m1");
        tally.dead_lettered("1", 3);
        let expected = Figures { published: 1, dead_lettered: 1, ..Figures::default() };
        assert_eq!(tally.figures(), expected);
        tally.settled("2");
        tally.dead_lettered("2", 3);
        assert_eq!(tally.figures().duplicated, 1);
    }

    #[test]
    fn only_what_was_confirmed_or_stored_twice_is_a_duplicate() {
        let mut tally = OfficeTally::default();
        tally.delivered("1", "m1");
        tally.delivered("1", "m1");
        assert_eq!((tally.figures().duplicated, tally.figures().redelivered), (0, 1));
        tally.settled("1");
        tally.delivered("1", "m1");
        assert_eq!(tally.figures().duplicated, 1);
        tally.delivered("2", "m2");
        tally.delivered("2", "m3");
        assert_eq!(tally.figures().duplicated, 2);
        tally.settled("1");
        assert_eq!(tally.figures().duplicated, 3);
    }
}
