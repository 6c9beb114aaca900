//! Whatever happens to streams, credits and grants: no message is lost, and no lease overlaps another.

use std::collections::BTreeSet;

use posthouse_engine::schema::SettleKind;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::world::{Stream, World, live};
use crate::dispatch::{Leased, SessionEvent};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

struct Party {
    stream: Stream,
    held: Vec<Leased>,
}

#[test]
fn no_message_is_lost_or_leased_twice() {
    for _ in 0..200 {
        let seed = rand::random();
        println!("seed {seed}");
        play(StdRng::seed_from_u64(seed));
    }
}

fn play(mut chance: StdRng) {
    let (mut world, mut parties) = (World::new(), Vec::<Party>::new());
    for _ in 0..120 {
        match chance.random_range(0..12) {
            0..=2 => {
                let sizes: Vec<u32> =
                    (0..chance.random_range(1..40)).map(|_| chance.random_range(0..300)).collect();
                if chance.random_bool(0.5) { world.publish(&sizes) } else { world.propose(&sizes) }
            }
            3 => {
                let name = NAMES[chance.random_range(0..NAMES.len())];
                let bytes = if chance.random_bool(0.5) { chance.random_range(1..2_000) } else { 0 };
                let stream = world.open(name, chance.random_range(0..50), bytes);
                parties.push(Party { stream, held: Vec::new() });
            }
            4 if !parties.is_empty() => {
                let closed = parties.swap_remove(chance.random_range(0..parties.len()));
                match chance.random_range(0..3) {
                    0 => world.close(closed.stream, true),
                    1 => world.close(closed.stream, false),
                    _ => {
                        // Its handler has ended; dispatch gets the event later, or only at the end.
                        drop(closed);
                    }
                }
            }
            5 if !parties.is_empty() => {
                let party = &parties[chance.random_range(0..parties.len())];
                world.add(&party.stream, chance.random_range(0..30), chance.random_range(0..500));
            }
            6 | 7 if !parties.is_empty() => {
                let at = chance.random_range(0..parties.len());
                settle_some(&mut world, &mut parties[at], &mut chance);
            }
            8 => world.pump(),
            9 => drop(world.dispatch.retry_stalled()),
            _ => drop(world.decide(chance.random_bool(0.9))),
        }
        parties.iter_mut().for_each(collect_leases);
    }
    finish(world, parties);
}

fn collect_leases(party: &mut Party) {
    for event in party.stream.events() {
        if let SessionEvent::Resumed(leased) | SessionEvent::Granted(leased) = event {
            party.held.extend(leased);
        }
    }
}

fn settle_some(world: &mut World, party: &mut Party, chance: &mut StdRng) {
    let some = party.held.split_off(party.held.len() / 2);
    let kinds = [SettleKind::Ack, SettleKind::Ack, SettleKind::Nack, SettleKind::Release];
    world.settle(&party.stream.holder, &live(&some), kinds[chance.random_range(0..kinds.len())]);
}

/// Every stream ends and its leases are returned; one consumer then gets all that is left.
fn finish(mut world: World, parties: Vec<Party>) {
    for party in parties {
        world.close(party.stream, true);
    }
    for name in NAMES {
        let stream = world.open(name, 0, 0);
        world.close(stream, true);
    }
    world.run();
    let mut last = world.open("last", 100_000, 0);
    world.dispatch.retry_stalled();
    world.run();
    let counts = world.counts();
    assert_eq!((counts.ready, counts.waiting), (0, 0), "{counts:?}");
    let left = last.granted();
    let different: BTreeSet<u64> = left.iter().map(|leased| leased.live.item.sequence).collect();
    assert_eq!(different.len(), left.len());
    assert_eq!(counts.in_flight, left.len() as u64);
    world.settle(&last.holder, &live(&left), SettleKind::Ack);
    world.run();
    assert!(matches!(last.events().last(), Some(SessionEvent::Idle { .. })));
}
