//! Proof (c): a snapshot at some index and the rest of the log have the same result as the whole log.

use posthouse_engine::{
    kv::{Family, Kv, MemKv},
    layered::Layered,
    outcome::Outcome,
};
use proptest::prelude::*;

use crate::{
    driver::{Driver, Step},
    op::{self, Op},
    prove::prove,
    subject::{Plant, Subject, hydrate, same},
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
    let snapshotted = snapshot.unwrap_or_default();
    let mut rest = Subject::on(snapshotted.clone(), plant);
    for (step, expected) in log.iter().zip(&outcomes).skip(at) {
        same("outcomes", &rest.apply(&step.batch)?.outcomes, expected)?;
    }
    rest.check()?;
    rehearsed(&snapshotted, &log[at..], &outcomes[at..], &rest.kv, plant)?;
    if rest.kv == whole.kv { Ok(()) } else { Err("the rows differ".into()) }
}

/// The rest of the log has the same result when it is rehearsed over a snapshot that does not change.
fn rehearsed(
    snapshot: &MemKv,
    rest: &[Step],
    expected: &[Vec<Outcome>],
    end: &MemKv,
    plant: Option<Plant>,
) -> Result<(), String> {
    let mut rows = Layered::over(snapshot);
    let mut machine = hydrate(&rows, plant);
    for (step, expected) in rest.iter().zip(expected) {
        let index = machine.applied_index() + 1;
        let applied = machine.apply(&rows, index, step.batch.clone()).map_err(|halt| halt.to_string())?;
        same("rehearsed outcomes", &applied.outcomes, expected)?;
        rows.write(applied.writes);
    }
    for family in Family::ALL {
        let found = rows.range(family, &[], &[u8::MAX; 64], usize::MAX / 8).unwrap();
        let found = found.into_iter().map(|(key, value)| (key.to_vec(), value));
        let made =
            end.rows().filter(|(of, ..)| *of == family).map(|(_, key, value)| (key.to_vec(), value.clone()));
        if !found.eq(made) {
            return Err(format!("the rehearsed rows of {family:?} differ"));
        }
    }
    Ok(())
}
