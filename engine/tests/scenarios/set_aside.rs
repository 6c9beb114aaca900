//! A department that is set aside: it is neither read nor changed, its timers wait, and the others of its shard work
//! as before.

use posthouse_engine::{
    check::check_department,
    halt::Halt,
    ids::{DEFAULT_SUBSCRIPTION, DepartmentId, QueueId, QueueRef, ShardId},
    keys::{HeadKey, Key as _},
    kv::{Family, Write},
    machine::{ShardMachine, departments_of},
    outcome::{DepartmentError, Outcome, PublishError, SubscriptionError},
    schema::{
        Batch, Command, CommandRecord, ConfigureDepartment, CreateQueue, DeleteQueue, Extend, Grant, Publish,
        PurgeQueue, RedriveDeadLetters, ReleaseHolder, SetAsideRow, Settle, SettleKind, UpdateQueue,
    },
    views::MessageState,
};

use crate::shard::{START, Shard, answer, default, department, holder, item, publish, settings, token};

const OTHER: u32 = 2;
const SET_ASIDE: DepartmentError = DepartmentError::SetAside;

fn mark(index: u64) -> SetAsideRow {
    SetAsideRow { index, digest: vec![7; 32].into(), at_ms: 9, by: "uid 0".into(), why: "a test".into() }
}

/// A shard of two departments, each with a queue.
fn two() -> (Shard, QueueRef, QueueRef) {
    let (mut shard, queue) = Shard::with(settings(2, ""));
    let other = ConfigureDepartment { department: OTHER, catalogue_index: 1, tenant: 8, closed: false };
    shard.run(Command::ConfigureDepartment(other));
    let create = CreateQueue { department: OTHER, name: "other".into(), ..CreateQueue::default() };
    answer!(shard.run(Command::CreateQueue(create)), CreateQueue).unwrap();
    (shard, queue, QueueRef { department: DepartmentId(OTHER), queue: QueueId(1) })
}

/// Sets a department aside as `posthouse store skip` does: the next entry is skipped.
fn set_aside(shard: &mut Shard) {
    let index = shard.machine.applied_index() + 1;
    let writes = shard.machine.skip(&shard.kv, index, department(), &mark(index)).unwrap();
    shard.kv.write(&writes);
    shard.restart();
    assert_eq!(shard.machine.applied_index(), index);
    shard.check();
}

fn reopen(shard: &mut Shard) {
    let writes = shard.machine.reopen(&shard.kv, department()).unwrap();
    shard.kv.write(&writes);
    shard.restart();
    shard.check();
}

/// One command of each kind that names a department. No proposer would send these.
fn malformed() -> Vec<Command> {
    let (department, queue, subscription) = (1, 1, DEFAULT_SUBSCRIPTION.0);
    vec![
        Command::CreateQueue(CreateQueue { department, ..CreateQueue::default() }),
        Command::UpdateQueue(UpdateQueue {
            department,
            name: "applications".into(),
            ..UpdateQueue::default()
        }),
        Command::DeleteQueue(DeleteQueue { department, ..DeleteQueue::default() }),
        Command::PurgeQueue(PurgeQueue { department, ..PurgeQueue::default() }),
        Command::Publish(Publish { department, queue, lane: 9, ..Publish::default() }),
        Command::Grant(Grant { department, queue, subscription, lane: 9, ..Grant::default() }),
        Command::Settle(Settle { department, queue, subscription, ..Settle::default() }),
        Command::Extend(Extend { department, queue, subscription, ..Extend::default() }),
        Command::ReleaseHolder(ReleaseHolder { department, queue, subscription, holder: None }),
        Command::RedriveDeadLetters(RedriveDeadLetters {
            department,
            queue,
            subscription,
            sequences: vec![1; 5_000],
            ..RedriveDeadLetters::default()
        }),
    ]
}

