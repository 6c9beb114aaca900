//! Times that are shown are the wall clock's, which may be set. Deadlines and durations go by the time of batches.

use posthouse_engine::{
    kv::Family,
    limits::VERSION_OF_WALL_TIME,
    schema::{QueueSettings, SettleKind::Ack},
    views::MessageState,
};

use crate::shard::{START, Shard, holder, settings, token};

const MINUTE: u64 = 60_000;
const FIFTY_MINUTES: i64 = 50 * 60_000;
const BEHIND: i64 = -10 * 60_000;

#[test]
fn shown_times_go_by_the_wall_clock() {
    let mut shard = Shard::new();
    shard.wall_ahead = FIFTY_MINUTES;
    let wall_published_ms = START.saturating_add_signed(FIFTY_MINUTES);
    let view = shard.try_create("applications", QueueSettings::default()).unwrap();
    assert_eq!((view.created_at_ms, view.updated_at_ms), (wall_published_ms, wall_published_ms));
    let queue = posthouse_engine::ids::QueueRef { department: view.department, queue: view.queue };
    assert_eq!(shard.publish(queue, &["one", "two"]).published_at_ms, wall_published_ms);
    let (header, _) = shard.body(queue, 2).unwrap();
    assert_eq!((header.published_at_ms, header.wall_published_at_ms()), (START, wall_published_ms));
    shard.now += MINUTE;
    shard.wall_ahead = 0;
    assert_eq!(shard.publish(queue, &["three"]).published_at_ms, START + MINUTE);
    shard.wall_ahead = BEHIND;
    assert_eq!(
        shard.update("applications", settings(3, "")).updated_at_ms,
        (START + MINUTE).saturating_add_signed(BEHIND)
    );
    let stats = shard.stats(queue);
    // A message keeps the time of a wrong clock; its age is right.
    assert_eq!(
        (stats.first_published_ms, stats.last_published_ms),
        (Some(wall_published_ms), Some(START + MINUTE))
    );
    assert_eq!(
        (stats.oldest_unsettled_ms, stats.oldest_published_ms),
        (Some(wall_published_ms), Some(START))
    );
    let published: Vec<_> = (1..=3).map(|at| shard.status(queue, at).published_at_ms.unwrap()).collect();
    assert_eq!(published, [wall_published_ms, wall_published_ms, START + MINUTE]);
    assert_eq!(shard.machine.wall_ms(), shard.now.saturating_add_signed(BEHIND));
    shard.restart();
    assert_eq!(shard.machine.wall_ms(), shard.now.saturating_add_signed(BEHIND));
    assert_eq!(shard.status(queue, 1).published_at_ms, Some(wall_published_ms));
}

#[test]
fn a_wall_clock_that_is_set_moves_no_deadline_and_spoils_no_sum() {
    for ahead in [0, FIFTY_MINUTES, BEHIND] {
        let (mut shard, queue) = Shard::with(QueueSettings::default());
        shard.wall_ahead = ahead;
        shard.publish(queue, &["one", "two"]);
        shard.now += 7_000;
        // The clock is set right between publish and grant, and wrong again between grant and ack.
        shard.wall_ahead = 0;
        let granted = shard.grant(queue, &holder("a"), &[1, 2], 30_000);
        assert_eq!(granted.deadline_ms, START + 37_000);
        assert_eq!(shard.status(queue, 2).state, MessageState::Leased { deadline_ms: START + 37_000 });
        shard.now += 2_000;
        shard.wall_ahead = ahead;
        shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
        let sums = shard.stats(queue).sums;
        assert_eq!((sums.waiting_ms, sums.processing_ms), (14_000, 2_000), "{ahead}");
        assert_eq!(sums.last_acked_at_ms, (START + 9_000).saturating_add_signed(ahead));
        shard.pass(27_999);
        assert_eq!(shard.free(queue), [], "{ahead}: it has expired early");
        shard.pass(1);
        assert_eq!(shard.free(queue), [2]);
    }
}

#[test]
fn a_dead_letter_says_when_it_was_published_by_the_wall_clock_of_then() {
    let (mut shard, queue) = Shard::with(settings(1, "failed"));
    let dead = shard.create("failed", QueueSettings::default());
    shard.wall_ahead = FIFTY_MINUTES;
    let wall_published_ms = shard.publish(queue, &["one"]).published_at_ms;
    shard.wall_ahead = BEHIND;
    shard.now += MINUTE;
    shard.fail(queue, 1);
    let (header, _) = shard.body(dead, 1).unwrap();
    assert_eq!(header.published_at_ms, START + MINUTE);
    assert_eq!(header.wall_published_at_ms(), (START + MINUTE).saturating_add_signed(BEHIND));
    assert_eq!(header.dead_letter.as_ref().unwrap().published_at_ms, wall_published_ms);
    assert_eq!(shard.status(dead, 1).origin, header.dead_letter);
    // A redriven message has a new publish time.
    shard.wall_ahead = 3_000;
    shard.now += MINUTE;
    shard.redrive(dead, &[1]);
    let (header, _) = shard.body(queue, 2).unwrap();
    assert_eq!(
        (header.published_at_ms, header.wall_published_at_ms()),
        (START + 2 * MINUTE, START + 2 * MINUTE + 3_000)
    );
    shard.now += 1_500;
    shard.grant(queue, &holder("a"), &[2], 5_000);
    assert_eq!(shard.stats(queue).sums.waiting_ms, MINUTE + 1_500);
}

#[test]
fn a_relocated_body_keeps_its_wall_time() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.wall_ahead = FIFTY_MINUTES;
    shard.checked = false;
    let wall_published_ms = shard.publish(queue, &["waits"]).published_at_ms;
    shard.wall_ahead = 0;
    for first in 0..80 {
        shard.publish(queue, &["x"; 1_024]);
        let sequences: Vec<u64> = (2 + first * 1_024..2 + (first + 1) * 1_024).collect();
        let granted = shard.grant(queue, &holder("a"), &sequences, 30_000);
        let acks = (0..1_024).map(|index| crate::shard::item(token(&granted, index), Ack, 0)).collect();
        shard.settle_all(queue, &holder("a"), acks);
    }
    assert!(shard.body(queue, 1).is_none(), "it is relocated");
    assert_eq!(shard.status(queue, 1).published_at_ms, Some(wall_published_ms));
    shard.check();
}

#[test]
fn a_difference_of_nothing_costs_nothing() {
    let stored = |wall_ahead| {
        let (mut shard, queue) = Shard::with(QueueSettings::default());
        shard.wall_ahead = wall_ahead;
        shard.publish(queue, &["one"]);
        let rows = shard.kv.rows().filter(|(family, ..)| [Family::Body, Family::Entry].contains(family));
        rows.map(|(.., value)| value.len()).sum::<usize>()
    };
    assert_eq!(stored(0) + 2 * 2, stored(1), "a field in the body and one in the entry");
}

#[test]
fn an_older_leader_shows_the_time_of_batches() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    (shard.version, shard.wall_ahead) = (VERSION_OF_WALL_TIME - 1, FIFTY_MINUTES);
    assert_eq!(shard.publish(queue, &["one"]).published_at_ms, START);
    let (header, _) = shard.body(queue, 1).unwrap();
    assert_eq!((header.published_at_ms, header.wall_ahead_ms), (START, 0));
    assert_eq!(shard.machine.wall_ms(), START);
    // A leader of a version without wall clock.
    (shard.version, shard.wall_ahead) = (VERSION_OF_WALL_TIME, i64::MIN);
    assert_eq!(shard.publish(queue, &["two"]).published_at_ms, START);
}
