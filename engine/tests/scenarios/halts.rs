//! Faults that halt the machine: nothing is written then.

use posthouse_engine::{
    halt::Halt,
    ids::ShardId,
    keys::{HeadKey, Key},
    kv::{Family, MemKv, Write},
    limits::{
        MACHINE_VERSION, MAX_REDRIVE_ITEMS, MAX_REDRIVE_ORIGINS, MAX_REDRIVE_PASSED_OVER,
        MAX_REQUEST_ID_BYTES,
    },
    machine::ShardMachine,
    outcome::{Outcome, SettleOutcome},
    schema::{
        Batch, Command, CommandRecord, Grant, LeaderStarted, PurgeQueue, QueueSettings, RedriveDeadLetters,
        Request, Settle, SettleItem, SettleKind, TokenRef,
    },
};

use crate::shard::{Shard, holder};

fn batch(commands: Vec<Option<Command>>) -> Batch {
    let commands = commands.into_iter().map(|command| CommandRecord { command }).collect();
    Batch { machine_version: MACHINE_VERSION, commands, ..Batch::default() }
}

fn machine() -> ShardMachine {
    ShardMachine::hydrate(ShardId(0), &MemKv::default()).unwrap()
}

#[test]
fn a_newer_batch_is_refused_whole() {
    let (kv, mut machine) = (MemKv::default(), machine());
    let newer = Batch { machine_version: MACHINE_VERSION + 1, ..batch(vec![]) };
    assert!(matches!(
        machine.apply(&kv, 1, newer),
        Err(Halt::NewerVersion { found, known: MACHINE_VERSION }) if found == MACHINE_VERSION + 1
    ));
    // All later batches fail too, until the machine is read again.
    assert!(matches!(machine.apply(&kv, 1, batch(vec![])), Err(Halt::Halted)));
}

#[test]
fn a_batch_must_follow_the_last() {
    for index in [0, 2, u64::MAX] {
        assert!(matches!(
            machine().apply(&MemKv::default(), index, batch(vec![])),
            Err(Halt::IndexGap { applied: 0, .. })
        ));
    }
}

#[test]
fn a_batch_of_another_shard_or_with_an_unknown_command_is_malformed() {
    let kv = MemKv::default();
    let other = Batch { shard: 1, ..batch(vec![]) };
    assert!(matches!(machine().apply(&kv, 1, other), Err(Halt::Malformed(_))));
    let unknown = batch(vec![Some(Command::LeaderStarted(LeaderStarted {})), None]);
    assert!(matches!(machine().apply(&kv, 1, unknown), Err(Halt::Malformed(_))));
}

fn malformed(shard: &mut Shard, command: Command) {
    let index = shard.machine.applied_index() + 1;
    let halt = shard.machine.apply(&shard.kv, index, batch(vec![Some(command)])).unwrap_err();
    assert!(matches!(halt, Halt::Malformed(_)), "{halt}");
    shard.restart();
}

#[test]
fn a_command_that_lacks_a_field_is_malformed() {
    let (mut shard, _) = Shard::with(QueueSettings::default());
    let mut halts = |command| malformed(&mut shard, command);
    let to = Grant { department: 1, queue: 1, subscription: 1, ..Grant::default() };
    halts(Command::Grant(to.clone()));
    halts(Command::Grant(Grant { lane: 1, holder: Some(holder("a")), ..to }));
    let settle = Settle {
        department: 1,
        queue: 1,
        subscription: 1,
        holder: Some(holder("a")),
        items: vec![SettleItem::default()],
    };
    halts(Command::Settle(Settle { holder: None, ..settle.clone() }));
    halts(Command::Settle(settle));
}

#[test]
fn a_request_has_an_id_and_a_digest() {
    let (mut shard, _) = Shard::with(QueueSettings::default());
    let whole = Request { id: "id".into(), digest: vec![1; 32].into(), ..Request::default() };
    for request in [
        Request { id: String::new(), ..whole.clone() },
        Request { id: "x".repeat(MAX_REQUEST_ID_BYTES + 1), ..whole.clone() },
        Request { subject: "x".repeat(1 << 16), ..whole.clone() },
        Request { digest: vec![1; 31].into(), ..whole },
    ] {
        let purge =
            PurgeQueue { department: 1, name: "applications".into(), request: Some(Box::new(request)) };
        malformed(&mut shard, Command::PurgeQueue(purge));
    }
}

