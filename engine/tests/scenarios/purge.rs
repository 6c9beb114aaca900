//! A purge: what the holders of deliveries are answered after it.

use posthouse_engine::{
    effect::Effect,
    ids::QueueRef,
    kv::Family,
    limits::{CLOSED_LEASE_RETENTION_MS, MAX_CLOSED_LEASES, VERSION_OF_WALL_TIME},
    outcome::{ExtendOutcome, Outcome, SettleOutcome},
    schema::{Command, Grant, PurgeQueue, SettleKind, TokenRef},
};

use crate::shard::{DEPARTMENT, Shard, default, holder, settings, token};

fn purge(shard: &mut Shard, expected: u64) {
    let command = PurgeQueue { department: DEPARTMENT, name: "applications".into(), request: None };
    assert_eq!(shard.run(Command::PurgeQueue(command)), Outcome::PurgeQueue(Ok(expected)));
}

fn ack(shard: &mut Shard, queue: QueueRef, who: &str, token: TokenRef) -> SettleOutcome {
    shard.settle(queue, &holder(who), token, SettleKind::Ack)
}

#[test]
fn holders_hear_of_a_purge_and_those_who_had_settled_that_they_had() {
    let (mut shard, queue) = Shard::with(settings(3, ""));
    shard.publish(queue, &["one", "two", "three", "four", "five"]);
    let whole = shard.grant(queue, &holder("a"), &[1, 2], 30_000);
    let part = shard.grant(queue, &holder("a"), &[3, 4], 30_000);
    let [one, two, three, four] = [token(&whole, 0), token(&whole, 1), token(&part, 0), token(&part, 1)];
    let [acked, nacked] = [SettleKind::Ack, SettleKind::Nack];
    for (done, kind) in [(one, acked), (two, nacked), (three, acked)] {
        assert_eq!(shard.settle(queue, &holder("a"), done, kind), SettleOutcome::Settled);
    }
    purge(&mut shard, 3);
    assert_eq!(shard.effects, [Effect::Purged(queue)]);
    for restart in [false, true] {
        if restart {
            shard.restart();
        }
        for (token, answered) in [
            (one, SettleOutcome::AlreadySettled(acked)),
            (two, SettleOutcome::AlreadySettled(nacked)),
            (three, SettleOutcome::AlreadySettled(acked)),
            (four, SettleOutcome::MessagePurged),
        ] {
            assert_eq!(ack(&mut shard, queue, "a", token), answered);
        }
        let extended = shard.extend(queue, &holder("a"), &[four, three], 60_000);
        assert_eq!(extended, [ExtendOutcome::MessagePurged, ExtendOutcome::AlreadySettled(acked)]);
        assert_eq!(ack(&mut shard, queue, "somebody", four), SettleOutcome::TokenInvalid);
        assert_eq!(shard.machine.live_leases(&shard.kv, default(queue), &holder("a")).unwrap(), []);
    }
    assert_eq!(shard.release(queue, &holder("a")), 0);
    assert_eq!(shard.counts(queue).in_flight, 0);
    shard.pass(30_000);
    assert_eq!(shard.stats(queue).sums.expired, 0, "what was purged does not run out");
    // Closed leases are remembered for a minute.
    assert_eq!(ack(&mut shard, queue, "a", four), SettleOutcome::MessagePurged);
    shard.pass(CLOSED_LEASE_RETENTION_MS);
    assert_eq!(ack(&mut shard, queue, "a", four), SettleOutcome::TokenInvalid);
    assert_eq!(shard.rows(Family::Timer), 0);
}

#[test]
fn a_lease_that_had_ended_before_is_told_what_became_of_its_message() {
    let (mut shard, queue) = Shard::with(settings(9, ""));
    shard.publish(queue, &["one", "two", "three"]);
    let lost = shard.grant(queue, &holder("a"), &[1, 2], 5_000);
    let extended = shard.grant(queue, &holder("a"), &[3], 5_000);
    shard.extend(queue, &holder("a"), &[token(&lost, 1)], 30_000);
    shard.pass(5_000);
    // One message is settled by another consumer, one waits again, and one is still leased.
    let later = shard.grant(queue, &holder("b"), &[1], 30_000);
    assert_eq!(ack(&mut shard, queue, "b", token(&later, 0)), SettleOutcome::Settled);
    purge(&mut shard, 2);
    let answered = [token(&lost, 0), token(&lost, 1), token(&extended, 0)];
    let answered = answered.map(|token| ack(&mut shard, queue, "a", token));
    let purged = SettleOutcome::MessagePurged;
    assert_eq!(answered, [SettleOutcome::SettledByAnother, purged, purged]);
    // Another publish and purge change nothing of that.
    shard.publish(queue, &["four"]);
    let fourth = shard.grant(queue, &holder("a"), &[4], 5_000);
    purge(&mut shard, 1);
    assert_eq!(ack(&mut shard, queue, "a", token(&lost, 0)), SettleOutcome::SettledByAnother);
    assert_eq!(ack(&mut shard, queue, "a", token(&lost, 1)), purged);
    assert_eq!(ack(&mut shard, queue, "a", token(&fourth, 0)), purged);
}

#[test]
fn of_very_many_leases_the_newest_stay_known() {
    let (mut shard, queue) = Shard::with(settings(9, ""));
    shard.checked = false;
    let limit = u64::from(MAX_CLOSED_LEASES);
    let batch = vec!["x"; 1_000];
    for _ in 0..13 {
        shard.publish(queue, &batch);
    }
    let one = |sequence| {
        Command::Grant(Grant {
            department: DEPARTMENT,
            queue: queue.queue.0,
            subscription: 1,
            holder: Some(holder("a")),
            sequences: vec![sequence],
            nonce: 77,
            duration_ms: 30_000,
            ..Grant::default()
        })
    };
    let token = |lease| TokenRef { lease, index: 0, nonce: 77 };
    for first in (1..=limit + 500).step_by(500) {
        shard.run_all((first..first + 500).map(one).collect());
    }
    assert_eq!(ack(&mut shard, queue, "a", token(1)), SettleOutcome::Settled);
    // 10,499 leases are open, one is closed: the first 499 are forgotten, and the closed one.
    purge(&mut shard, 13_000 - 1);
    shard.check();
    let answered = [1, 2, 500, 501, limit + 500].map(|lease| ack(&mut shard, queue, "a", token(lease)));
    let [forgotten, purged] = [SettleOutcome::TokenInvalid, SettleOutcome::MessagePurged];
    assert_eq!(answered, [forgotten, forgotten, forgotten, purged, purged]);
    // At the next purge the newest leases replace the oldest.
    shard.run_all((12_001..=12_010).map(one).collect());
    purge(&mut shard, 0);
    shard.check();
}

#[test]
fn batches_of_before_forget_whoever_held_a_message() {
    let (mut shard, queue) = Shard::with(settings(3, ""));
    shard.version = VERSION_OF_WALL_TIME - 1;
    shard.publish(queue, &["one", "two"]);
    let granted = shard.grant(queue, &holder("a"), &[1, 2], 30_000);
    ack(&mut shard, queue, "a", token(&granted, 0));
    purge(&mut shard, 1);
    let answered = [0, 1].map(|index| ack(&mut shard, queue, "a", token(&granted, index)));
    assert_eq!(answered, [SettleOutcome::TokenInvalid; 2]);
}
