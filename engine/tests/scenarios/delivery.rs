//! Leases, settlements, extensions, releases.

use posthouse_engine::{
    effect::Effect,
    ids::LeaseId,
    outcome::{ExtendOutcome, GrantedItem, SettleOutcome},
    schema::{
        Holder, QueueSettings, SettleItem,
        SettleKind::{Ack, DeadLetter, Nack, Release},
        TokenRef,
    },
};

use crate::shard::{START, Shard, default, holder, item, token};

#[test]
fn a_grant_leases_what_is_free_of_what_was_picked() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two", "three"]);
    let first = shard.grant(queue, &holder("a"), &[2], 5_000);
    assert_eq!((first.lease, first.nonce, first.deadline_ms), (LeaseId(1), 77, START + 5_000));
    let second = shard.grant(queue, &holder("b"), &[9, 3, 0, 2, 1, 3], 5_000);
    let item = |index, sequence| GrantedItem { index, sequence, attempt: 1 };
    assert_eq!(second.items, [item(0, 1), item(1, 3)]);
    let nothing = shard.grant(queue, &holder("c"), &[1, 2, 3], 5_000);
    assert_eq!(nothing.items, []);
    assert_eq!(shard.free(queue), []);
    let counts = shard.counts(queue);
    assert_eq!((counts.ready, counts.in_flight), (0, 3));
}

#[test]
fn a_grant_that_expects_other_messages_leases_nothing() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two"]);
    for wrong in [1, 2, 4] {
        assert_eq!(shard.grant_if_next(queue, &holder("a"), &[1, 2], wrong).items, []);
        assert_eq!(shard.counts(queue).ready, 2);
    }
    let granted = shard.grant_if_next(queue, &holder("a"), &[1, 2], 3);
    assert_eq!((granted.lease, granted.items.len()), (LeaseId(1), 2));
}

#[test]
fn a_duration_is_held_within_its_limits() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two"]);
    assert_eq!(shard.grant(queue, &holder("a"), &[1], 0).deadline_ms, START + 1_000);
    assert_eq!(shard.grant(queue, &holder("a"), &[2], u64::MAX).deadline_ms, START + 12 * 3_600_000);
}

#[test]
fn deliveries_that_follow_each_other_in_a_lease_are_settled_as_one() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two", "three", "four"]);
    let granted = shard.grant(queue, &holder("a"), &[1, 2, 3, 4], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 1), Release);
    let run = |token, count| vec![SettleItem { count, ..item(token, Ack, 0) }];
    let outcomes = shard.settle_all(queue, &holder("a"), run(token(&granted, 0), 5));
    let (settled, invalid) = (SettleOutcome::Settled, SettleOutcome::TokenInvalid);
    assert_eq!(outcomes, [settled, SettleOutcome::AlreadySettled(Release), settled, settled, invalid]);
    let counts = shard.counts(queue);
    assert_eq!((counts.ready, counts.in_flight), (1, 0));
    let last = TokenRef { index: u32::MAX, ..token(&granted, 0) };
    assert_eq!(shard.settle_all(queue, &holder("a"), run(last, 2)), [invalid; 2]);
}

#[test]
fn an_ack_is_final_and_a_repeat_of_it_harmless() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two"]);
    let granted = shard.grant(queue, &holder("a"), &[1, 2], 5_000);
    assert_eq!(shard.settle(queue, &holder("a"), token(&granted, 0), Ack), SettleOutcome::Settled);
    assert_eq!(shard.effects, [Effect::Settled(default(queue))]);
    for kind in [Ack, Nack] {
        let again = shard.settle(queue, &holder("a"), token(&granted, 0), kind);
        assert_eq!(again, SettleOutcome::AlreadySettled(Ack));
        assert_eq!(shard.effects, []);
    }
    // The answers are the same once the lease is closed.
    shard.settle(queue, &holder("a"), token(&granted, 1), Ack);
    let again = shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
    assert_eq!(again, SettleOutcome::AlreadySettled(Ack));
    assert_eq!(shard.counts(queue).ready, 0);
    shard.restart();
    assert_eq!(shard.free(queue), []);
}

#[test]
fn a_token_is_good_for_its_holder_alone() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one"]);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    let good = token(&granted, 0);
    let bad = [
        TokenRef { lease: 2, ..good },
        TokenRef { lease: 0, ..good },
        TokenRef { lease: u64::MAX, ..good },
        TokenRef { index: 1, ..good },
        TokenRef { index: u32::MAX, ..good },
        TokenRef { nonce: 78, ..good },
    ];
    for token in bad {
        assert_eq!(shard.settle(queue, &holder("a"), token, Ack), SettleOutcome::TokenInvalid);
        assert_eq!(shard.extend(queue, &holder("a"), &[token], 9_000), [ExtendOutcome::TokenInvalid]);
    }
    assert_eq!(shard.settle(queue, &holder("b"), good, Ack), SettleOutcome::TokenInvalid);
    let other_tenant = Holder { tenant: 8, ..holder("a") };
    assert_eq!(shard.settle(queue, &other_tenant, good, Ack), SettleOutcome::TokenInvalid);
    // Another session of the same holder may settle.
    let session = Holder { session_id: Default::default(), ..holder("a") };
    assert_eq!(shard.settle(queue, &session, good, Ack), SettleOutcome::Settled);
}

