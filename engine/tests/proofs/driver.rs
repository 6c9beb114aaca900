//! Turns the free choices of a case into commands, by the state of the model.

mod changes;

use bytes::Bytes;
use posthouse_engine::{
    ids::QueueRef,
    limits::MACHINE_VERSION,
    outcome::Outcome,
    schema::{
        Advance, Batch, Command, CommandRecord, ConfigureDepartment, Extend, Grant, Holder, LeaderStarted,
        Producer, Publish, PublishEntry, ReleaseHolder, Settle, SettleItem, TokenRef,
    },
};

use crate::{
    model::{Model, State},
    op::{self, Choice, Corruption, Op},
};

/// An `Advance` that fires all due timers.
pub const FULL_ADVANCE: u32 = 1_000_000;
pub const SHARD: u16 = 3;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "never-created"];

/// A batch and the outcomes that it must have.
pub struct Step {
    pub batch: Batch,
    pub expected: Vec<Option<Outcome>>,
}

pub struct Driver {
    pub model: Model,
    clock: u64,
    wall_ahead: i64,
    tokens: Vec<(QueueRef, TokenRef, Holder)>,
    publishes: Vec<Publish>,
    /// The commands with a request.
    changes: Vec<Command>,
    catalogue_index: u64,
    counter: u64,
    step: Step,
}

impl Driver {
    pub fn new() -> Self {
        let step = Step { batch: Batch::default(), expected: Vec::new() };
        Self {
            model: Model::default(),
            clock: 1_000_000,
            wall_ahead: 0,
            tokens: Vec::new(),
            publishes: Vec::new(),
            changes: Vec::new(),
            catalogue_index: 0,
            counter: 0,
            step,
        }
    }

    /// A driver with two departments and two queues.
    pub fn first(&mut self) -> Step {
        let request = op::Request::None;
        let create = |name, target| Op::Create { department: false, name, attempts: 2, target, request };
        let open = |department| Op::Configure { department, closed: false, older: false };
        self.step(&[Op::LeaderStarted, open(false), open(true), create(0, 1), create(1, u8::MAX)])
    }

    pub fn step(&mut self, ops: &[Op]) -> Step {
        let ticks = ops.iter().filter_map(|op| if let Op::Tick(ms) = op { Some(*ms) } else { None });
        let ticks: Vec<u64> = ticks.collect();
        self.clock += ticks.iter().sum::<u64>();
        // Sometimes the leader's clock is behind: the machine's time never runs back.
        let behind = if ticks.iter().any(|ms| ms.is_multiple_of(8)) { 500 } else { 0 };
        let now_ms = self.clock - behind;
        self.model.now = self.model.now.max(now_ms);
        let mut set =
            ops.iter().filter_map(|op| if let Op::SetClock(ahead) = op { Some(*ahead) } else { None });
        self.wall_ahead = set.next_back().unwrap_or(self.wall_ahead);
        self.model.wall = now_ms.saturating_add_signed(self.wall_ahead);
        let batch = Batch {
            shard: SHARD.into(),
            machine_version: MACHINE_VERSION,
            now_ms,
            commands: Vec::new(),
            proposal_id: self.clock,
            wall_ms: self.model.wall,
        };
        self.step = Step { batch, expected: Vec::new() };
        for op in ops {
            self.op(op);
        }
        std::mem::replace(&mut self.step, Step { batch: Batch::default(), expected: Vec::new() })
    }

