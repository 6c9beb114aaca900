//! Messages are leased by the batch that stores them, if no session and no message is passed over by that.

use posthouse_engine::schema::Command;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::world::{World, sequences};
use crate::shard::Reply;

/// How many grants are proposed.
fn grants(world: &World) -> usize {
    world.proposed.iter().flatten().filter(|(_, reply)| matches!(reply, Reply::Grant(_))).count()
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
    assert_eq!(sequences(&stream.granted()), [1, 2]);
    world.add(&stream, 5, 0);
    world.propose(&[1; 2]);
    // One grant of the third message, which is ready, and then one of those that are stored.
    assert_eq!(grants(&world), 2);
    while world.decide(true) {}
    assert_eq!(sequences(&stream.granted()), [3, 4, 5]);
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
    // The first publish is not logged, so the second gets its sequences.
    assert!(world.decide(false));
    assert!(world.decide(true));
    assert!(stream.granted().is_empty());
    world.propose(&[7; 2]);
    world.propose(&[7; 2]);
    world.run();
    let granted = stream.granted();
    assert_eq!(sequences(&granted), [1, 2, 3, 4, 5, 6]);
    assert!(granted.iter().all(|leased| leased.size == 7));
    // All credit was refunded.
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

#[test]
fn a_batch_without_room_leases_no_more_than_it_has_room_for() {
    let mut world = World::new();
    let mut stream = world.open("a", 2_000, 0);
    world.propose_with_capacity(&[1; 600], 1);
    assert_eq!(grants(&world), 1);
    world.propose(&[1; 100]);
    assert_eq!(grants(&world), 1, "the rest of the first comes first");
    world.run();
    assert_eq!(sequences(&stream.granted()), (1..=700).collect::<Vec<_>>());
}

#[test]
fn one_stream_gets_all_in_order_whatever_its_credit_and_whatever_is_refused() {
    for _ in 0..1_000 {
        let seed = rand::random();
        println!("seed {seed}");
        in_order(StdRng::seed_from_u64(seed));
    }
}

/// Whether the oldest proposal leases messages that are stored: if that is refused, they are late.
fn picks_what_is_there(world: &World) -> bool {
    let picks = |(command, _): &(Command, Reply)| match command {
        Command::Grant(grant) => grant.next_sequence == 0,
        _ => false,
    };
    world.proposed.front().is_some_and(|batch| batch.iter().any(picks))
}

fn in_order(mut chance: StdRng) {
    let mut world = World::new();
    let bytes = if chance.random_bool(0.5) { 500 } else { 0 };
    let (mut stream, mut seen) = (world.open("a", 5, bytes), Vec::new());
    for _ in 0..80 {
        let sizes: Vec<u32> = (0..chance.random_range(1..6)).map(|_| chance.random_range(0..300)).collect();
        match chance.random_range(0..8) {
            0..=2 => world.propose_with_capacity(&sizes, chance.random_range(0..4)),
            // Nothing overtakes what is in the log.
            3 if world.proposed.is_empty() => world.publish(&sizes),
            4 => world.add(
                &stream,
                chance.random_range(0..8),
                if bytes > 0 { chance.random_range(0..800) } else { 0 },
            ),
            5 => drop(world.dispatch.retry_stalled()),
            _ => {
                let logged = picks_what_is_there(&world) || chance.random_bool(0.8);
                world.decide(logged);
            }
        }
        seen.extend(sequences(&stream.granted()));
    }
    world.add(&stream, 10_000, u64::from(bytes > 0) * 1_000_000);
    world.dispatch.retry_stalled();
    world.run();
    seen.extend(sequences(&stream.granted()));
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!((world.counts().ready, world.counts().in_flight), (0, seen.len() as u64));
}