#[test]
fn a_nack_counts_an_attempt_and_a_release_does_not() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one"]);
    for (kind, attempt) in [(Nack, 1), (Release, 2), (Nack, 2), (Release, 3), (Release, 3)] {
        let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
        assert_eq!(granted.items[0].attempt, attempt);
        assert_eq!(shard.settle(queue, &holder("a"), token(&granted, 0), kind), SettleOutcome::Settled);
        assert_eq!(shard.effects, [Effect::Returned { subscription: default(queue), sequences: vec![1] }]);
        shard.restart();
    }
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.settle(queue, &holder("a"), token(&granted, 0), Ack);
    assert_eq!(shard.counts(queue).ready, 0);
}

#[test]
fn a_nack_with_a_delay_waits() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one"]);
    let granted = shard.grant(queue, &holder("a"), &[1], 5_000);
    shard.settle_all(queue, &holder("a"), vec![item(token(&granted, 0), Nack, 2_000)]);
    assert_eq!(shard.effects, [Effect::Settled(default(queue))]);
    assert_eq!((shard.free(queue), shard.counts(queue).waiting), (vec![], 1));
    assert_eq!(shard.grant(queue, &holder("a"), &[1], 5_000).items, []);
    assert_eq!(shard.next_deadline(), Some(START + 2_000));
    shard.pass(1_999);
    assert_eq!(shard.free(queue), []);
    shard.pass(1);
    assert_eq!(shard.effects, [Effect::Returned { subscription: default(queue), sequences: vec![1] }]);
    assert_eq!((shard.free(queue), shard.counts(queue).waiting), (vec![1], 0));
    assert_eq!(shard.grant(queue, &holder("a"), &[1], 5_000).items[0].attempt, 2);
}

#[test]
fn one_settlement_may_settle_otherwise_for_each() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two", "three", "four"]);
    let granted = shard.grant(queue, &holder("a"), &[1, 2, 3, 4], 5_000);
    let kinds = [DeadLetter, Release, Ack, Nack];
    let mut items: Vec<_> = (0..4).map(|index| item(token(&granted, index), kinds[index], 0)).collect();
    items.push(items[0]);
    let outcomes = shard.settle_all(queue, &holder("a"), items);
    assert_eq!(outcomes[..4], [SettleOutcome::Settled; 4]);
    assert_eq!(outcomes[4], SettleOutcome::AlreadySettled(DeadLetter));
    let subscription = default(queue);
    assert_eq!(
        shard.effects,
        [Effect::Returned { subscription, sequences: vec![2, 4] }, Effect::Settled(subscription)]
    );
    let counts = shard.counts(queue);
    assert_eq!((counts.ready, counts.parked, counts.in_flight), (2, 1, 0));
}

#[test]
fn deadlines_only_move_later() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two"]);
    let granted = shard.grant(queue, &holder("a"), &[1, 2], 10_000);
    let tokens = [token(&granted, 0), token(&granted, 1)];
    let extended = ExtendOutcome::Extended;
    assert_eq!(shard.extend(queue, &holder("a"), &tokens[..1], 1_000), [extended(START + 10_000)]);
    assert_eq!(shard.extend(queue, &holder("a"), &tokens[..1], 30_000), [extended(START + 30_000)]);
    shard.restart();
    shard.pass(10_000);
    assert_eq!(shard.free(queue), [2]);
    let outcomes = shard.extend(queue, &holder("a"), &tokens, 5_000);
    assert_eq!(outcomes, [extended(START + 30_000), ExtendOutcome::LeaseLost]);
    assert_eq!(shard.next_deadline(), Some(START + 30_000));
    shard.settle(queue, &holder("a"), tokens[0], Ack);
    assert_eq!(shard.extend(queue, &holder("a"), &tokens[..1], 5_000), [ExtendOutcome::AlreadySettled(Ack)]);
}

#[test]
fn a_session_gets_its_live_leases_again_or_releases_them() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one", "two", "three"]);
    let first = shard.grant(queue, &holder("a"), &[1, 2], 10_000);
    shard.grant(queue, &holder("b"), &[3], 10_000);
    shard.settle(queue, &holder("a"), token(&first, 0), Ack);
    shard.extend(queue, &holder("a"), &[token(&first, 1)], 20_000);
    shard.restart();
    let live = shard.machine.live_leases(&shard.kv, default(queue), &holder("a")).unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!((live[0].lease, live[0].nonce, live[0].deadline_ms), (first.lease, 77, START + 20_000));
    assert_eq!(live[0].item, first.items[1]);
    let other_session = Holder { session_id: Default::default(), ..holder("a") };
    assert_eq!(shard.release(queue, &other_session), 0);
    assert_eq!(shard.release(queue, &holder("a")), 1);
    assert_eq!(shard.effects, [Effect::Returned { subscription: default(queue), sequences: vec![2] }]);
    assert_eq!(shard.grant(queue, &holder("b"), &[2], 10_000).items[0].attempt, 1);
    let late = shard.settle(queue, &holder("a"), token(&first, 1), Ack);
    assert_eq!(late, SettleOutcome::AlreadySettled(Release));
}
