//! Departments and queues.

use posthouse_engine::{
    effect::Effect,
    ids::{DEFAULT_SUBSCRIPTION, QueueId},
    outcome::{
        CreateQueueError, DeleteQueueError, DepartmentError, Outcome, PublishError, SettingsError,
        SubscriptionError, UpdateQueueError,
    },
    schema::{Command, CreateQueue, DeleteQueue, Grant, PurgeQueue, QueueSettings, UpdateQueue},
};

use crate::shard::{Shard, answer, default, department, holder, publish, settings};

fn delete(shard: &mut Shard, name: &str, expected_revision: u64) -> Result<(), DeleteQueueError> {
    let command = DeleteQueue { department: 1, name: name.into(), expected_revision, request: None };
    answer!(shard.run(Command::DeleteQueue(command)), DeleteQueue)
}

#[test]
fn a_queue_is_born_with_defaults_and_a_subscription() {
    let mut shard = Shard::new();
    let view = shard.try_create("applications", QueueSettings::default()).unwrap();
    assert_eq!((view.queue, view.revision, view.created_at_ms), (QueueId(1), 1, shard.now));
    let settings = &view.settings;
    assert_eq!(
        (settings.max_message_bytes, settings.lease_duration_ms, settings.max_attempts),
        (1 << 20, 30_000, 16)
    );
    let found = shard.machine.queue_by_name(&shard.kv, department(), "applications").unwrap();
    assert_eq!(found, Some(view));
    let queue = shard.create("other", QueueSettings::default());
    let found = shard.machine.subscription_by_name(&shard.kv, queue, "default").unwrap();
    assert_eq!(found, Some(DEFAULT_SUBSCRIPTION));
    assert_eq!(shard.machine.subscription_by_name(&shard.kv, queue, "other").unwrap(), None);
}

#[test]
fn creating_again_answers_alike_only_to_the_same_call() {
    let mut shard = Shard::new();
    let mut create = |request_id: &str| {
        let request_id = request_id.into();
        let command = CreateQueue { department: 1, name: "a".into(), request_id, ..CreateQueue::default() };
        answer!(shard.run(Command::CreateQueue(command)), CreateQueue)
    };
    let first = create("call").unwrap();
    assert_eq!(create("call"), Ok(first));
    assert_eq!(create("other"), Err(CreateQueueError::AlreadyExists));
    assert_eq!(create(""), Err(CreateQueueError::AlreadyExists));
}

#[test]
fn settings_are_held_within_their_limits() {
    let mut shard = Shard::new();
    let bad = [
        (QueueSettings { max_message_bytes: u32::MAX, ..Default::default() }, "max_message_bytes"),
        (QueueSettings { lease_duration_ms: 999, ..Default::default() }, "lease_duration"),
        (QueueSettings { lease_duration_ms: u64::MAX, ..Default::default() }, "lease_duration"),
        (QueueSettings { max_attempts: 1_001, ..Default::default() }, "max_attempts"),
    ];
    for (settings, field) in bad {
        let error = CreateQueueError::Settings(SettingsError::OutOfRange(field));
        assert_eq!(shard.try_create("a", settings), Err(error));
    }
    let error = CreateQueueError::Settings(SettingsError::OutOfRange("name"));
    assert_eq!(shard.try_create("", QueueSettings::default()), Err(error));
}

#[test]
fn a_dead_letter_queue_has_none_of_its_own() {
    let mut shard = Shard::new();
    let refused = |error| Err(CreateQueueError::Settings(error));
    assert_eq!(shard.try_create("a", settings(0, "a")), refused(SettingsError::DeadLetterSelf));
    shard.create("a", settings(0, "b"));
    // A queue cannot be a dead-letter queue and have one, whichever comes first.
    assert_eq!(shard.try_create("b", settings(0, "c")), refused(SettingsError::DeadLetterChain));
    assert_eq!(shard.try_create("c", settings(0, "a")), refused(SettingsError::DeadLetterChain));
    shard.create("b", settings(0, ""));
    shard.create("c", settings(0, ""));
    let mut update = |name: &str, target| {
        let (name, settings) = (name.into(), Some(settings(0, target)));
        let command = UpdateQueue { department: 1, name, settings, expected_revision: 0, request: None };
        answer!(shard.run(Command::UpdateQueue(command)), UpdateQueue).map(|view| view.revision)
    };
    let chain = Err(UpdateQueueError::Settings(SettingsError::DeadLetterChain));
    assert_eq!(update("b", "c"), chain);
    assert_eq!(update("c", "a"), chain);
    assert_eq!(update("a", ""), Ok(2));
    assert_eq!(update("b", "c"), Ok(2));
    assert_eq!(update("a", "b"), chain);
}

#[test]
fn an_update_demands_the_revision_it_has_read() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let mut update = |expected_revision, attempts| {
        let (name, settings) = ("applications".into(), Some(settings(attempts, "")));
        let command = UpdateQueue { department: 1, name, settings, expected_revision, request: None };
        let updated = answer!(shard.run(Command::UpdateQueue(command)), UpdateQueue);
        (updated.map(|view| (view.revision, view.settings.max_attempts)), shard.effects.clone())
    };
    assert_eq!(update(1, 3), (Ok((2, 3)), vec![Effect::Redefined(queue)]));
    assert_eq!(update(1, 4), (Err(UpdateQueueError::RevisionMismatch(2)), vec![]));
    assert_eq!(update(2, 3), (Ok((2, 3)), vec![]), "nothing changed");
    assert_eq!(update(0, 4), (Ok((3, 4)), vec![Effect::Redefined(queue)]));
}

