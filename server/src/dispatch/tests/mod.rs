mod ahead;
mod chance;
mod shares;
mod world;

use posthouse_engine::schema::SettleKind;

use self::world::{World, live, sequences};
use super::SessionEvent;

fn is_idle(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Idle { .. })
}

#[test]
fn nothing_is_granted_beyond_the_credit_and_all_of_it_in_order() {
    let mut world = World::new();
    world.publish(&[1; 700]);
    let mut stream = world.open("a", 300, 0);
    world.run();
    assert_eq!(sequences(&stream.granted()), (1..=300).collect::<Vec<_>>());
    world.add(&stream, 1_000, 0);
    world.run();
    assert_eq!(sequences(&stream.granted()), (301..=700).collect::<Vec<_>>());
}

#[test]
fn streams_are_served_in_rounds() {
    let mut world = World::new();
    world.publish(&[1; 1_000]);
    let (mut a, mut b) = (world.open("a", 5_000, 0), world.open("b", 5_000, 0));
    world.run();
    assert_eq!(sequences(&a.granted()), (1..=256).chain(513..=756).collect::<Vec<_>>());
    assert_eq!(b.granted().len(), 500);
    // Longer ones while there is enough for all.
    (0..2).for_each(|_| world.publish(&[1; 800]));
    world.run();
    assert_eq!(sequences(&a.granted()), (1_001..=1_512).chain(2_025..=2_312).collect::<Vec<_>>());
    assert_eq!(b.granted().len(), 800);
}

#[test]
fn byte_credit_bounds_what_is_granted() {
    let mut world = World::new();
    world.publish(&[400, 400, 400]);
    let mut stream = world.open("a", 10, 1_000);
    world.run();
    let granted = stream.granted();
    assert_eq!(granted.iter().map(|leased| leased.size).collect::<Vec<_>>(), [400, 400]);
    world.add(&stream, 1, 199);
    world.run();
    assert!(stream.granted().is_empty());
    world.add(&stream, 0, 1);
    world.run();
    assert_eq!(sequences(&stream.granted()), [3]);
}

#[test]
fn a_message_larger_than_all_byte_credit_goes_alone_when_the_credit_is_whole() {
    let mut world = World::new();
    world.publish(&[100, 5_000, 100]);
    let mut stream = world.open("a", 10, 1_000);
    world.run();
    assert_eq!(sequences(&stream.granted()), [1]);
    world.add(&stream, 1, 100);
    world.run();
    assert_eq!(sequences(&stream.granted()), [2]);
    // 4,000 below zero.
    world.add(&stream, 1, 4_000);
    world.run();
    assert!(stream.granted().is_empty());
    world.add(&stream, 0, 1_000);
    world.run();
    assert_eq!(sequences(&stream.granted()), [3]);
}

#[test]
fn a_large_message_still_goes_when_credit_came_while_a_refused_grant_was_out() {
    let mut world = World::new();
    world.publish(&[300]);
    let mut stream = world.open("a", 10, 1_000);
    world.pump();
    // More credit than is settled, while 300 are leased: the highest balance is not known before they are settled.
    world.add(&stream, 0, 200);
    world.purge();
    world.publish(&[2_000]);
    while world.decide(true) {}
    world.run();
    assert_eq!(sequences(&stream.granted()), [2]);
}