#[test]
fn a_redrive_of_too_many_or_without_its_reasons_is_malformed() {
    let (mut shard, _) = Shard::with(QueueSettings::default());
    let redrive = |count, passed_over: Vec<u8>| {
        Command::RedriveDeadLetters(RedriveDeadLetters {
            department: 1,
            queue: 1,
            subscription: 1,
            sequences: (0..count as u64).collect(),
            passed_over: passed_over.into(),
            ..RedriveDeadLetters::default()
        })
    };
    let over = MAX_REDRIVE_PASSED_OVER + 1;
    malformed(&mut shard, redrive(MAX_REDRIVE_ITEMS + 1, vec![]));
    malformed(&mut shard, redrive(over, vec![1; over]));
    malformed(&mut shard, redrive(2, vec![1]));
    malformed(&mut shard, redrive(1, vec![9]));
    let Command::RedriveDeadLetters(of_too_many) = redrive(1, vec![]) else { unreachable!() };
    let origins = (0..=MAX_REDRIVE_ORIGINS).map(|number| format!("q-{number}")).collect();
    malformed(&mut shard, Command::RedriveDeadLetters(RedriveDeadLetters { origins, ..of_too_many }));
    let all = MAX_REDRIVE_ITEMS + MAX_REDRIVE_PASSED_OVER;
    let reasons = (0..all).map(|at| u8::from(at >= MAX_REDRIVE_ITEMS)).collect();
    let outcome = shard.run(redrive(all, reasons));
    assert!(matches!(outcome, Outcome::RedriveDeadLetters(Ok(_))));
}

#[test]
fn the_limit_of_settlements_is_for_deliveries_not_items() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let run = |count| SettleItem { count, ..SettleItem::one(TokenRef::default(), SettleKind::Ack, 0) };
    let outcomes = shard.settle_all(queue, &holder("a"), vec![run(1_000), run(24)]);
    assert_eq!(outcomes, [SettleOutcome::TokenInvalid; 1_024]);
    for items in [vec![run(1_025)], vec![run(1_000), run(25)]] {
        let (department, queue) = (queue.department.0, queue.queue.0);
        let settle = Settle { department, queue, subscription: 1, holder: Some(holder("a")), items };
        let index = shard.machine.applied_index() + 1;
        let too_many = batch(vec![Some(Command::Settle(settle))]);
        let halt = shard.machine.apply(&shard.kv, index, too_many).unwrap_err();
        assert!(matches!(halt, Halt::Malformed("too many settlements")), "{halt}");
        shard.restart();
    }
}

#[test]
fn damaged_rows_halt_what_needs_them() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.kv.write(&[Write::Delete { family: Family::State, key: HeadKey { queue }.encode() }]);
    shard.restart();
    let publish = Command::Publish(crate::shard::publish(queue, &["one"]));
    let index = shard.machine.applied_index() + 1;
    let halt = shard.machine.apply(&shard.kv, index, batch(vec![Some(publish)])).unwrap_err();
    assert!(matches!(halt, Halt::Corrupt(_)), "{halt}");
    assert!(posthouse_engine::check::check(ShardId(0), &shard.kv).is_err());
}

#[test]
fn an_empty_batch_is_applied_too() {
    let mut kv = MemKv::default();
    let mut machine = machine();
    for index in 1..4 {
        let applied = machine.apply(&kv, index, Batch { now_ms: index * 10, ..batch(vec![]) }).unwrap();
        assert_eq!((applied.outcomes, applied.effects), (vec![], vec![]));
        kv.write(&applied.writes);
    }
    let again = ShardMachine::hydrate(ShardId(0), &kv).unwrap();
    assert_eq!((again.applied_index(), again.now_ms(), again.leader_epoch()), (3, 30, 0));
}

#[test]
fn later_commands_of_a_batch_see_the_earlier() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let publish = Command::Publish(crate::shard::publish(queue, &["one"]));
    let grant = |nonce| {
        Command::Grant(Grant {
            department: 1,
            queue: 1,
            subscription: 1,
            holder: Some(holder("a")),
            sequences: vec![1],
            nonce,
            ..Grant::default()
        })
    };
    let index = shard.machine.applied_index() + 1;
    let commands = vec![Some(publish), Some(grant(1)), Some(grant(2))];
    let applied = shard.machine.apply(&shard.kv, index, batch(commands)).unwrap();
    let granted = |outcome: &Outcome| match outcome {
        Outcome::Grant(Ok(granted)) => granted.items.len(),
        _ => 99,
    };
    let granted: Vec<_> = applied.outcomes.iter().map(granted).collect();
    assert_eq!(granted, [99, 1, 0]);
}
