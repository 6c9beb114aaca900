//! Proof (a): two machines apply the same batches, and one of them is read again from its rows, or drops its state,
//! at random points. Their rows are equal byte for byte.

use proptest::{collection::vec, prelude::*};

use crate::{
    driver::Driver,
    op::{self, Op},
    prove::prove,
    subject::{Plant, Subject, same},
};

/// What happens to the second machine before a batch, or to both by an operator.
#[derive(Debug, Clone, Copy)]
pub enum Mishap {
    None,
    Restart,
    Evict(usize),
    SetAside(u32),
    Reopen(u32),
}

pub type Case = Vec<(Mishap, Vec<Op>)>;

pub fn case(ops: impl Strategy<Value = Vec<Vec<Op>>>) -> impl Strategy<Value = Case> {
    let mishap = prop_oneof![
        3 => Just(Mishap::None),
        1 => Just(Mishap::Restart),
        1 => (0usize..3).prop_map(Mishap::Evict),
    ];
    with(ops, mishap)
}

/// The same with departments that are set aside and opened again.
fn operated(ops: impl Strategy<Value = Vec<Vec<Op>>>) -> impl Strategy<Value = Case> {
    let mishap = prop_oneof![
        4 => Just(Mishap::None),
        1 => Just(Mishap::Restart),
        1 => (0usize..3).prop_map(Mishap::Evict),
        1 => (1u32..3).prop_map(Mishap::SetAside),
        2 => (1u32..3).prop_map(Mishap::Reopen),
    ];
    with(ops, mishap)
}

fn with(
    ops: impl Strategy<Value = Vec<Vec<Op>>>,
    mishap: impl Strategy<Value = Mishap>,
) -> impl Strategy<Value = Case> {
    (ops, vec(mishap, 30)).prop_map(|(ops, mishaps)| mishaps.into_iter().zip(ops).collect())
}

#[test]
fn what_is_held_in_memory_changes_nothing() {
    prove("restart", 3_000, true, &case(op::case()), |case| equal(&case, None, true)).unwrap();
}

#[test]
fn departments_that_are_set_aside_change_nothing_of_that() {
    prove("set aside", 2_000, true, &operated(op::case()), |case| equal(&case, None, true)).unwrap();
}

#[test]
fn what_is_held_in_memory_changes_nothing_over_many_chunks() {
    prove("restart, long", 10, false, &case(op::long_case()), |case| equal(&case, None, false)).unwrap();
}

pub fn equal(case: &Case, plant: Option<Plant>, closely: bool) -> Result<(), String> {
    let (mut driver, mut steady, mut restless) = (Driver::new(), Subject::new(plant), Subject::new(plant));
    let mut batches = vec![(Mishap::Restart, driver.first())];
    for (mishap, ops) in case {
        batches.push((*mishap, driver.step(ops)));
    }
    for (mishap, step) in batches {
        match mishap {
            Mishap::None => {}
            Mishap::Restart => restless.restart(),
            Mishap::Evict(keep) => restless.machine.evict_idle(keep),
            Mishap::SetAside(department) => {
                same("set aside", &steady.set_aside(department), &restless.set_aside(department))?;
            }
            Mishap::Reopen(department) => {
                steady.reopen(department);
                restless.reopen(department);
            }
        }
        let (one, other) = (steady.apply(&step.batch)?, restless.apply(&step.batch)?);
        same("outcomes", &other.outcomes, &one.outcomes)?;
        same("effects", &other.effects, &one.effects)?;
        if closely {
            steady.check()?;
        }
    }
    steady.check()?;
    // The stores are not printed, since they are large.
    if steady.kv == restless.kv { Ok(()) } else { Err("the rows differ".into()) }
}
