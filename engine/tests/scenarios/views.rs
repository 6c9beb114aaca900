//! Queries of queues, departments and messages.

use posthouse_engine::{
    outcome::SettleOutcome,
    schema::{
        Command, DeadLetterCause, DeleteQueue, PurgeQueue, QueueSettings,
        SettleKind::{Ack, DeadLetter, Nack, Release},
        SubscriptionSums,
    },
    views::MessageState,
};

use crate::shard::{START, Shard, default, holder, item, settings, token};

#[test]
fn sums_tell_what_became_of_messages() {
    let (mut shard, queue) = Shard::with(settings(2, ""));
    assert_eq!(shard.stats(queue), Default::default());
    shard.publish(queue, &["one", "two", "three", "refused"]);
    shard.now += 100;
    shard.publish(queue, &["four"]);
    shard.now += 50;
    // Three messages have waited for 150 ms, one for 50 ms.
    let granted = shard.grant(queue, &holder("a"), &[1, 2, 3, 4], 5_000);
    shard.now += 30;
    let kinds = [Ack, Nack, Release, DeadLetter];
    let items = (0..4).map(|index| item(token(&granted, index), kinds[index], 0)).collect();
    assert_eq!(shard.settle_all(queue, &holder("a"), items), [SettleOutcome::Settled; 4]);
    shard.restart();
    // A second delivery counts no waiting time.
    let granted = shard.grant(queue, &holder("a"), &[2, 3], 5_000);
    shard.now += 1_000;
    shard.settle(queue, &holder("a"), token(&granted, 1), Ack);
    shard.pass(5_000);
    let stats = shard.stats(queue);
    let sums = SubscriptionSums {
        delivered: 6,
        first_delivered: 4,
        waiting_ms: 3 * 150 + 50,
        acked: 2,
        processing_ms: 30 + 1_000,
        last_acked_at_ms: START + 1_180,
        nacked: 1,
        expired: 1,
        released: 1,
        dead_lettered: 2,
        ..SubscriptionSums::default()
    };
    assert_eq!(stats.sums, sums);
    assert_eq!((stats.published, stats.counts.parked, stats.counts.ready), (4, 2, 0));
    assert_eq!((stats.first_published_ms, stats.last_published_ms), (Some(START), Some(START + 100)));
    assert_eq!(stats.oldest_unsettled_ms, Some(START));
    shard.run(Command::PurgeQueue(PurgeQueue { department: 1, name: "applications".into(), request: None }));
    let stats = shard.stats(queue);
    assert_eq!((stats.sums, stats.published), (SubscriptionSums { purged: 2, ..sums }, 4));
    assert_eq!((stats.stored_bytes, stats.oldest_unsettled_ms), (0, None));
}

#[test]
fn the_oldest_is_the_first_that_is_not_settled() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    for _ in 0..3 {
        shard.publish(queue, &["one", "two"]);
        shard.now += 10;
    }
    for (sequence, oldest) in [(2, START), (1, START + 10), (4, START + 10), (3, START + 20)] {
        let granted = shard.grant(queue, &holder("a"), &[sequence], 5_000);
        shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
        assert_eq!(shard.stats(queue).oldest_unsettled_ms, Some(oldest), "{sequence}");
    }
}

#[test]
fn a_department_is_charged_with_what_its_queues_hold() {
    let mut shard = Shard::new();
    let dead = shard.create("dead", settings(0, ""));
    let queue = shard.create("applications", settings(1, "dead"));
    assert_eq!((shard.usage().queues, shard.usage().stored_bytes), (2, 0));
    shard.publish(queue, &["one", "two"]);
    let published = shard.stats(queue).stored_bytes;
    assert!(published > 6, "{published}");
    assert_eq!(shard.usage().stored_bytes, published);
    // A dead letter is kept twice until the first copy is trimmed.
    shard.fail(queue, 1);
    let moved = shard.stats(dead).stored_bytes;
    assert!(moved > 3);
    assert_eq!(shard.usage().stored_bytes, published + moved);
    shard.restart();
    shard.run(Command::PurgeQueue(PurgeQueue { department: 1, name: "applications".into(), request: None }));
    assert_eq!(shard.usage().stored_bytes, moved);
    shard.run(Command::DeleteQueue(DeleteQueue {
        department: 1,
        name: "dead".into(),
        expected_revision: 0,
        request: None,
    }));
    assert_eq!((shard.usage().queues, shard.usage().stored_bytes), (1, 0));
}

#[test]
fn a_batch_tells_which_departments_hold_more_or_less() {
    use posthouse_engine::schema::{Batch, CommandRecord};
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let usages = |shard: &mut Shard, command| {
        let commands = vec![CommandRecord { command: Some(command) }];
        let batch = Batch { machine_version: 1, now_ms: shard.now, commands, ..Batch::default() };
        let index = shard.machine.applied_index() + 1;
        let applied = shard.machine.apply(&shard.kv, index, batch).unwrap();
        shard.kv.write(&applied.writes);
        applied.usages
    };
    let answered = usages(&mut shard, Command::Publish(crate::shard::publish(queue, &["one"])));
    assert_eq!(answered, [(crate::shard::department(), shard.usage())]);
    let advance = Command::Advance(posthouse_engine::schema::Advance { max: 1 });
    assert_eq!(usages(&mut shard, advance), []);
}

#[test]
fn a_message_stands_somewhere() {
    let mut shard = Shard::new();
    let queue = shard.create("applications", settings(2, ""));
    shard.publish(queue, &["one", "two", "three", "four", "five"]);
    let granted = shard.grant(queue, &holder("a"), &[1, 2, 3, 4], 5_000);
    shard.extend(queue, &holder("a"), &[token(&granted, 1)], 9_000);
    shard.settle_all(
        queue,
        &holder("a"),
        vec![
            item(token(&granted, 0), Ack, 0),
            item(token(&granted, 2), Nack, 700),
            item(token(&granted, 3), DeadLetter, 0),
        ],
    );
    for _ in 0..2 {
        let states: Vec<_> = (1..=5).map(|sequence| shard.status(queue, sequence).state).collect();
        assert_eq!(
            states,
            [
                MessageState::Settled,
                MessageState::Leased { deadline_ms: START + 9_000 },
                MessageState::Waiting { due_ms: Some(START + 700) },
                MessageState::Parked(DeadLetterCause::Consumer),
                MessageState::Ready,
            ]
        );
        shard.restart();
    }
    let third = shard.status(queue, 3);
    assert_eq!(
        (third.failed_attempts, third.published_at_ms, third.payload_bytes),
        (1, Some(START), Some(5))
    );
    for unknown in [0, 6, u64::MAX] {
        assert_eq!(shard.machine.message_status(&shard.kv, default(queue), unknown).unwrap(), None);
    }
}

#[test]
fn what_waits_for_a_missing_dead_letter_queue_has_no_due_time() {
    let (mut shard, queue) = Shard::with(settings(1, "dead"));
    shard.publish(queue, &["one"]);
    shard.fail(queue, 1);
    assert_eq!(shard.status(queue, 1).state, MessageState::Waiting { due_ms: None });
    assert_eq!(shard.dead_letters(queue), []);
}
