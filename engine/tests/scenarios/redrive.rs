//! Dead letters are listed and redriven.

use bytes::Bytes;
use posthouse_engine::{
    effect::Effect,
    limits::{DEAD_LETTER_SCAN_ROWS, MAX_REDRIVE_BYTES, MAX_REDRIVE_NAMED},
    outcome::{
        DepartmentError, RedriveError,
        RedriveOutcome::{self, Freed, Leased, Moved, NotDeadLetter, NotReached, PassedOver, QueueGone},
        Redriven, SubscriptionError,
    },
    schema::{
        Command, DeadLetterCause, DeleteQueue, Publish, PublishEntry, QueueSettings, RedriveDeadLetters,
        SettleKind::{Ack, DeadLetter},
        SkipReason,
    },
    views::MessageState,
};

use crate::shard::{START, Shard, default, department, holder, publish, settings, token};

/// `applications`, whose messages move to `dead` at their first failure, with this many dead letters.
fn with_dead_letters(
    count: u64,
) -> (Shard, posthouse_engine::ids::QueueRef, posthouse_engine::ids::QueueRef) {
    let mut shard = Shard::new();
    let dead = shard.create("dead", settings(1, ""));
    let queue = shard.create("applications", settings(1, "dead"));
    for sequence in 1..=count {
        shard.publish(queue, &["one"]);
        shard.fail(queue, sequence);
    }
    (shard, queue, dead)
}

/// A queue with dead letters of 3 MiB each.
fn with_large_dead_letters(count: u64) -> (Shard, posthouse_engine::ids::QueueRef) {
    let mut shard = Shard::new();
    let dead = shard.create("dead", settings(0, ""));
    let queue = shard.create("applications", settings(1, "dead"));
    let content = Bytes::from(vec![7; 3 << 20]);
    let entry = PublishEntry { content, payload_bytes: 3 << 20, ..PublishEntry::default() };
    for sequence in 1..=count {
        shard.run(Command::Publish(Publish { entries: vec![entry.clone()], ..publish(queue, &[]) }));
        shard.fail(queue, sequence);
    }
    (shard, dead)
}

fn of(queue: posthouse_engine::ids::QueueRef) -> RedriveDeadLetters {
    let (department, queue) = (queue.department.0, queue.queue.0);
    RedriveDeadLetters { department, queue, subscription: 1, ..RedriveDeadLetters::default() }
}

fn moved(queue: posthouse_engine::ids::QueueRef, sequence: u64) -> RedriveOutcome {
    Moved { queue: queue.queue, sequence }
}

#[test]
fn dead_letters_go_back_to_where_they_came_from() {
    let (mut shard, queue, dead) = with_dead_letters(2);
    assert_eq!((shard.dead_letters(dead), shard.dead_letters(queue)), (vec![1, 2], vec![]));
    let origin = shard.status(dead, 2).origin.unwrap();
    assert_eq!((origin.queue.as_str(), origin.sequence), ("applications", 2));
    shard.now += 500;
    assert_eq!(shard.redrive(dead, &[2, 1]), [moved(queue, 3), moved(queue, 4)]);
    assert_eq!(shard.effects, [Effect::Appended { queue, last_sequence: 4 }, Effect::Settled(default(dead))]);
    let (header, content) = shard.body(queue, 3).unwrap();
    assert_eq!((header.dead_letter, header.published_at_ms, &content[..]), (None, START + 500, &b"one"[..]));
    assert_eq!((shard.free(queue), shard.free(dead)), (vec![3, 4], vec![]));
    assert_eq!(shard.grant(queue, &holder("a"), &[3], 5_000).items[0].attempt, 1);
    assert_eq!((shard.stats(dead).sums.redriven, shard.stats(queue).published), (2, 4));
    // A second redrive finds nothing.
    assert_eq!(shard.redrive(dead, &[1, 2, 9, 0]), [NotDeadLetter; 4]);
    assert_eq!(shard.dead_letters(dead), []);
}

#[test]
fn one_that_is_named_twice_moves_once() {
    let (mut shard, queue, dead) = with_dead_letters(1);
    assert_eq!(shard.redrive(dead, &[1, 1]), [moved(queue, 2), NotDeadLetter]);
}

#[test]
fn what_a_consumer_has_stays() {
    let (mut shard, queue, dead) = with_dead_letters(2);
    let granted = shard.grant(dead, &holder("a"), &[1], 5_000);
    assert_eq!(shard.dead_letters(dead), [1, 2]);
    assert_eq!(shard.redrive(dead, &[1, 2]), [Leased, moved(queue, 3)]);
    shard.settle(dead, &holder("a"), token(&granted, 0), Ack);
    assert_eq!(shard.redrive(dead, &[1]), [NotDeadLetter]);
}