#[test]
fn a_deleted_queue_is_gone_and_its_id_with_it() {
    let (mut shard, queue) = Shard::with(settings(0, "dead"));
    shard.publish(queue, &["one", "two"]);
    shard.grant(queue, &holder("a"), &[1], 5_000);
    assert_eq!(delete(&mut shard, "applications", 9), Err(DeleteQueueError::RevisionMismatch(1)));
    assert_eq!(delete(&mut shard, "applications", 1), Ok(()));
    assert_eq!(shard.effects, [Effect::Deleted(queue)]);
    assert_eq!(delete(&mut shard, "applications", 0), Err(DeleteQueueError::NotFound));
    assert_eq!(shard.try_publish(publish(queue, &["three"])), Err(PublishError::QueueNotFound));
    let again = shard.create("applications", QueueSettings::default());
    assert_eq!(again.queue, QueueId(2));
    assert_eq!(shard.free(again), []);
    assert_eq!(shard.machine.queue(&shard.kv, queue).unwrap(), None);
}

#[test]
fn a_purge_removes_what_was_published() {
    let (mut shard, queue) = Shard::with(settings(1, ""));
    shard.publish(queue, &["one", "two", "three", "four"]);
    for (sequence, kind) in
        [(1, posthouse_engine::schema::SettleKind::Ack), (2, posthouse_engine::schema::SettleKind::Nack)]
    {
        let granted = shard.grant(queue, &holder("a"), &[sequence], 5_000);
        shard.settle(queue, &holder("a"), crate::shard::token(&granted, 0), kind);
    }
    let leased = shard.grant(queue, &holder("a"), &[3], 5_000);
    let command =
        Command::PurgeQueue(PurgeQueue { department: 1, name: "applications".into(), request: None });
    assert_eq!(shard.run(command), Outcome::PurgeQueue(Ok(3)));
    assert_eq!(shard.effects, [Effect::Purged(queue)]);
    let counts = shard.counts(queue);
    assert_eq!((counts.ready, counts.in_flight, counts.parked, counts.last_sequence), (0, 0, 0, 4));
    let late = shard.settle(
        queue,
        &holder("a"),
        crate::shard::token(&leased, 0),
        posthouse_engine::schema::SettleKind::Ack,
    );
    assert_eq!(late, posthouse_engine::outcome::SettleOutcome::MessagePurged);
    shard.publish(queue, &["five"]);
    shard.restart();
    assert_eq!(shard.free(queue), [5]);
    let granted = shard.grant(queue, &holder("a"), &[1, 4, 5], 5_000);
    assert_eq!((granted.lease.0, granted.items.len()), (4, 1));
}

#[test]
fn queues_are_listed_by_name_and_page() {
    let mut shard = Shard::new();
    for name in ["b", "a-b", "a", "c"] {
        shard.create(name, QueueSettings::default());
    }
    let mut list = |after: &str, limit| -> Vec<String> {
        let page = shard.machine.list_queues(&shard.kv, department(), after, limit).unwrap();
        page.into_iter().map(|view| view.name).collect()
    };
    assert_eq!(list("", 3), ["a", "a-b", "b"]);
    assert_eq!(list("a", 2), ["a-b", "b"]);
    assert_eq!(list("b", 9), ["c"]);
    assert!(list("c", 9).is_empty());
    let mut find = |names: &[&str], limit| -> Vec<String> {
        let names = names.iter().copied();
        let page = shard.machine.find_queues(&shard.kv, department(), names, limit).unwrap();
        page.into_iter().map(|view| view.name).collect()
    };
    assert_eq!(find(&["a", "a-a", "b", "c"], 2), ["a", "b"]);
    assert_eq!(find(&["a-a", "c"], 2), ["c"]);
}

#[test]
fn a_closed_department_refuses_and_keeps() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one"]);
    shard.grant(queue, &holder("a"), &[1], 5_000);
    assert!(shard.configure(5, true));
    assert_eq!(shard.effects, [Effect::DepartmentClosed(department())]);
    let closed = DepartmentError::Closed;
    assert_eq!(shard.try_publish(publish(queue, &["two"])), Err(closed.into()));
    assert_eq!(shard.try_create("b", QueueSettings::default()), Err(closed.into()));
    assert_eq!(delete(&mut shard, "applications", 0), Err(closed.into()));
    let grant = Grant {
        department: 1,
        queue: 1,
        subscription: 1,
        holder: Some(holder("a")),
        sequences: vec![1],
        ..Grant::default()
    };
    assert_eq!(shard.run(Command::Grant(grant)), Outcome::Grant(Err(SubscriptionError::Department(closed))));
    // Timers fire.
    shard.pass(5_000);
    assert!(!shard.configure(4, false), "older than what it knows");
    assert!(shard.configure(6, false));
    assert_eq!(shard.effects, []);
    assert_eq!(shard.grant(queue, &holder("a"), &[1], 5_000).items[0].attempt, 2);
    assert_eq!(shard.machine.counts(&shard.kv, default(queue)).unwrap().unwrap().last_sequence, 1);
}

#[test]
fn an_unknown_department_is_not_found() {
    let mut shard = Shard::new();
    let command = CreateQueue { department: 9, name: "a".into(), ..CreateQueue::default() };
    let outcome = answer!(shard.run(Command::CreateQueue(command)), CreateQueue);
    assert_eq!(outcome, Err(DepartmentError::NotFound.into()));
}
