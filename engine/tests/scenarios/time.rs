//! Expiry of leases, and how long closed leases and producer sessions are remembered.

use posthouse_engine::{
    effect::Effect,
    outcome::{Advanced, SettleOutcome},
    schema::{Command, LeaderStarted, QueueSettings, SettleKind::Ack},
};

use crate::shard::{START, Shard, default, holder, settings, token};

#[test]
fn a_lease_ends_at_its_deadline() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two"]);
    let granted = shard.grant(queue, &holder("a"), &[1, 2], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
    shard.pass(4_999);
    assert_eq!(shard.free(queue), []);
    shard.pass(1);
    assert_eq!(shard.effects, [Effect::Returned { subscription: default(queue), sequences: vec![2] }]);
    assert_eq!(shard.free(queue), [2]);
    assert_eq!(shard.settle(queue, &holder("a"), token(&granted, 1), Ack), SettleOutcome::LeaseLost);
    let second = shard.grant(queue, &holder("b"), &[2], 5_000);
    assert_eq!(second.items[0].attempt, 2);
    assert_eq!(shard.settle(queue, &holder("a"), token(&granted, 1), Ack), SettleOutcome::LeaseLost);
    shard.settle(queue, &holder("b"), token(&second, 0), Ack);
    assert_eq!(shard.settle(queue, &holder("a"), token(&granted, 1), Ack), SettleOutcome::SettledByAnother);
}

#[test]
fn a_late_settlement_counts_until_the_expiry_is_applied() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one"]);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.now += 60_000;
    assert_eq!(shard.settle(queue, &holder("a"), token(&granted, 0), Ack), SettleOutcome::Settled);
    shard.pass(0);
    assert_eq!(shard.free(queue), []);
}

#[test]
fn an_expiry_under_a_new_leader_counts_no_attempt() {
    let (mut shard, queue) = Shard::with(settings(1, ""));
    shard.publish(queue, &["one", "two"]);
    shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.run(Command::LeaderStarted(LeaderStarted {}));
    shard.grant(queue, &holder("a"), &[2], 5_000);
    shard.pass(5_000);
    // The expiry of the second counts as its only attempt.
    assert_eq!((shard.free(queue), shard.counts(queue).parked), (vec![1], 1));
    assert_eq!(shard.grant(queue, &holder("a"), &[1], 5_000).items[0].attempt, 1);
}

#[test]
fn an_advance_fires_no_more_than_asked() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two", "three"]);
    for sequence in 1..=3 {
        shard.grant(queue, &holder("a"), &[sequence], 4_000 + sequence);
    }
    shard.now += 10_000;
    assert_eq!(shard.advance(0), Advanced { fired: 0, more: true });
    assert_eq!(shard.advance(2), Advanced { fired: 2, more: true });
    assert_eq!(shard.free(queue), [1, 2]);
    assert_eq!(shard.next_deadline(), Some(START + 4_003));
    assert_eq!(shard.advance(2), Advanced { fired: 1, more: false });
    assert_eq!(shard.advance(2), Advanced { fired: 0, more: false });
}

#[test]
fn time_never_runs_back() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.now -= 500_000;
    shard.publish(queue, &["one"]);
    assert_eq!(shard.body(queue, 1).unwrap().0.published_at_ms, START);
    shard.restart();
    assert_eq!(shard.machine.now_ms(), START);
}

#[test]
fn a_closed_lease_is_remembered_for_a_minute() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one"]);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
    shard.pass(59_999);
    let again = shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
    assert_eq!(again, SettleOutcome::AlreadySettled(Ack));
    shard.pass(1);
    let again = shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
    assert_eq!(again, SettleOutcome::TokenInvalid);
    assert_eq!(shard.next_deadline(), None);
}

#[test]
fn a_settled_lease_leaves_no_timer_but_that_of_its_memory() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one"]);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    assert_eq!(shard.next_deadline(), Some(START + 5_000));
    shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
    assert_eq!(shard.next_deadline(), Some(START + 60_000));
}

#[test]
fn timers_of_what_is_gone_are_dropped() {
    use posthouse_engine::schema::{DeleteQueue, PurgeQueue, SettleKind::Nack};
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two", "three"]);
    for _ in 0..2 {
        let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
        if !granted.items.is_empty() {
            shard.settle_all(queue, &holder("a"), vec![crate::shard::item(token(&granted, 0), Nack, 9_000)]);
        }
    }
    shard.grant(queue, &holder("a"), &[2], 5_000);
    shard.run(Command::PurgeQueue(PurgeQueue { department: 1, name: "applications".into(), request: None }));
    shard.publish(queue, &["four"]);
    shard.grant(queue, &holder("a"), &[4], 50_000);
    shard.pass(20_000);
    assert_eq!((shard.effects.clone(), shard.counts(queue).in_flight), (vec![], 1));
    shard.run(Command::DeleteQueue(DeleteQueue {
        department: 1,
        name: "applications".into(),
        expected_revision: 0,
        request: None,
    }));
    shard.pass(100_000);
    assert_eq!((shard.effects.clone(), shard.next_deadline()), (vec![], None));
}