#[test]
fn an_origin_that_is_gone_keeps_it_where_it_is() {
    let (mut shard, _, dead) = with_dead_letters(1);
    let delete =
        DeleteQueue { department: 1, name: "applications".into(), expected_revision: 0, request: None };
    shard.run(Command::DeleteQueue(delete));
    // A queue of the same name is not the queue it came from.
    let again = shard.create("applications", settings(1, "dead"));
    assert_eq!(shard.redrive(dead, &[1]), [QueueGone]);
    assert_eq!((shard.free(dead), shard.free(again)), (vec![1], vec![]));
    assert_eq!(shard.try_redrive(dead, &[1], again.queue.0), Ok(vec![moved(again, 1)]));
}

#[test]
fn a_target_takes_them_whatever_its_limits() {
    let (mut shard, _, dead) = with_dead_letters(1);
    let small = QueueSettings { max_message_bytes: 1, ..settings(1, "") };
    let target = shard.create("other", small);
    assert_eq!(shard.try_redrive(dead, &[1], 99), Err(RedriveError::TargetNotFound));
    // The limit of sizes is for publishers: a stored message may move whatever its size.
    assert_eq!(shard.try_redrive(dead, &[1], target.queue.0), Ok(vec![moved(target, 1)]));
    assert_eq!(shard.status(target, 1).origin, None);
}

#[test]
fn nothing_is_redriven_in_a_closed_department() {
    let (mut shard, _, dead) = with_dead_letters(1);
    shard.configure(2, true);
    let closed = RedriveError::Subscription(SubscriptionError::Department(DepartmentError::Closed));
    assert_eq!(shard.try_redrive(dead, &[1], 0), Err(closed));
    shard.configure(3, false);
    assert_eq!(shard.dead_letters(dead), [1]);
    let absent = posthouse_engine::ids::QueueRef { queue: posthouse_engine::ids::QueueId(9), ..dead };
    let absent = shard.try_redrive(absent, &[1], 0);
    assert_eq!(absent, Err(RedriveError::Subscription(SubscriptionError::QueueNotFound)));
    assert_eq!(dead.department, department());
}

#[test]
fn parked_ones_become_free_where_they_are() {
    let (mut shard, queue) = Shard::with(settings(2, ""));
    shard.publish(queue, &["one", "two", "three"]);
    let granted = shard.grant(queue, &holder("a"), &[2], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), DeadLetter);
    shard.fail(queue, 3);
    assert_eq!(shard.dead_letters(queue), [2]);
    assert_eq!(shard.redrive(queue, &[1, 2, 3]), [NotDeadLetter, Freed, NotDeadLetter]);
    assert_eq!(shard.effects, [Effect::Returned { subscription: default(queue), sequences: vec![2] }]);
    shard.restart();
    assert_eq!((shard.free(queue), shard.counts(queue).parked), (vec![1, 2, 3], 0));
    let granted = shard.grant(queue, &holder("a"), &[2, 3], 5_000);
    assert_eq!((granted.items[0].attempt, granted.items[1].attempt), (1, 2));
    assert_eq!(shard.stats(queue).sums.first_delivered, 2);
}

#[test]
fn parked_ones_may_go_elsewhere() {
    let (mut shard, queue) = Shard::with(settings(1, ""));
    let target = shard.create("other", settings(1, ""));
    shard.publish(queue, &["one", "two"]);
    shard.fail(queue, 1);
    shard.fail(queue, 2);
    assert_eq!(shard.try_redrive(queue, &[1], target.queue.0), Ok(vec![moved(target, 1)]));
    assert_eq!(shard.try_redrive(queue, &[2], queue.queue.0), Ok(vec![Freed]));
    assert_eq!((shard.free(target), shard.free(queue), shard.counts(queue).parked), (vec![1], vec![2], 0));
}

#[test]
fn what_is_parked_in_a_dead_letter_queue_goes_back_too() {
    let (mut shard, queue, dead) = with_dead_letters(1);
    shard.publish(dead, &["its own"]);
    shard.fail(dead, 1);
    shard.fail(dead, 2);
    assert_eq!(shard.dead_letters(dead), [1, 2]);
    assert_eq!(shard.status(dead, 1).state, MessageState::Parked(DeadLetterCause::MaxAttempts));
    assert_eq!(shard.redrive(dead, &[1, 2]), [moved(queue, 2), Freed]);
    assert_eq!(shard.counts(dead).parked, 0);
}