#[test]
fn every_command_is_refused_before_anything_of_it_is_read() {
    let (mut shard, ..) = two();
    set_aside(&mut shard);
    let subscription = SubscriptionError::Department(SET_ASIDE);
    let expected = [
        Outcome::CreateQueue(Err(SET_ASIDE.into())),
        Outcome::UpdateQueue(Err(SET_ASIDE.into())),
        Outcome::DeleteQueue(Err(SET_ASIDE.into())),
        Outcome::PurgeQueue(Err(SET_ASIDE.into())),
        Outcome::Publish(Err(SET_ASIDE.into())),
        Outcome::Grant(Err(subscription)),
        Outcome::Settle(Err(subscription)),
        Outcome::Extend(Err(subscription)),
        Outcome::ReleaseHolder(Err(subscription)),
        Outcome::RedriveDeadLetters(Err(subscription.into())),
    ];
    let before = shard.kv.clone();
    for (command, expected) in malformed().into_iter().zip(expected) {
        assert_eq!(shard.run(command), expected);
        assert_eq!(shard.effects, []);
    }
    let changed = shard.kv.rows().zip(before.rows()).filter(|(now, then)| now != then).count();
    assert_eq!(
        (changed, shard.kv.rows().count()),
        (1, before.rows().count()),
        "the shard's row, and no other"
    );
}

#[test]
fn every_question_is_refused_and_the_machine_goes_on() {
    let (mut shard, queue, other) = two();
    shard.publish(queue, &["one"]);
    set_aside(&mut shard);
    let (machine, kv, id) = (&mut shard.machine, &shard.kv, default(queue));
    let refused =
        |asked: Result<(), Halt>| assert!(matches!(asked, Err(Halt::SetAside(id)) if id == department()));
    refused(machine.queue_by_name(kv, department(), "applications").map(drop));
    refused(machine.queue(kv, queue).map(drop));
    refused(machine.list_queues(kv, department(), "", 9).map(drop));
    refused(machine.find_queues(kv, department(), ["a"].into_iter(), 9).map(drop));
    refused(machine.subscription_by_name(kv, queue, "default").map(drop));
    refused(machine.next_sequence(kv, queue).map(drop));
    refused(machine.counts(kv, id).map(drop));
    refused(machine.free_from(kv, id, 0, 9).map(drop));
    refused(machine.live_leases(kv, id, &holder("a")).map(drop));
    refused(machine.stats(kv, id).map(drop));
    refused(machine.message_status(kv, id, 1).map(drop));
    refused(machine.dead_letters(kv, id, 0, 9).map(drop));
    let next = machine.producer_next(kv, queue, &[1; 16], 1, 7, "a").unwrap();
    assert_eq!(next, Err(PublishError::Department(SET_ASIDE)));
    assert!(machine.queue(kv, other).unwrap().is_some());
    assert_eq!(ShardMachine::set_aside(kv, department()).unwrap().unwrap().why, "a test");
    assert_eq!(ShardMachine::set_aside(kv, DepartmentId(OTHER)).unwrap(), None);
}

#[test]
fn the_others_of_the_shard_go_on() {
    let (mut shard, _, other) = two();
    set_aside(&mut shard);
    let mut publish = publish(other, &["one", "two"]);
    publish.department = OTHER;
    assert!(shard.try_publish(publish).is_ok());
    let granted = shard.grant(other, &holder("a"), &[1, 2], 5_000);
    shard.settle(other, &holder("a"), token(&granted, 0), SettleKind::Ack);
    shard.pass(5_000);
    assert_eq!(shard.free(other), [2]);
}

#[test]
fn no_configuration_clears_it_and_none_halts_on_it() {
    let (mut shard, queue, _) = two();
    set_aside(&mut shard);
    assert!(shard.configure(2, true));
    assert!(shard.configure(3, false));
    assert_eq!(shard.try_publish(publish(queue, &["one"])), Err(SET_ASIDE.into()));
    // The command that halted its shard may be one that configures it.
    let moved = ConfigureDepartment { department: 1, catalogue_index: 4, tenant: 99, closed: false };
    assert_eq!(shard.run(Command::ConfigureDepartment(moved)), Outcome::ConfigureDepartment(false));
    reopen(&mut shard);
    assert!(shard.try_publish(publish(queue, &["one"])).is_ok());
}

