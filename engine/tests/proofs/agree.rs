//! Proof (b): the engine and a naive model have the same answers and the same state, and an effect announces every
//! free message.

use std::collections::{BTreeMap, BTreeSet};

use posthouse_engine::{
    body,
    effect::Effect,
    ids::{DEFAULT_LANE, QueueRef},
    keys,
    kv::{Family, Kv, MemKv},
    machine::ShardMachine,
    outcome::Outcome,
    views::{MessageState, MessageStatus, Stats, Usage},
};

use crate::{
    driver::{Driver, FULL_ADVANCE, Step, holder},
    model::{Model, Queue, State},
    op::{self, Op},
    prove::prove,
    subject::{Plant, Subject, same},
};

#[test]
fn the_engine_agrees_with_the_model() {
    prove("agree", 6_000, true, &op::case(), |case| agrees(&case, None, true)).unwrap();
}

#[test]
fn the_engine_agrees_with_the_model_over_many_chunks() {
    prove("agree, long", 20, false, &op::long_case(), |case| agrees(&case, None, false)).unwrap();
}

pub fn agrees(case: &[Vec<Op>], plant: Option<Plant>, closely: bool) -> Result<(), String> {
    let (mut driver, mut subject) = (Driver::new(), Subject::new(plant));
    let first = driver.first();
    step(&mut subject, &first, &driver.model)?;
    let mut free = free_sets(&driver.model);
    for ops in case {
        let next = driver.step(ops);
        let effects = step(&mut subject, &next, &driver.model)?;
        if closely {
            let now_free = free_sets(&driver.model);
            announced(&free, &now_free, &effects)?;
            free = now_free;
            holds(&mut subject, &driver.model)?;
            subject.check()?;
        }
    }
    holds(&mut subject, &driver.model)?;
    subject.check()
}

fn step(subject: &mut Subject, step: &Step, model: &Model) -> Result<Vec<Effect>, String> {
    let applied = subject.apply(&step.batch)?;
    same("outcomes", &applied.outcomes.len(), &step.expected.len())?;
    for (at, (outcome, expected)) in applied.outcomes.iter().zip(&step.expected).enumerate() {
        let command = &step.batch.commands[at].command;
        match (outcome, expected) {
            (Outcome::Advance(advanced), None) => {
                let full = format!("{command:?}").contains(&FULL_ADVANCE.to_string());
                same("more is due after everything fired", &(full && advanced.more), &false)?;
            }
            (outcome, expected) => same(&format!("{command:?}"), &Some(outcome), &expected.as_ref())?,
        }
    }
    same("now", &subject.machine.now_ms(), &model.now)?;
    same("wall", &subject.machine.wall_ms(), &model.wall)?;
    same("leader epoch", &subject.machine.leader_epoch(), &model.epoch)?;
    Ok(applied.effects)
}

/// The engine's queries answer with the model's state.
fn holds(subject: &mut Subject, model: &Model) -> Result<(), String> {
    let due = subject.machine.next_deadline(&subject.kv).unwrap();
    if let Some(expected) = model.next_due()
        && due.is_none_or(|due| due > expected)
    {
        return Err(format!("something is due at {expected}, and the next timer at {due:?}"));
    }
    for id in model.departments.keys() {
        let mut expected: Vec<_> =
            model.queues.iter().filter(|queue| !queue.deleted && queue.id.department.0 == *id).collect();
        expected.sort_by_key(|queue| queue.name.clone());
        let expected: Vec<_> = expected.into_iter().map(Queue::view).collect();
        let department = posthouse_engine::ids::DepartmentId(*id);
        let stored_bytes = stored_bytes(&subject.kv, &keys::department_prefix(department));
        let usage = Usage { stored_bytes, queues: u32::try_from(expected.len()).unwrap() };
        same("usage", &subject.machine.department_usage(&subject.kv, department).unwrap(), &Some(usage))?;
        let (first, rest) = expected.split_at(expected.len().min(1));
        same(
            "list",
            &subject.machine.list_queues(&subject.kv, department, "", 1).unwrap().as_slice(),
            &first,
        )?;
        let after = first.first().map_or("", |view| &view.name);
        same(
            "list on",
            &subject.machine.list_queues(&subject.kv, department, after, 9).unwrap().len(),
            &rest.len(),
        )?;
    }
    model
        .queues
        .iter()
        .try_for_each(|queue| queue_holds(subject, queue).map_err(|error| format!("{:?}: {error}", queue.id)))
}