#[test]
fn a_session_that_comes_back_gets_its_leases_and_pays_for_them() {
    let mut world = World::new();
    world.publish(&[100; 10]);
    let mut old = world.open("a", 4, 1_000);
    world.run();
    let held = old.granted();
    assert_eq!(held.len(), 4);
    let mut new = world.open("a", 6, 600);
    world.run();
    assert!(matches!(old.events()[..], [SessionEvent::TakenOver]));
    let events = new.events();
    let [SessionEvent::Resumed(resumed), SessionEvent::Granted(granted)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(resumed, &held);
    // Six messages and 600 bytes, less the four resumed.
    assert_eq!(sequences(granted), [5, 6]);
    world.add(&new, 10, 100);
    world.run();
    assert_eq!(sequences(&new.granted()), [7]);
    // The old stream's end changes nothing, whichever way it ends.
    world.close(old, true);
    world.run();
    assert_eq!(world.counts().in_flight, 7);
}

#[test]
fn a_grant_on_its_way_goes_to_the_stream_that_took_over_once() {
    let mut world = World::new();
    world.publish(&[100; 3]);
    let mut old = world.open("a", 10, 1_000);
    world.pump();
    let mut new = world.open("a", 10, 1_000);
    world.run();
    assert!(old.granted().is_empty());
    let events = new.events();
    let [SessionEvent::Resumed(resumed), SessionEvent::Granted(granted)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(resumed.is_empty());
    assert_eq!(sequences(granted), [1, 2, 3]);
    world.publish(&[100; 20]);
    world.run();
    assert_eq!(new.granted().len(), 7);
}

#[test]
fn what_was_on_its_way_to_a_stream_that_ended_goes_to_the_next_at_once() {
    for (clean, notified) in [(false, true), (true, true), (false, false)] {
        let mut world = World::new();
        world.publish(&[100; 3]);
        let closed = world.open("gone", 10, 0);
        world.pump();
        if notified {
            world.close(closed, clean);
        } else {
            // The handler has ended, and dispatch does not know yet.
            drop(closed);
        }
        let mut next = world.open("next", 10, 0);
        world.run();
        let granted = next.granted();
        assert_eq!(sequences(&granted), [1, 2, 3]);
        assert!(granted.iter().all(|leased| leased.live.item.attempt == 1));
    }
}

#[test]
fn a_clean_end_releases_and_a_broken_one_keeps() {
    let mut world = World::new();
    world.publish(&[1; 3]);
    let stream = world.open("a", 10, 0);
    world.run();
    world.close(stream, false);
    world.run();
    assert_eq!(world.counts().in_flight, 3);
    let stream = world.open("a", 10, 0);
    world.close(stream, true);
    world.run();
    assert_eq!((world.counts().in_flight, world.counts().ready), (0, 3));
}

#[test]
fn a_stream_at_its_end_is_leased_nothing_and_gives_back_what_it_never_sent() {
    let mut world = World::new();
    world.publish(&[100; 5]);
    let mut stream = world.open("a", 10, 0);
    world.run();
    let held = live(&stream.granted());
    world.stop(&stream, &held[2..]);
    world.publish(&[100; 3]);
    world.run();
    assert!(stream.granted().is_empty());
    assert_eq!((world.counts().in_flight, world.counts().ready), (2, 6));
    // More credit changes nothing.
    world.add(&stream, 10, 0);
    world.run();
    assert_eq!(world.counts().in_flight, 2);
    let mut next = world.open("next", 10, 0);
    world.run();
    let granted = next.granted();
    assert_eq!(sequences(&granted), [3, 4, 5, 6, 7, 8]);
    assert!(granted.iter().all(|leased| leased.live.item.attempt == 1));
    world.close(stream, false);
    world.run();
    assert_eq!(world.counts().in_flight, 8);
}

#[test]
fn a_stream_that_gives_back_goes_on_and_takes_nothing_from_the_one_that_has_taken_it_over() {
    let mut world = World::new();
    world.publish(&[100; 4]);
    let mut stream = world.open("a", 4, 0);
    world.run();
    let held = live(&stream.granted());
    world.return_leases(&stream, &held[3..]);
    world.add(&stream, 1, 0);
    world.run();
    assert_eq!(sequences(&stream.granted()), [4]);
    // The newer stream is sent what the older one has not returned yet.
    let mut newer = world.open("a", 0, 0);
    let events = newer.events();
    let [SessionEvent::Resumed(resumed)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(resumed.len(), 4);
    world.return_leases(&stream, &held[..3]);
    world.run();
    assert_eq!((world.counts().in_flight, world.counts().ready), (4, 0));
}

#[test]
fn more_than_one_command_may_settle_goes_back_by_several() {
    const COUNT: usize = 5_000;
    for count in [1_024, 1_025, COUNT] {
        let mut world = World::new();
        vec![1; count].chunks(500).for_each(|sizes| world.publish(sizes));
        let mut stream = world.open("a", u32::try_from(COUNT).unwrap(), 0);
        world.run();
        let held = live(&stream.granted());
        assert_eq!(held.len(), count);
        world.stop(&stream, &held);
        world.run();
        assert_eq!((world.counts().in_flight, world.counts().ready), (0, count as u64));
    }
}

#[test]
fn what_is_on_its_way_back_is_not_resumed() {
    let mut world = World::new();
    world.publish(&[100; 4]);
    let mut stream = world.open("a", 10, 0);
    world.run();
    let held = live(&stream.granted());
    world.stop(&stream, &held[1..]);
    // The release is proposed and not applied.
    let mut again = world.open("a", 0, 0);
    let events = again.events();
    let [SessionEvent::Resumed(resumed)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(live(resumed), held[..1]);
    // The older stream's end, and its unsent leases, do not concern the newer one.
    world.stop(&stream, &held[..1]);
    world.close(stream, true);
    world.run();
    assert_eq!((world.counts().in_flight, world.counts().ready), (1, 3));
    // A clean end returns everything.
    world.close(again, true);
    let mut again = world.open("a", 0, 0);
    let events = again.events();
    assert!(matches!(&events[..], [SessionEvent::Resumed(none)] if none.is_empty()), "{events:?}");
    world.run();
    assert_eq!((world.counts().in_flight, world.counts().ready), (0, 4));
    // If it is not logged, the next stream has the leases again.
    world.add(&again, 4, 0);
    world.run();
    let held = live(&again.granted());
    world.stop(&again, &held);
    assert!(world.decide(false));
    let mut last = world.open("a", 0, 0);
    let events = last.events();
    assert!(matches!(&events[..], [SessionEvent::Resumed(all)] if live(all) == held), "{events:?}");
}

#[test]
fn a_grant_that_the_log_did_not_take_is_picked_again_when_its_time_comes() {
    let mut world = World::new();
    world.publish(&[100; 3]);
    let mut stream = world.open("a", 3, 300);
    world.pump();
    assert!(world.decide(false));
    world.run();
    assert!(stream.granted().is_empty(), "tried again without a pause");
    assert!(world.dispatch.retry_stalled());
    assert!(!world.dispatch.retry_stalled());
    world.run();
    assert_eq!(sequences(&stream.granted()), [1, 2, 3]);
}

#[test]
fn what_comes_back_goes_first() {
    let mut world = World::new();
    world.publish(&[1; 10]);
    let mut stream = world.open("a", 4, 0);
    world.run();
    let held = live(&stream.granted());
    world.settle(&stream.holder, &held[1..3], SettleKind::Release);
    world.settle(&stream.holder, &held[..1], SettleKind::Nack);
    world.add(&stream, 4, 0);
    world.run();
    let granted = stream.granted();
    assert_eq!(sequences(&granted), [1, 2, 3, 5]);
    assert_eq!(granted.iter().map(|leased| leased.live.item.attempt).collect::<Vec<_>>(), [2, 1, 1, 1]);
}

#[test]
fn a_purge_gives_back_the_credit_of_what_was_on_its_way() {
    let mut world = World::new();
    world.publish(&[100; 5]);
    let mut stream = world.open("a", 5, 500);
    world.pump();
    world.purge();
    world.publish(&[100; 5]);
    world.run();
    assert_eq!(sequences(&stream.granted()), [6, 7, 8, 9, 10]);
}

#[test]
fn idle_is_told_once_each_time_it_comes_to_be_so() {
    let mut world = World::new();
    let mut stream = world.open("a", 10, 0);
    world.run();
    let events = stream.events();
    assert!(matches!(&events[..], [SessionEvent::Resumed(_), SessionEvent::Idle { .. }]), "{events:?}");
    world.publish(&[1]);
    world.pump();
    assert!(stream.events().is_empty(), "one is ready");
    world.run();
    let granted = stream.granted();
    world.run();
    assert!(stream.events().is_empty(), "one is leased");
    world.settle(&stream.holder, &live(&granted), SettleKind::Ack);
    world.run();
    world.run();
    assert!(matches!(&stream.events()[..], [SessionEvent::Idle { waiting: 0, parked: 0 }]));
}

#[test]
fn a_stream_without_credit_of_either_kind_is_not_told_of_idle() {
    let mut world = World::new();
    world.publish(&[1_000]);
    let mut reader = world.open("reader", 100, 0);
    let (mut none, mut no_bytes) = (world.open("none", 0, 0), world.open("no-bytes", 100, 1));
    world.run();
    let first = reader.granted();
    let first = if first.is_empty() { no_bytes.granted() } else { first };
    world.settle(&reader.holder, &live(&first), SettleKind::Ack);
    for _ in 0..10 {
        world.publish(&[1_000]);
        world.run();
        let granted = [reader.granted(), no_bytes.granted()].concat();
        world.settle(&reader.holder, &live(&granted), SettleKind::Ack);
        world.run();
    }
    assert!(!none.events().iter().any(is_idle));
    assert!(no_bytes.events().iter().filter(|event| is_idle(event)).count() <= 1);
}

#[test]
fn a_stream_on_a_queue_that_is_deleted_ends_whenever_it_was_opened() {
    let mut world = World::new();
    let mut before = world.open("before", 1, 0);
    world.delete();
    let mut after = world.open("after", 1, 0);
    for stream in [&mut before, &mut after] {
        assert!(matches!(stream.events().last(), Some(SessionEvent::QueueDeleted)));
    }
}

#[test]
fn nothing_is_leased_while_draining_and_every_stream_is_told() {
    let mut world = World::new();
    let mut before = world.open("before", 10, 0);
    world.dispatch.drain();
    world.publish(&[1]);
    let mut after = world.open("after", 10, 0);
    world.run();
    for stream in [&mut before, &mut after] {
        assert!(matches!(stream.events().last(), Some(SessionEvent::Drain)));
    }
    assert_eq!(world.counts().ready, 1);
}
