//! Each planted bug is found by the proof it was planted for.

use proptest::prelude::*;

use crate::{agree, op, prove::prove, restart, snapshot, subject::Plant};

#[test]
fn the_model_finds_a_floor_that_rises_too_far() {
    let found = prove("skip floor", 2_000, false, &op::case(), |case| {
        agree::agrees(&case, Some(Plant::SkipFloor), true)
    });
    println!("{}", found.unwrap_err());
}

#[test]
fn the_model_finds_a_forgotten_expiry() {
    let found = prove("forget expiry", 2_000, false, &op::case(), |case| {
        agree::agrees(&case, Some(Plant::ForgetExpiry), true)
    });
    println!("{}", found.unwrap_err());
}

#[test]
fn the_restart_finds_a_wrong_hydration() {
    let case = restart::case(op::case());
    let found = prove("hydrate wrongly, restart", 2_000, false, &case, |case| {
        restart::equal(&case, Some(Plant::HydrateWrongly), true)
    });
    println!("{}", found.unwrap_err());
}

#[test]
fn the_snapshot_finds_a_wrong_hydration() {
    let case = (op::case(), any::<prop::sample::Index>());
    let found = prove("hydrate wrongly, snapshot", 2_000, false, &case, |(case, at)| {
        snapshot::equal(&case, at.index(case.len()), Some(Plant::HydrateWrongly))
    });
    println!("{}", found.unwrap_err());
}
