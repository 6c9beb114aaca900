//! Logs of machine version 5 replay as they were answered. `version-5.log` was written by the last engine of that
//! version, from random cases that reach all code. It has each batch as it was logged, a checksum of the answers, and
//! one of all rows after it.

use posthouse_engine::{
    kv::MemKv,
    outcome::{ExtendOutcome, Outcome, PublishError, QueueView},
    schema::Batch,
};
use proptest::prelude::*;
use prost::Message;

use crate::{
    driver::Driver,
    op,
    prove::prove,
    subject::{Subject, same},
};

const LOG: &[u8] = include_bytes!("version-5.log");

#[test]
fn a_log_of_version_5_replays_as_it_was_answered() {
    let (mut log, mut batches, mut cases) = (LOG, 0, 0);
    while !log.is_empty() {
        cases += 1;
        let mut subject = Subject::as_shipped(MemKv::default());
        for _ in 0..number(&mut log) {
            let length = usize::try_from(number(&mut log)).unwrap();
            let batch = Batch::decode(log.split_off(..length).unwrap()).unwrap();
            assert_eq!(batch.machine_version, 5);
            let answers = number(&mut log);
            let stored = number(&mut log);
            let applied = subject.apply(&batch).unwrap();
            let answered: Vec<_> = applied.outcomes.iter().map(answered).collect();
            let commands = &batch.commands;
            same("answers", &sum(&answered), &answers)
                .unwrap_or_else(|error| panic!("{error}\n{commands:#?}\n{answered:#?}"));
            same("rows", &rows(&subject.kv), &stored)
                .unwrap_or_else(|error| panic!("{error}\n{commands:#?}"));
            batches += 1;
        }
        subject.check().unwrap();
    }
    println!("{cases} cases, {batches} batches");
    assert!(cases >= 30 && batches >= 300);
}

#[test]
fn a_log_goes_on_in_the_newer_version() {
    let case = (op::case(), any::<prop::sample::Index>());
    prove("from version 5 on", 1_000, true, &case, |(case, at)| {
        let (mut driver, mut subject) = (Driver::new(), Subject::new(None));
        let mut steps = vec![driver.first()];
        steps.extend(case.iter().map(|ops| driver.step(ops)));
        let newer = at.index(steps.len());
        for (index, mut step) in steps.into_iter().enumerate() {
            if index < newer {
                step.batch.machine_version = 5;
            }
            subject.apply(&step.batch)?;
            subject.check()?;
        }
        Ok(())
    })
    .unwrap();
}

fn number(log: &mut &[u8]) -> u64 {
    let (number, rest) = log.split_first_chunk::<8>().unwrap();
    *log = rest;
    u64::from_be_bytes(*number)
}

/// An outcome as one line, with the names that it had in version 5: the checksums are of these lines.
fn answered(outcome: &Outcome) -> String {
    match outcome {
        Outcome::CreateQueue(Ok(view)) => format!("created {}", definition(view)),
        Outcome::UpdateQueue(Ok(view)) => format!("updated {}", definition(view)),
        Outcome::Publish(Err(PublishError::Fenced { current, found })) => {
            format!("Publish(Err(Fenced {{ current: {current}, given: {found} }}))")
        }
        Outcome::Publish(Err(PublishError::SequenceGap { expected, found })) => {
            format!("Publish(Err(SequenceGap {{ expected: {expected}, given: {found} }}))")
        }
        Outcome::Publish(Ok(published)) => format!("{} {:?}", published.published_at_ms, published.results),
        Outcome::Grant(Ok(granted)) => {
            let items = granted.items.iter().map(|item| (item.index, item.sequence, item.attempt));
            let items: Vec<_> = items.collect();
            format!("{} {} {} {items:?}", granted.lease, granted.nonce, granted.deadline_ms)
        }
        Outcome::Extend(Ok(outcomes)) => outcomes.iter().map(extended).collect(),
        Outcome::RedriveDeadLetters(Ok(redriven)) => format!("{:?}", redriven.outcomes),
        Outcome::Advance(advanced) => format!("{} {}", advanced.fired, advanced.more),
        outcome => format!("{outcome:?}"),
    }
}

fn extended(outcome: &ExtendOutcome) -> String {
    match outcome {
        ExtendOutcome::Extended(deadline_ms) => format!("{deadline_ms} "),
        outcome => format!("{outcome:?} "),
    }
}

fn definition(view: &QueueView) -> String {
    let settings = &view.settings;
    format!(
        "{} {} {} {} {} {} {} {} {} {}",
        view.department,
        view.queue,
        view.name,
        view.revision,
        view.created_at_ms,
        view.updated_at_ms,
        settings.max_message_bytes,
        settings.lease_duration_ms,
        settings.max_attempts,
        settings.dead_letter_queue
    )
}

/// FNV-1a.
fn sum(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.as_ref() {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        sum = (sum ^ 0xff).wrapping_mul(0x0100_0000_01b3);
    }
    sum
}

/// The checksum of all rows.
fn rows(kv: &MemKv) -> u64 {
    let parts = kv.rows().map(|(family, key, value)| [family.name().as_bytes(), key, &value[..]].concat());
    sum(parts)
}
