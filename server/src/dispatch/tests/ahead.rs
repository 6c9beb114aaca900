//! Messages are leased by the batch that stores them, if nobody and nothing is passed over by that.

use super::world::{World, sequences};

/// How many grants are proposed.
fn grants(world: &World) -> usize {
    use crate::shard::Reply;
    world.proposed.iter().filter(|(_, reply)| matches!(reply, Reply::Grant(_))).count()
}

#[test]
fn who_waits_gets_what_is_published_at_once() {
    let mut world = World::new();
    let (mut a, mut b) = (world.open("a", 300, 0), world.open("b", 300, 100_000));
    world.propose(&[10; 700]);
    assert_eq!(grants(&world), 4);
    while world.decide(true) {}
    let (a, b) = (a.granted(), b.granted());
    assert_eq!(sequences(&a), (1..=256).chain(513..=556).collect::<Vec<_>>());
    assert_eq!(sequences(&b), (257..=512).chain(557..=600).collect::<Vec<_>>());
    assert!(a.iter().all(|leased| leased.size == 0) && b.iter().all(|leased| leased.size == 10));
    world.run();
    assert_eq!((world.counts().in_flight, world.counts().ready), (600, 100));
}

#[test]
fn one_publish_after_the_other_is_leased_while_all_are_under_way() {
    let mut world = World::new();
    let mut stream = world.open("a", 10, 0);
    (0..3).for_each(|_| world.propose(&[1; 3]));
    assert_eq!(grants(&world), 3);
    while world.decide(true) {}
    assert_eq!(sequences(&stream.granted()), (1..=9).collect::<Vec<_>>());
}

#[test]
fn nothing_is_leased_before_what_waits() {
    let mut world = World::new();
    world.publish(&[1; 3]);
    let mut stream = world.open("a", 2, 0);
    world.run();
    world.add(&stream, 5, 0);
    world.propose(&[1; 2]);
    assert_eq!(grants(&world), 0);
    world.run();
    assert_eq!(sequences(&stream.granted()), [1, 2, 3, 4, 5]);
}

#[test]
fn nothing_is_leased_before_what_is_under_way_and_not_leased() {
    let mut world = World::new();
    let mut stream = world.open("a", 1, 0);
    // The credit is for one of these.
    world.propose(&[1; 2]);
    world.add(&stream, 9, 0);
    (0..2).for_each(|_| world.propose(&[1; 2]));
    assert_eq!(grants(&world), 1);
    world.run();
    assert_eq!(sequences(&stream.granted()), [1, 2, 3, 4, 5, 6]);
    world.propose(&[1; 2]);
    assert_eq!(grants(&world), 1, "and again, when all of it is leased");
}

#[test]
fn what_is_stored_otherwise_than_expected_is_leased_in_its_order() {
    let mut world = World::new();
    let mut stream = world.open("a", 10, 1_000);
    world.propose(&[400; 1]);
    world.propose(&[7; 2]);
    assert_eq!(grants(&world), 2);
    // The first publish is not taken, so that the second gets its sequences.
    assert!(world.decide(false));
    (0..3).for_each(|_| assert!(world.decide(true)));
    assert!(stream.granted().is_empty());
    // Its message did not come either: what follows what is under way is not leased ahead.
    world.propose(&[7; 2]);
    world.propose(&[7; 2]);
    world.run();
    let granted = stream.granted();
    assert_eq!(sequences(&granted), [1, 2, 3, 4, 5, 6]);
    assert!(granted.iter().all(|leased| leased.size == 7));
    // All credit came back.
    world.publish(&[239; 5]);
    world.run();
    assert_eq!(sequences(&stream.granted()), [7, 8, 9, 10]);
}

#[test]
fn a_message_that_no_credit_suffices_for_is_not_passed_over() {
    let mut world = World::new();
    let mut stream = world.open("a", 10, 1_000);
    world.propose(&[600, 600, 1]);
    assert_eq!(grants(&world), 1);
    while world.decide(true) {}
    assert_eq!(sequences(&stream.granted()), [1]);
    world.run();
    world.propose(&[1]);
    world.run();
    assert!(stream.granted().is_empty());
    world.add(&stream, 0, 1_000);
    world.run();
    assert_eq!(sequences(&stream.granted()), [2, 3, 4]);
}

#[test]
fn nothing_is_leased_ahead_while_draining() {
    let mut world = World::new();
    let mut stream = world.open("a", 10, 0);
    world.dispatch.drain();
    world.propose(&[1]);
    world.run();
    assert!(stream.granted().is_empty());
}