fn queue_holds(subject: &mut Subject, queue: &Queue) -> Result<(), String> {
    let (machine, kv, id) = (&mut subject.machine, &subject.kv, queue.subscription());
    let view = (!queue.deleted).then(|| queue.view());
    same("view", &machine.queue(kv, queue.id).unwrap(), &view)?;
    if queue.deleted {
        return Ok(());
    }
    same("by name", &machine.queue_by_name(kv, queue.id.department, &queue.name).unwrap(), &view)?;
    same("counts", &machine.counts(kv, id).unwrap(), &Some(queue.counts()))?;
    let stored_bytes = stored_bytes(kv, &keys::queue_prefix(queue.id));
    same("stats", &machine.stats(kv, id).unwrap(), &Some(Stats { stored_bytes, ..queue.stats() }))?;
    let mut free = Vec::new();
    let mut from = 0;
    while from <= queue.messages.len() as u64 {
        let found = machine.free_from(kv, id, from, 1_000).unwrap();
        free.extend(found.sequences);
        from = found.next;
    }
    same("free", &free, &queue.free())?;
    for number in 0..4 {
        let live = machine.live_leases(kv, id, &holder(number)).unwrap();
        same("live leases", &live, &queue.live(&holder(number)))?;
    }
    for (producer_id, held) in &queue.producers {
        let next =
            machine.producer_next(kv, queue.id, producer_id, held.epoch, held.tenant, &held.subject).unwrap();
        if !matches!(next, Err(posthouse_engine::outcome::PublishError::Department(_))) {
            same("producer", &next, &Ok(held.next))?;
        }
    }
    check_views(machine, kv, queue)?;
    let messages = (1..).zip(&queue.messages).filter(|(_, message)| message.state != State::Settled);
    for (sequence, message) in messages {
        let body = kv.get(Family::Body, &keys::body(queue.id, DEFAULT_LANE, sequence)).unwrap();
        let relocated = || kv.get(Family::Body, &keys::relocated(id, DEFAULT_LANE, sequence)).unwrap();
        let stored =
            body.clone().or_else(relocated).ok_or_else(|| format!("message {sequence} is nowhere"))?;
        let (header, content) = body::split(stored).unwrap();
        same("content", &content, &message.content)?;
        same("origin", &header.dead_letter, &message.origin)?;
        let published = (header.published_at_ms, header.wall_published_at_ms());
        same("published", &published, &(message.published_at, message.wall_published_at))?;
        same("size", &header.payload_bytes, &message.size)?;
        if let Some(entry) = machine.entry_at(kv, queue.id, sequence).unwrap() {
            let at = usize::try_from(sequence - entry.first_sequence).unwrap();
            same(
                "entry",
                &(entry.payload_bytes[at], entry.published_at_ms),
                &(message.size, message.published_at),
            )?;
        } else if body.is_some() {
            return Err(format!("message {sequence} has no entry"));
        }
    }
    Ok(())
}

/// Checks the queries of single messages.
fn check_views(machine: &mut ShardMachine, kv: &MemKv, queue: &Queue) -> Result<(), String> {
    let id = queue.subscription();
    let last = queue.messages.len() as u64;
    same("beyond the last", &machine.message_status(kv, id, last + 1).unwrap(), &None)?;
    same("none", &machine.message_status(kv, id, 0).unwrap(), &None)?;
    // If there are very many messages, some of them.
    for sequence in (1..=last).step_by(1 + queue.messages.len() / 1_000) {
        let mut status = machine.message_status(kv, id, sequence).unwrap().unwrap();
        let expected = queue.status(sequence);
        if status.published_at_ms.is_none() && expected.state == MessageState::Settled {
            // It was trimmed.
            let MessageStatus { published_at_ms, payload_bytes, ref origin, .. } = expected;
            status = MessageStatus { published_at_ms, payload_bytes, origin: origin.clone(), ..status };
        }
        same("status", &status, &expected)?;
    }
    let (mut found, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        let page = machine.dead_letters(kv, id, at, 2).unwrap().unwrap();
        found.extend(page.found);
        from = page.next;
    }
    let expected: Vec<_> = queue.dead_letters().into_iter().map(|at| queue.status(at)).collect();
    same("dead letters", &found, &expected)
}

fn stored_bytes(kv: &MemKv, prefix: &[u8]) -> u64 {
    let bodies = kv.rows().filter(|(family, key, _)| *family == Family::Body && key.starts_with(prefix));
    bodies.map(|(.., body)| body.len() as u64).sum()
}

type FreeSets = BTreeMap<QueueRef, (BTreeSet<u64>, u64)>;

fn free_sets(model: &Model) -> FreeSets {
    let set = |queue: &Queue| (queue.id, (queue.free().into_iter().collect(), queue.messages.len() as u64));
    model.queues.iter().filter(|queue| !queue.deleted).map(set).collect()
}

/// An effect announces each message that is free now and was not before: else nobody would deliver it.
fn announced(before: &FreeSets, after: &FreeSets, effects: &[Effect]) -> Result<(), String> {
    for (id, (free, _)) in after {
        let (was_free, last) = before.get(id).cloned().unwrap_or_default();
        for sequence in free.difference(&was_free) {
            let is_announced = effects.iter().any(|effect| match effect {
                Effect::Appended { queue, last_sequence } => {
                    queue == id && *sequence > last && sequence <= last_sequence
                }
                Effect::Returned { subscription, sequences } => {
                    subscription.queue == *id && sequences.contains(sequence)
                }
                _ => false,
            });
            if !is_announced {
                return Err(format!("message {sequence} of {id:?} became free unannounced: {effects:?}"));
            }
        }
    }
    Ok(())
}