#[test]
fn its_timers_wait_until_it_is_opened_and_then_all_is_as_if_it_were_late() {
    let (mut shard, queue, other) = two();
    shard.publish(queue, &["leased", "waits", "acked"]);
    shard.grant(queue, &holder("a"), &[1], 5_000);
    let granted = shard.grant(queue, &holder("a"), &[2, 3], 60_000);
    shard.settle_all(queue, &holder("a"), vec![item(token(&granted, 0), SettleKind::Nack, 8_000)]);
    shard.settle(queue, &holder("a"), token(&granted, 1), SettleKind::Ack);
    let mut session = publish(queue, &["session"]);
    session.producer = Some(posthouse_engine::schema::Producer {
        producer_id: vec![1; 16].into(),
        epoch: 1,
        ..Default::default()
    });
    shard.try_publish(session.clone()).unwrap();
    set_aside(&mut shard);
    let mut from_other = publish(other, &["one"]);
    from_other.department = OTHER;
    shard.try_publish(from_other).unwrap();
    shard.grant(other, &holder("a"), &[1], 5_000);
    // Weeks pass: every timer of the department becomes due, a few at a time, with restarts between.
    shard.now += 30 * 24 * 3_600_000;
    let mut fired = 0;
    while shard.advance(2).more {
        fired += 1;
        shard.restart();
    }
    assert!(fired >= 2, "{fired}");
    assert_eq!((shard.next_deadline(), shard.free(other)), (Some(shard.now + 60_000), vec![1]));
    let untouched = shard.kv.clone();
    reopen(&mut shard);
    assert_ne!(shard.kv, untouched);
    assert_eq!(shard.status(queue, 1).state, MessageState::Leased { deadline_ms: START + 5_000 });
    assert_eq!(shard.next_deadline(), Some(START + 5_000));
    while shard.advance(2).more {}
    assert_eq!(shard.free(queue), [1, 2, 4]);
    // The producer session was idle for too long: it is forgotten, and a batch that is sent again is a new one.
    assert_eq!(
        shard.try_publish(session).unwrap().results,
        [posthouse_engine::outcome::EntryResult::Stored(5)]
    );
    assert_eq!(shard.machine.reopen(&shard.kv, department()).unwrap(), [], "it is open");
}

#[test]
fn only_the_next_entry_is_skipped_and_only_for_a_department_of_the_shard() {
    let (mut shard, ..) = two();
    let next = shard.machine.applied_index() + 1;
    for index in [next - 1, next + 1] {
        let skipped = shard.machine.skip(&shard.kv, index, department(), &mark(index));
        assert!(matches!(skipped, Err(Halt::IndexGap { .. })), "{skipped:?}");
    }
    for (kv, machine, id) in [
        (&shard.kv, &shard.machine, DepartmentId(99)),
        (&shard.kv, &ShardMachine::hydrate(ShardId(5), &shard.kv).unwrap(), department()),
    ] {
        let index = machine.applied_index() + 1;
        let skipped = machine.skip(kv, index, id, &mark(index));
        assert!(matches!(skipped, Err(Halt::Invariant(_))), "{skipped:?}");
    }
    set_aside(&mut shard);
    let again = shard.machine.skip(&shard.kv, next + 1, department(), &mark(next + 1));
    assert!(matches!(again, Err(Halt::Invariant(_))), "{again:?}");
}

#[test]
fn a_batch_says_which_departments_it_names() {
    let names = |commands: Vec<Command>| {
        let commands = commands.into_iter().map(|command| CommandRecord { command: Some(command) }).collect();
        departments_of(&Batch { commands, ..Batch::default() }).into_iter().map(|id| id.0).collect::<Vec<_>>()
    };
    for command in malformed() {
        assert_eq!(names(vec![command, Command::Advance(Default::default())]), [1]);
    }
    assert_eq!(
        names(vec![Command::Advance(Default::default()), Command::LeaderStarted(Default::default())]),
        []
    );
    let configure =
        |department| Command::ConfigureDepartment(ConfigureDepartment { department, ..Default::default() });
    assert_eq!(names(vec![configure(7), configure(3), configure(7)]), [3, 7]);
}

#[test]
fn the_check_of_one_department_sees_no_other() {
    let (mut shard, queue, _) = two();
    shard.publish(queue, &["one"]);
    shard.kv.write(&[Write::Delete { family: Family::State, key: HeadKey { queue }.encode() }]);
    let check = |id| check_department(ShardId(0), DepartmentId(id), &shard.kv);
    assert!(check(1).is_err() && check(OTHER).is_ok());
}
