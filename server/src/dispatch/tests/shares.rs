//! Ready messages are shared by the sessions that wait for them.

use std::collections::BTreeSet;

use posthouse_engine::schema::SettleKind;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    is_idle,
    world::{Stream, World, live, sequences},
};

fn streams(world: &mut World, credits: &[u32]) -> Vec<Stream> {
    let open = |(number, credit): (usize, &u32)| world.open(&format!("s{number}"), *credit, 0);
    credits.iter().enumerate().map(open).collect()
}

fn granted(streams: &mut [Stream]) -> Vec<usize> {
    streams.iter_mut().map(|stream| stream.granted().len()).collect()
}

#[test]
fn what_is_published_at_once_is_shared_by_all_who_wait() {
    let mut world = World::new();
    let mut four = streams(&mut world, &[100; 4]);
    world.run();
    world.propose(&[1; 100]);
    while world.decide(true) {}
    assert_eq!(granted(&mut four), [25; 4], "leased by the batch that stores them");
}

#[test]
fn what_was_there_before_is_shared_by_all_who_wait() {
    let mut world = World::new();
    let mut four = streams(&mut world, &[100; 4]);
    world.publish(&[1; 100]);
    world.run();
    assert_eq!(granted(&mut four), [25; 4]);
}

#[test]
fn who_has_little_credit_takes_less_and_the_others_share_the_rest() {
    for credits in [[10, 100, 100, 100], [100, 100, 100, 10]] {
        for ahead in [false, true] {
            let mut world = World::new();
            let mut four = streams(&mut world, &credits);
            if ahead {
                world.propose(&[1; 100])
            } else {
                world.publish(&[1; 100])
            }
            world.run();
            let shares = granted(&mut four).into_iter().zip(credits);
            assert!(shares.clone().all(|(got, credit)| if credit == 10 { got == 10 } else { got == 30 }));
        }
    }
}

#[test]
fn who_has_no_credit_has_no_share() {
    let mut world = World::new();
    let mut streams = streams(&mut world, &[0, 100, 0, 100, 0, 100, 100]);
    world.propose(&[1; 100]);
    world.run();
    assert_eq!(granted(&mut streams), [0, 25, 0, 25, 0, 25, 25]);
}

#[test]
fn single_messages_go_round() {
    for ahead in [false, true] {
        let mut world = World::new();
        let mut four = streams(&mut world, &[100; 4]);
        for _ in 0..3 {
            let mut round = [0; 4];
            for _ in 0..4 {
                if ahead {
                    world.propose(&[1])
                } else {
                    world.publish(&[1])
                }
                world.run();
                for (sum, got) in round.iter_mut().zip(granted(&mut four)) {
                    *sum += got;
                }
            }
            assert_eq!(round, [1; 4]);
        }
    }
}

#[test]
fn grants_under_way_are_not_shared_once_more() {
    let mut world = World::new();
    world.publish(&[1; 1_000]);
    let mut hungry = world.open("hungry", 1_000, 0);
    // All is picked, and ready until that is applied.
    world.pump();
    let mut four = streams(&mut world, &[100; 4]);
    world.publish(&[1; 8]);
    world.run();
    assert_eq!(hungry.granted().len(), 1_000);
    assert_eq!(granted(&mut four), [2; 4]);
    // Messages that were picked before a purge are not picked again.
    let mut hungry = world.open("hungry", 50, 0);
    world.publish(&[1; 50]);
    world.pump();
    world.purge();
    world.publish(&[1; 100]);
    world.run();
    let all = granted(&mut four).into_iter().sum::<usize>() + hungry.granted().len();
    assert_eq!(all, 100);
}

#[test]
fn one_that_is_too_large_for_some_goes_to_who_has_enough_credit() {
    let mut world = World::new();
    world.publish(&[400; 1]);
    let mut poor: Vec<Stream> = (0..3).map(|n| world.open(&format!("poor{n}"), 10, 1_000)).collect();
    // 300 bytes are out, so that their credit is not whole and suffices for 700.
    world.publish(&[300; 2]);
    world.run();
    poor.iter_mut().for_each(|stream| assert_eq!(stream.granted().len(), 1));
    world.publish(&[900; 2]);
    world.run();
    assert!(poor.iter_mut().all(|stream| stream.granted().is_empty()));
    let mut rich = world.open("rich", 1, 10_000);
    world.run();
    assert_eq!(sequences(&rich.granted()), [4]);
    // Credit makes it one of those who have enough.
    world.add(&poor[1], 1, 400);
    world.run();
    assert_eq!(sequences(&poor[1].granted()), [5]);
    world.publish(&[500; 2]);
    world.run();
    assert_eq!(granted(&mut poor), [1, 0, 1]);
}

#[test]
fn thousands_of_idle_streams_are_told_a_few_at_a_time_and_all_of_them() {
    let mut world = World::new();
    let mut many = streams(&mut world, &[1; 1_000]);
    world.pump();
    let idle_count = |streams: &mut [Stream]| {
        streams.iter_mut().map(|stream| usize::from(stream.events().iter().any(is_idle))).sum::<usize>()
    };
    assert_eq!(idle_count(&mut many), 256);
    assert!(world.dispatch.has_more());
    world.pump();
    assert_eq!(idle_count(&mut many), 256);
    // A session that opens meanwhile is notified at once.
    let mut new = world.open("new", 1, 0);
    (0..2).for_each(|_| world.pump());
    assert!(new.events().iter().any(is_idle));
    assert_eq!(idle_count(&mut many), 488);
    assert!(!world.dispatch.has_more());
    // Not again, before something has happened.
    world.pump();
    assert_eq!(idle_count(&mut many), 0);
    world.publish(&[1; 1_001]);
    world.run();
    assert_eq!(granted(&mut many), [1; 1_000]);
}

/// In any order of events: as long as all have enough credit, no session gets more than one message of a batch more
/// than another.
#[test]
fn nobody_is_passed_over() {
    for _ in 0..100 {
        let seed = rand::random();
        println!("seed {seed}");
        let mut chance = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let count = chance.random_range(1..12);
        let mut waiting = streams(&mut world, &vec![100_000; count]);
        for _ in 0..20 {
            let sizes = vec![1; chance.random_range(1..200)];
            if chance.random_bool(0.5) {
                world.propose(&sizes)
            } else {
                world.publish(&sizes)
            }
            world.run();
            let mut different = BTreeSet::new();
            for stream in &mut waiting {
                let leased = stream.granted();
                different.insert(leased.len());
                world.settle(&stream.holder, &live(&leased), SettleKind::Ack);
            }
            let (min, max) = (different.first().unwrap(), different.last().unwrap());
            assert!(max - min <= 1, "{different:?}");
        }
    }
}
