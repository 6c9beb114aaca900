//! The random cases reach all code that a proof should cover.

use std::{cell::RefCell, collections::BTreeMap};

use posthouse_engine::{
    keys::{HeadKey, Key, RelocatedBodyKey},
    kv::{Family, Kv},
    outcome::{
        EntryResult, ExtendOutcome, Outcome, PublishError, RedriveError, RedriveOutcome, SettleOutcome,
    },
    schema::QueueHeadRow,
};
use prost::Message;

use crate::{
    driver::Driver,
    model::State,
    op::{self, Op},
    prove::prove_from,
    subject::Subject,
};

const EVERYTHING: [&str; 46] = [
    "settled",
    "already settled",
    "token invalid",
    "lease lost",
    "settled by another",
    "extended",
    "extend settled",
    "extend invalid",
    "extend lost",
    "extend settled by another",
    "stored",
    "refused",
    "duplicate",
    "old duplicate",
    "refused long ago",
    "fenced",
    "gap",
    "foreign",
    "atomic refused",
    "department closed",
    "queue gone",
    "no such subscription",
    "purged",
    "deleted",
    "revision mismatch",
    "settings refused",
    "released",
    "nothing free",
    "waiting",
    "waiting for a target",
    "parked",
    "dead letter",
    "redriven",
    "freed",
    "redrive leased",
    "no dead letter",
    "its queue is gone",
    "no such target",
    "passed over",
    "settled after a purge",
    "extended after a purge",
    "repeated",
    "repeated after its queue was deleted",
    "repeated by another",
    "request id reused",
    "request forgotten",
];

#[test]
fn the_cases_come_to_everything() {
    let seen = RefCell::new(BTreeMap::new());
    prove_from(1, "reach", 3_000, false, &op::case(), |case| {
        reach(&case, &mut seen.borrow_mut());
        Ok(())
    })
    .unwrap();
    println!("{:?}", seen.borrow());
    let missing: Vec<_> = EVERYTHING.iter().filter(|what| !seen.borrow().contains_key(*what)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

fn reach(case: &[Vec<Op>], seen: &mut BTreeMap<&'static str, u32>) {
    let mut driver = Driver::new();
    driver.first();
    for ops in case {
        for expected in driver.step(ops).expected.iter().flatten() {
            for what in names(expected) {
                *seen.entry(what).or_default() += 1;
            }
        }
        for what in driver.model.noted.drain(..) {
            *seen.entry(what).or_default() += 1;
        }
        for message in driver.model.queues.iter().flat_map(|queue| &queue.messages) {
            let what = match message.state {
                State::Waiting(_, None) => "waiting",
                State::Waiting(_, Some(_)) => "waiting for a target",
                State::Parked(_) => "parked",
                _ if message.origin.is_some() => "dead letter",
                _ => continue,
            };
            *seen.entry(what).or_default() += 1;
        }
    }
}

fn names(outcome: &Outcome) -> Vec<&'static str> {
    use posthouse_engine::outcome::{DeleteQueueError, SubscriptionError, UpdateQueueError};
    match outcome {
        Outcome::Settle(Ok(outcomes)) => outcomes.iter().map(settle).collect(),
        Outcome::Extend(Ok(outcomes)) => outcomes.iter().map(extend).collect(),
        Outcome::Publish(Ok(published)) => entries(&published.results),
        Outcome::Publish(Err(error)) => vec![publish(error)],
        Outcome::PurgeQueue(Ok(1..)) => vec!["purged"],
        Outcome::DeleteQueue(Ok(())) => vec!["deleted"],
        Outcome::DeleteQueue(Err(DeleteQueueError::RevisionMismatch(_))) => vec!["revision mismatch"],
        Outcome::UpdateQueue(Err(UpdateQueueError::Settings(_))) => vec!["settings refused"],
        Outcome::ReleaseHolder(Ok(1..)) => vec!["released"],
        Outcome::Grant(Ok(granted)) if granted.items.is_empty() => vec!["nothing free"],
        Outcome::Grant(Err(SubscriptionError::QueueNotFound)) => vec!["queue gone"],
        Outcome::Grant(Err(SubscriptionError::SubscriptionNotFound)) => vec!["no such subscription"],
        Outcome::Grant(Err(SubscriptionError::Department(_))) => vec!["department closed"],
        Outcome::RedriveDeadLetters(Ok(redriven)) => redriven.outcomes.iter().map(redrive).collect(),
        Outcome::RedriveDeadLetters(Err(RedriveError::TargetNotFound)) => vec!["no such target"],
        _ => Vec::new(),
    }
}

fn redrive(outcome: &RedriveOutcome) -> &'static str {
    match outcome {
        RedriveOutcome::Moved { .. } => "redriven",
        RedriveOutcome::Freed => "freed",
        RedriveOutcome::Leased => "redrive leased",
        RedriveOutcome::NotDeadLetter => "no dead letter",
        RedriveOutcome::QueueGone => "its queue is gone",
        RedriveOutcome::NotReached => "not reached",
        RedriveOutcome::PassedOver(_) => "passed over",
    }
}

