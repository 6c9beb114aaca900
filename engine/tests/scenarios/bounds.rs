//! Limits hold.

use posthouse_engine::{
    limits::{CLOSED_LEASES_PER_TIMER, MAX_CLOSED_LEASES, MAX_QUEUES},
    outcome::{CreateQueueError, SettleOutcome},
    schema::{
        QueueSettings,
        SettleKind::{Ack, Release},
    },
};

use crate::shard::{Shard, holder, token};

#[test]
fn closed_leases_beyond_the_limit_are_forgotten_oldest_first() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.checked = false;
    shard.publish(queue, &["one"]);
    let mut granted = Vec::new();
    for number in 0..MAX_CLOSED_LEASES + 2 {
        if number % 1_000 == 0 {
            shard.restart();
            shard.now += 1;
        }
        granted.push(shard.grant(queue, &holder("a"), &[1], 5_000));
        shard.release(queue, &holder("a"));
    }
    shard.check();
    let mut again = |at: usize| shard.settle(queue, &holder("a"), token(&granted[at], 0), Ack);
    assert_eq!(again(0), SettleOutcome::TokenInvalid);
    assert_eq!(again(1), SettleOutcome::TokenInvalid);
    assert_eq!(again(2), SettleOutcome::AlreadySettled(Release));
}

#[test]
fn many_closed_leases_are_forgotten_some_at_a_time() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.checked = false;
    shard.publish(queue, &["one"]);
    let mut last = None;
    for _ in 0..CLOSED_LEASES_PER_TIMER + 1 {
        last = Some(shard.grant(queue, &holder("a"), &[1], 5_000));
        shard.release(queue, &holder("a"));
    }
    shard.now += 60_000;
    let advanced = shard.advance(10);
    assert_eq!((advanced.fired, advanced.more), (1, true));
    shard.check();
    let last = token(&last.unwrap(), 0);
    assert_eq!(shard.settle(queue, &holder("a"), last, Ack), SettleOutcome::AlreadySettled(Release));
    let advanced = shard.advance(10);
    assert_eq!((advanced.fired, advanced.more), (1, false));
    assert_eq!(shard.settle(queue, &holder("a"), last, Ack), SettleOutcome::TokenInvalid);
    assert_eq!(shard.next_deadline(), None);
}

#[test]
fn a_department_holds_so_many_queues() {
    let mut shard = Shard::new();
    shard.checked = false;
    for number in 0..MAX_QUEUES {
        shard.create(&format!("queue-{number}"), QueueSettings::default());
    }
    let one_more = shard.try_create("one-more", QueueSettings::default());
    assert_eq!(one_more, Err(CreateQueueError::TooMany(MAX_QUEUES)));
}