    fn send(&mut self, command: Command) {
        let expected = self.model.apply(&command);
        if let (Command::Grant(grant), Some(Outcome::Grant(Ok(granted)))) = (&command, &expected) {
            let queue =
                self.model.queues.iter().find(|queue| {
                    queue.id.department.0 == grant.department && queue.id.queue.0 == grant.queue
                });
            let (queue, holder) = (queue.unwrap().id, grant.holder.clone().unwrap());
            let tokens = granted.deliveries().map(|live| (queue, live.token(), holder.clone()));
            self.tokens.extend(tokens);
        }
        self.step.batch.commands.push(CommandRecord { command: Some(command) });
        self.step.expected.push(expected);
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Configure { department, closed, older } => self.configure(*department, *closed, *older),
            Op::LeaderStarted => self.send(Command::LeaderStarted(LeaderStarted {})),
            Op::Create { .. }
            | Op::Update { .. }
            | Op::Delete { .. }
            | Op::Purge { .. }
            | Op::Repeat { .. } => {
                self.define(op);
            }
            Op::Publish { queue, sizes, atomic, producer, times } => {
                for _ in 0..*times {
                    self.publish(*queue, sizes, *atomic, producer.as_ref());
                }
            }
            Op::Republish { publish } => {
                // Mostly one of the last ten batches: eight of a session are remembered.
                let recent = if publish.is_multiple_of(4) {
                    self.publishes.len()
                } else {
                    self.publishes.len().min(10)
                };
                let Some(back) = (*publish as usize / 4).checked_rem(recent) else { return };
                self.send(Command::Publish(self.publishes[self.publishes.len() - 1 - back].clone()));
            }
            Op::Grant { queue, holder, picks, duration_s } => self.grant(*queue, *holder, picks, *duration_s),
            Op::Settle { token, items } => self.settle(*token, items),
            Op::Extend { token, others, duration_s } => self.extend(*token, others, *duration_s),
            Op::Release { queue, holder: number } => {
                let Some(id) = self.queue(*queue) else { return };
                let (department, queue, holder) = (id.department.0, id.queue.0, Some(holder(*number)));
                self.send(Command::ReleaseHolder(ReleaseHolder {
                    department,
                    queue,
                    subscription: 1,
                    holder,
                }));
            }
            Op::Redrive { queue, picks, passed_over, target, request } => {
                self.redrive(*queue, picks, passed_over, *target, *request);
            }
            Op::Tick(_) | Op::SetClock(_) => {}
            Op::Advance { first } => {
                for max in [*first, FULL_ADVANCE] {
                    self.send(Command::Advance(Advance { max }));
                }
            }
            Op::Flood { queue, publishes } => self.flood(*queue, *publishes),
            Op::Drain { queue, leases, leave } => self.drain(*queue, *leases, *leave),
        }
    }

    fn configure(&mut self, department: bool, closed: bool, older: bool) {
        self.catalogue_index += 1;
        let department = 1 + u32::from(department);
        let catalogue_index = if older { self.catalogue_index / 2 } else { self.catalogue_index };
        self.send(Command::ConfigureDepartment(ConfigureDepartment {
            department,
            catalogue_index,
            tenant: department * 10,
            closed,
        }));
    }

    /// A queue, sometimes a deleted one.
    fn queue(&self, choice: Choice) -> Option<QueueRef> {
        let queues = &self.model.queues;
        let alive: Vec<_> = queues.iter().filter(|queue| !queue.deleted).collect();
        let among =
            if choice.is_multiple_of(16) || alive.is_empty() { queues.iter().collect() } else { alive };
        (!among.is_empty()).then(|| among[choice as usize % among.len()].id)
    }

    fn entry(&mut self, size: u8) -> PublishEntry {
        self.counter += 1;
        let content = Bytes::from(format!("message {}", self.counter));
        // The content is in one part or in two.
        let (content_head, content) = match size {
            0..=99 => (Bytes::new(), content),
            _ => (content.slice(..usize::from(size % 8)), content.slice(usize::from(size % 8)..)),
        };
        PublishEntry { content_head, content, payload_bytes: size.into(), refused: size.is_multiple_of(16) }
    }

    fn publish(&mut self, choice: Choice, sizes: &[u8], atomic: bool, producer: Option<&op::Producer>) {
        let Some(id) = self.queue(choice) else { return };
        let producer = producer.map(|producer| self.producer(id, producer));
        let entries = sizes.iter().map(|size| self.entry(*size)).collect();
        let (department, queue) = (id.department.0, id.queue.0);
        let publish = Publish { department, queue, lane: 0, producer, entries, atomic };
        if publish.producer.is_some() {
            self.publishes.push(publish.clone());
        }
        self.send(Command::Publish(publish));
    }

    fn producer(&self, id: QueueRef, producer: &op::Producer) -> Producer {
        let producer_id = Bytes::from(vec![producer.id; 16]);
        let queue = self.model.queues.iter().find(|queue| queue.id == id);
        let held = queue.and_then(|queue| queue.producers.get(&producer_id));
        let (epoch, next) = held.map_or((1, 0), |held| (held.epoch, held.next));
        let epoch = epoch.saturating_add_signed(producer.epoch_ahead.clamp(-1, 1).into());
        let next = if producer.epoch_ahead > 0 { 0 } else { next };
        Producer {
            producer_id,
            epoch,
            first_sequence: next.saturating_add_signed(producer.sequence_ahead.into()),
            tenant: 10,
            subject: if producer.foreign { "another".into() } else { "producer".into() },
        }
    }

    fn grant(&mut self, choice: Choice, number: u8, picks: &[Choice], duration_s: u64) {
        let Some(id) = self.queue(choice) else { return };
        let held = self.model.queues.iter().find(|queue| queue.id == id).unwrap();
        let free = held.free();
        // Mostly free messages, sometimes any, sometimes messages that do not exist.
        let pick = |pick: &Choice| match free.get(*pick as usize % (free.len() + 2)) {
            Some(sequence) => *sequence,
            None => u64::from(*pick) % (held.messages.len() as u64 + 3),
        };
        let sequences = picks.iter().map(pick).collect();
        // Some expect the right next sequence, some a wrong one.
        let expected = [0, 0, 1, 1, 2].map(|add| held.messages.len() as u64 * u64::from(add > 0) + add);
        let expected = expected[self.counter as usize % expected.len()];
        self.send_grant(id, sequences, holder(number), duration_s * 1_000, expected);
    }

    fn send_grant(
        &mut self,
        id: QueueRef,
        sequences: Vec<u64>,
        holder: Holder,
        duration_ms: u64,
        next_sequence: u64,
    ) {
        self.counter += 1;
        let (department, queue, nonce) =
            (id.department.0, id.queue.0, self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let holder = Some(holder);
        let (subscription, lane) = (if self.counter.is_multiple_of(50) { 2 } else { 1 }, 0);
        let grant = Grant {
            department,
            queue,
            subscription,
            lane,
            holder,
            sequences,
            duration_ms,
            nonce,
            next_sequence,
        };
        self.send(Command::Grant(grant));
    }

    /// A token, mostly one of the last granted ones, right or corrupted.
    fn token(&self, choice: Choice, corruption: Corruption) -> Option<(QueueRef, TokenRef, Holder)> {
        let (choice, count) = (choice as usize, self.tokens.len());
        let recent = if choice.is_multiple_of(4) { count } else { count.min(12) };
        let back = (choice / 4).checked_rem(recent)?;
        let (queue, mut token, mut holder) = self.tokens[count - 1 - back].clone();
        match corruption {
            Corruption::None => {}
            Corruption::Nonce => token.nonce ^= 1,
            Corruption::Index => token.index += 1_000,
            Corruption::Lease => token.lease += 1,
            Corruption::Holder => holder.subject.push('x'),
        }
        Some((queue, token, holder))
    }

    fn settle(&mut self, choice: Choice, items: &[op::Item]) {
        let Some((id, _, mut requested)) = self.token(choice, Corruption::None) else { return };
        let mut settled = Vec::new();
        for item in items {
            let Some((queue, token, holder)) = self.token(item.token, item.corruption) else { continue };
            if queue == id {
                let (kind, delay_ms, count) = (item.kind, item.delay_ms, item.count);
                settled.push(SettleItem { token: Some(token), kind, delay_ms, count });
            }
            if item.corruption == Corruption::Holder {
                requested = holder;
            }
        }
        // Another session of the same holder may settle.
        requested.session_id = Bytes::from_static(b"another");
        let (department, queue, holder) = (id.department.0, id.queue.0, Some(requested));
        self.send(Command::Settle(Settle { department, queue, subscription: 1, holder, items: settled }));
    }

    fn extend(&mut self, choice: Choice, others: &[(Choice, Corruption)], duration_s: u64) {
        let Some((id, token, holder)) = self.token(choice, Corruption::None) else { return };
        let others = others.iter().filter_map(|(choice, corruption)| self.token(*choice, *corruption));
        let others = others.filter(|(queue, ..)| *queue == id).map(|(_, token, _)| token);
        let tokens = std::iter::once(token).chain(others).collect();
        let (department, queue, holder, duration_ms) =
            (id.department.0, id.queue.0, Some(holder), duration_s * 1_000);
        self.send(Command::Extend(Extend {
            department,
            queue,
            subscription: 1,
            holder,
            tokens,
            duration_ms,
        }));
    }

    fn flood(&mut self, choice: Choice, publishes: u8) {
        let Some(id) = self.queue(choice) else { return };
        let (department, queue) = (id.department.0, id.queue.0);
        for publish in 0..publishes {
            let count = 1_024 - usize::from(publish);
            let entries = (0..count).map(|_| self.entry(1)).collect();
            let publish = Publish { department, queue, entries, ..Publish::default() };
            self.send(Command::Publish(publish));
        }
    }

    fn drain(&mut self, choice: Choice, leases: u8, leave: u16) {
        let Some(id) = self.queue(choice) else { return };
        for _ in 0..leases {
            let held = self.model.queues.iter().find(|queue| queue.id == id).unwrap();
            let free: Vec<u64> = (1..)
                .zip(&held.messages)
                .filter(|(_, held)| held.state == State::Free)
                .map(|(at, _)| at)
                .collect();
            let wanted = free.into_iter().filter(|at| at % u64::from(leave) != 0).take(1_024).collect();
            let before = self.tokens.len();
            self.send_grant(id, wanted, holder(0), 30_000, 0);
            let ack = |(_, token, _): &(QueueRef, TokenRef, Holder)| SettleItem {
                token: Some(*token),
                kind: 1,
                ..SettleItem::default()
            };
            let items = self.tokens[before..].iter().map(ack).collect();
            let (department, queue, holder) = (id.department.0, id.queue.0, Some(holder(0)));
            self.send(Command::Settle(Settle { department, queue, subscription: 1, holder, items }));
        }
    }
}

pub fn holder(number: u8) -> Holder {
    Holder {
        tenant: 10,
        subject: format!("consumer {}", number / 2),
        session_id: Bytes::from(vec![number; 16]),
    }
}