#[test]
fn one_that_waits_for_a_retry_goes_back_at_once() {
    let (mut shard, queue, dead) = with_dead_letters(1);
    shard.update("dead", settings(5, ""));
    let granted = shard.grant(dead, &holder("a"), &[1], 5_000);
    let wait = crate::shard::item(token(&granted, 0), posthouse_engine::schema::SettleKind::Nack, 9_000);
    shard.settle_all(dead, &holder("a"), vec![wait]);
    assert_eq!(shard.redrive(dead, &[1]), [moved(queue, 2)]);
    shard.pass(10_000);
    assert_eq!((shard.free(dead), shard.counts(dead).waiting), (vec![], 0));
}

#[test]
fn a_redrive_moves_so_many_bytes_and_leaves_the_rest() {
    let (mut shard, dead) = with_large_dead_letters(8);
    let fits = MAX_REDRIVE_BYTES.div_ceil(3 << 20) as usize;
    let outcomes = shard.redrive(dead, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(outcomes[..fits].iter().all(|outcome| matches!(outcome, Moved { .. })));
    assert_eq!(outcomes[fits..], vec![NotReached; 8 - fits]);
    assert_eq!(shard.dead_letters(dead).len(), 8 - fits);
}

#[test]
fn what_was_not_reached_is_neither_counted_nor_named() {
    let (mut shard, dead) = with_large_dead_letters(8);
    // The leader passed over the second and the last.
    let command = RedriveDeadLetters {
        sequences: (1..=8).collect(),
        passed_over: Bytes::from_static(&[0, 4, 0, 0, 0, 0, 0, 4]),
        next_sequence: 99,
        ..of(dead)
    };
    let Redriven { outcomes, answer } = shard.run_redrive(command).unwrap();
    assert_eq!(outcomes[1], PassedOver(SkipReason::NotAllowed));
    assert_eq!(outcomes[7], NotReached);
    assert_eq!((answer.redriven, answer.reached, answer.next_sequence), (6, 7, 8));
    let counts: Vec<_> = answer.counts.iter().map(|count| (count.reason(), count.count)).collect();
    assert_eq!(counts, [(SkipReason::NotAllowed, 1)]);
    assert_eq!(shard.dead_letters(dead), [2, 8]);
}

#[test]
fn an_answer_counts_what_was_skipped_and_names_the_first() {
    let (mut shard, queue, dead) = with_dead_letters(3);
    shard.grant(dead, &holder("a"), &[2], 5_000);
    let command = RedriveDeadLetters {
        sequences: (1..=200).collect(),
        passed_over: (1..=200).map(|sequence| u8::from(sequence % 2 == 1 && sequence > 3) * 3).collect(),
        ..of(dead)
    };
    let Redriven { answer, .. } = shard.run_redrive(command).unwrap();
    assert_eq!((answer.queue, answer.redriven, answer.reached), (dead.queue.0, 2, 200));
    let counts: Vec<_> = answer.counts.iter().map(|count| (count.reason(), count.count)).collect();
    let [leased, none, absent] = [SkipReason::Leased, SkipReason::NotDeadLetter, SkipReason::QueueGone];
    assert_eq!(counts, [(leased, 1), (none, 99), (absent, 98)]);
    assert_eq!(answer.skipped.len(), MAX_REDRIVE_NAMED);
    let first = answer.skipped.iter().map(|skipped| (skipped.sequence, skipped.reason()));
    assert_eq!(first.take(3).collect::<Vec<_>>(), [(2, leased), (4, none), (5, absent)]);
    assert_eq!(shard.free(queue), [4, 5]);
}

#[test]
fn a_scan_for_dead_letters_is_bounded() {
    let (mut shard, _, dead) = with_dead_letters(1);
    shard.checked = false;
    for _ in 0..DEAD_LETTER_SCAN_ROWS + 10 {
        shard.publish(dead, &["its own"]);
    }
    let first = shard.machine.dead_letters(&shard.kv, default(dead), 0, 100).unwrap().unwrap();
    assert_eq!((first.found.len(), first.next), (1, Some(DEAD_LETTER_SCAN_ROWS as u64 + 1)));
    let rest =
        shard.machine.dead_letters(&shard.kv, default(dead), first.next.unwrap(), 100).unwrap().unwrap();
    assert_eq!((rest.found.len(), rest.next), (0, None));
}