fn settle(outcome: &SettleOutcome) -> &'static str {
    match outcome {
        SettleOutcome::Settled => "settled",
        SettleOutcome::AlreadySettled(_) => "already settled",
        SettleOutcome::TokenInvalid => "token invalid",
        SettleOutcome::LeaseLost => "lease lost",
        SettleOutcome::SettledByAnother => "settled by another",
        SettleOutcome::MessagePurged => "settled after a purge",
    }
}

fn extend(outcome: &ExtendOutcome) -> &'static str {
    match outcome {
        ExtendOutcome::Extended(_) => "extended",
        ExtendOutcome::AlreadySettled(_) => "extend settled",
        ExtendOutcome::TokenInvalid => "extend invalid",
        ExtendOutcome::LeaseLost => "extend lost",
        ExtendOutcome::SettledByAnother => "extend settled by another",
        ExtendOutcome::MessagePurged => "extended after a purge",
    }
}

fn entries(results: &[EntryResult]) -> Vec<&'static str> {
    let mut names: Vec<_> = results.iter().map(entry).collect();
    // A message before one of a forgotten batch is of a forgotten batch, too.
    let forgotten = results.iter().rposition(|result| *result == EntryResult::Duplicate(None)).unwrap_or(0);
    if results.iter().take(forgotten).any(|result| *result == EntryResult::Refused) {
        names.push("refused long ago");
    }
    names
}

fn entry(result: &EntryResult) -> &'static str {
    match result {
        EntryResult::Stored(_) => "stored",
        EntryResult::Duplicate(Some(_)) => "duplicate",
        EntryResult::Duplicate(None) => "old duplicate",
        EntryResult::Refused => "refused",
    }
}

fn publish(error: &PublishError) -> &'static str {
    match error {
        PublishError::Fenced { .. } => "fenced",
        PublishError::SequenceGap { .. } => "gap",
        PublishError::ForeignProducer => "foreign",
        PublishError::AtomicRefused => "atomic refused",
        _ => "other",
    }
}

#[test]
fn the_long_cases_relocate_and_trim() {
    let (relocated, trimmed) = (RefCell::new(0), RefCell::new(0));
    prove_from(1, "reach, long", 10, false, &op::long_case(), |case| {
        let (mut driver, mut subject) = (Driver::new(), Subject::new(None));
        let first = driver.first();
        subject.apply(&first.batch)?;
        for ops in &case {
            subject.apply(&driver.step(ops).batch)?;
            let rows = subject.kv.rows().filter(|(family, key, _)| {
                *family == Family::Body && RelocatedBodyKey::decode(key).is_some()
            });
            *relocated.borrow_mut() += rows.count();
        }
        for queue in driver.model.queues.iter().filter(|queue| !queue.deleted) {
            let head = subject.kv.get(Family::State, &HeadKey { queue: queue.id }.encode()).unwrap().unwrap();
            *trimmed.borrow_mut() += QueueHeadRow::decode(head).unwrap().trimmed;
        }
        Ok(())
    })
    .unwrap();
    println!("{} relocated, trimmed {}", relocated.borrow(), trimmed.borrow());
    assert!(*relocated.borrow() > 0 && *trimmed.borrow() > 0);
}

/// Relocation by bytes. Its limits are small enough for the cases only with this feature.
#[cfg(feature = "planted-bugs")]
#[test]
fn the_cases_relocate_by_bytes() {
    use std::collections::BTreeSet;

    use posthouse_engine::{keys::SubscriptionKey, schema::SubscriptionRow};
    let (copied, settled) = (RefCell::new(0), RefCell::new(0));
    prove_from(1, "reach, by bytes", 1_000, false, &op::case(), |case| {
        let (mut driver, mut subject) = (Driver::new(), Subject::new(None));
        let first = driver.first();
        subject.apply(&first.batch)?;
        let mut before = BTreeSet::new();
        for ops in &case {
            subject.apply(&driver.step(ops).batch)?;
            let mut now = BTreeSet::new();
            for (family, key, value) in subject.kv.rows() {
                if family == Family::Body && RelocatedBodyKey::decode(key).is_some() {
                    now.insert(key.to_vec());
                }
                if SubscriptionKey::decode(key).is_some() && family == Family::State {
                    let row = SubscriptionRow::decode(value.clone()).unwrap();
                    *copied.borrow_mut() += u64::from(row.copied > row.floor);
                }
            }
            *settled.borrow_mut() += before.difference(&now).count();
            before = now;
        }
        Ok(())
    })
    .unwrap();
    println!("{} times copied beyond the floor, {} copies gone", copied.borrow(), settled.borrow());
    assert!(*copied.borrow() > 100 && *settled.borrow() > 100);
}
