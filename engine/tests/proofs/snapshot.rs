//! Proof (c): a snapshot at some index and the rest of the log are the whole log.

use proptest::prelude::*;

use crate::{
    driver::Driver,
    op::{self, Op},
    prove::prove,
    subject::{Plant, Subject, same},
};

#[test]
fn a_snapshot_and_the_tail_are_the_whole_log() {
    let case = (op::case(), any::<prop::sample::Index>());
    prove("snapshot", 2_000, true, &case, |(case, at)| equal(&case, at.index(case.len()), None)).unwrap();
}

pub fn equal(case: &[Vec<Op>], at: usize, plant: Option<Plant>) -> Result<(), String> {
    let (mut driver, mut whole) = (Driver::new(), Subject::new(plant));
    let mut log = vec![driver.first()];
    log.extend(case.iter().map(|ops| driver.step(ops)));
    let mut snapshot = None;
    let mut outcomes = Vec::new();
    for (index, step) in log.iter().enumerate() {
        if index == at {
            snapshot = Some(whole.kv.clone());
        }
        outcomes.push(whole.apply(&step.batch)?.outcomes);
    }
    let mut rest = Subject::on(snapshot.unwrap_or_default(), plant);
    for (step, expected) in log.iter().zip(&outcomes).skip(at) {
        same("outcomes", &rest.apply(&step.batch)?.outcomes, expected)?;
    }
    rest.check()?;
    if rest.kv == whole.kv { Ok(()) } else { Err("the rows differ".into()) }
}
