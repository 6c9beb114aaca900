//! Messages that are given up.

use posthouse_engine::{
    effect::Effect,
    outcome::SettleOutcome,
    schema::{
        Command, DeadLetterCause, DeadLetterOrigin, DeleteQueue,
        SettleKind::{Ack, DeadLetter, Nack},
    },
};

use crate::shard::{START, Shard, default, holder, settings, token};

#[test]
fn a_message_that_failed_too_often_moves() {
    let mut shard = Shard::new();
    let dead = shard.create("dead", settings(0, ""));
    let queue = shard.create("applications", settings(2, "dead"));
    shard.publish(queue, &["one", "two"]);
    shard.now += 10;
    let granted = shard.grant(queue, &holder("a"), &[2], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), Nack);
    shard.grant(queue, &holder("a"), &[2], 5_000);
    shard.pass(5_000);
    assert_eq!(
        shard.effects,
        [Effect::Appended { queue: dead, last_sequence: 1 }, Effect::Settled(default(queue))]
    );
    let (header, content) = shard.body(dead, 1).unwrap();
    assert_eq!((header.published_at_ms, &content[..]), (START + 5_010, &b"two"[..]));
    let origin = DeadLetterOrigin {
        cause: DeadLetterCause::MaxAttempts.into(),
        queue: "applications".into(),
        subscription: "default".into(),
        queue_id: queue.queue.0,
        sequence: 2,
        published_at_ms: START,
        attempts: 2,
    };
    assert_eq!(header.dead_letter, Some(origin));
    let entry = shard.machine.entry_at(&shard.kv, dead, 1).unwrap().unwrap();
    assert_eq!(entry.payload_bytes, [3]);
    assert_eq!((shard.free(queue), shard.free(dead)), (vec![1], vec![1]));
    assert_eq!(shard.grant(dead, &holder("a"), &[1], 5_000).items[0].attempt, 1);
}

#[test]
fn a_consumer_may_give_a_message_up() {
    let mut shard = Shard::new();
    let dead = shard.create("dead", settings(0, ""));
    let queue = shard.create("applications", settings(5, "dead"));
    shard.publish(queue, &["one"]);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), Nack);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    assert_eq!(shard.settle(queue, &holder("a"), token(&granted, 0), DeadLetter), SettleOutcome::Settled);
    let origin = shard.body(dead, 1).unwrap().0.dead_letter.unwrap();
    assert_eq!((origin.cause(), origin.attempts), (DeadLetterCause::Consumer, 1));
    let again = shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
    assert_eq!(again, SettleOutcome::AlreadySettled(DeadLetter));
}

#[test]
fn without_a_target_it_is_parked() {
    let (mut shard, queue) = Shard::with(settings(1, ""));
    shard.publish(queue, &["one"]);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), Nack);
    assert_eq!(shard.effects, [Effect::Settled(default(queue))]);
    shard.restart();
    let counts = shard.counts(queue);
    assert_eq!((counts.ready, counts.waiting, counts.parked), (0, 0, 1));
    shard.pass(1_000_000_000);
    assert_eq!((shard.free(queue), shard.counts(queue).parked), (vec![], 1));
}

#[test]
fn a_missing_target_is_tried_again() {
    let (mut shard, queue) = Shard::with(settings(1, "dead"));
    shard.publish(queue, &["one"]);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), Nack);
    for _ in 0..2 {
        assert_eq!((shard.free(queue), shard.counts(queue).waiting), (vec![], 1));
        shard.pass(60_000);
    }
    let dead = shard.create("dead", settings(0, ""));
    shard.pass(60_000);
    assert_eq!((shard.free(dead), shard.counts(queue).waiting), (vec![1], 0));
    let origin = shard.body(dead, 1).unwrap().0.dead_letter.unwrap();
    assert_eq!((origin.cause(), origin.attempts), (DeadLetterCause::MaxAttempts, 1));
}

#[test]
fn a_target_that_is_no_longer_named_is_not_waited_for() {
    let (mut shard, queue) = Shard::with(settings(1, "dead"));
    shard.publish(queue, &["one"]);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), Nack);
    shard.update("applications", settings(1, ""));
    shard.pass(60_000);
    assert_eq!(shard.counts(queue).parked, 1);
}

#[test]
fn a_deleted_target_is_missing() {
    let mut shard = Shard::new();
    shard.create("dead", settings(0, ""));
    let queue = shard.create("applications", settings(1, "dead"));
    shard.publish(queue, &["one"]);
    shard.run(Command::DeleteQueue(DeleteQueue {
        department: 1,
        name: "dead".into(),
        expected_revision: 0,
        request: None,
    }));
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), Nack);
    assert_eq!(shard.counts(queue).waiting, 1);
}
