//! A shard without threads, log or disk: a machine over a store in memory, and dispatch beside it.

use std::collections::VecDeque;

use posthouse_engine::{
    ids::{DEFAULT_SUBSCRIPTION, DepartmentId, QueueId, QueueRef, ShardId, SubscriptionRef},
    kv::MemKv,
    limits::MACHINE_VERSION,
    machine::ShardMachine,
    outcome::{Counts, LiveDelivery, Outcome},
    schema::{
        Batch, Command, CommandRecord, ConfigureDepartment, CreateQueue, DeleteQueue, Holder, Publish,
        PublishEntry, PurgeQueue, QueueSettings, Settle, SettleItem, SettleKind,
    },
};
use tokio::sync::mpsc;

use super::super::{Coming, Credit, Dispatch, Leased, SessionEvent, SessionKey, SessionOpen};
use crate::shard::{Reply, ShardError};

pub(super) const AT: SubscriptionRef = SubscriptionRef {
    queue: QueueRef { department: DepartmentId(1), queue: QueueId(1) },
    subscription: DEFAULT_SUBSCRIPTION,
};

pub(super) struct World {
    kv: MemKv,
    pub(super) machine: ShardMachine,
    pub(super) dispatch: Dispatch,
    index: u64,
    now_ms: u64,
    next_key: u64,
    /// Batches that are proposed and not applied.
    pub(super) proposed: VecDeque<Vec<(Command, Reply)>>,
}

/// A stream as its handler has it.
pub(super) struct Stream {
    pub(super) key: SessionKey,
    pub(super) holder: Holder,
    receiver: mpsc::UnboundedReceiver<SessionEvent>,
}

pub(super) fn holder(name: &str) -> Holder {
    Holder { tenant: 1, subject: "app".to_owned(), session_id: name.to_owned().into() }
}

impl World {
    pub(super) fn new() -> Self {
        let kv = MemKv::default();
        let machine = ShardMachine::hydrate(ShardId(0), &kv).unwrap();
        let mut world = Self {
            kv,
            machine,
            dispatch: Dispatch::default(),
            index: 0,
            now_ms: 1_000_000,
            next_key: 1,
            proposed: VecDeque::new(),
        };
        world.apply(Command::ConfigureDepartment(ConfigureDepartment {
            department: 1,
            catalogue_index: 1,
            tenant: 1,
            closed: false,
        }));
        world.create();
        world
    }

    pub(super) fn create(&mut self) {
        let settings = QueueSettings { lease_duration_ms: 30_000, max_attempts: 1_000, ..Default::default() };
        let create = CreateQueue {
            department: 1,
            name: "q".to_owned(),
            settings: Some(settings),
            ..CreateQueue::default()
        };
        assert!(matches!(self.apply(Command::CreateQueue(create)), Outcome::CreateQueue(Ok(_))));
    }

    /// Applies one command and performs its effects.
    pub(super) fn apply(&mut self, command: Command) -> Outcome {
        self.apply_all(vec![command]).pop().unwrap()
    }

    fn apply_all(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.index += 1;
        let record = |command| CommandRecord { command: Some(command) };
        let batch = Batch {
            shard: 0,
            machine_version: MACHINE_VERSION,
            now_ms: self.now_ms,
            commands: commands.into_iter().map(record).collect(),
            proposal_id: self.index,
            wall_ms: self.now_ms,
        };
        let applied = self.machine.apply(&self.kv, self.index, batch).unwrap();
        self.kv.write(&applied.writes);
        self.dispatch.perform(applied.effects);
        applied.outcomes
    }

    pub(super) fn publish(&mut self, sizes: &[u32]) {
        assert!(matches!(self.apply(publish(sizes)), Outcome::Publish(Ok(_))));
    }

    /// Proposes a publish, with what dispatch picks meanwhile and what it leases of the publish.
    pub(super) fn propose(&mut self, sizes: &[u32]) {
        self.propose_with_capacity(sizes, usize::MAX / 2);
    }

    pub(super) fn propose_with_capacity(&mut self, sizes: &[u32], max_grants: usize) {
        let stores = |(command, _): &(Command, Reply)| match command {
            Command::Publish(publish) => publish.entries.len() as u64,
            _ => 0,
        };
        let under_way = self.proposed.iter().flatten().map(stores).sum();
        let mut batch = vec![(publish(sizes), Reply::Nobody)];
        batch.extend(self.dispatch.pump(&mut self.machine, &self.kv).unwrap());
        if self.dispatch.knows(AT.queue) {
            let coming = Coming { under_way, sizes: sizes.to_vec(), max_grants };
            batch.extend(self.dispatch.lease_ahead(AT.queue, &coming, &mut self.machine, &self.kv).unwrap());
        }
        self.proposed.push_back(batch);
    }

    pub(super) fn purge(&mut self) {
        let purge = PurgeQueue { department: 1, name: "q".to_owned(), request: None };
        assert!(matches!(self.apply(Command::PurgeQueue(purge)), Outcome::PurgeQueue(Ok(_))));
    }

    pub(super) fn delete(&mut self) {
        let delete = DeleteQueue { department: 1, name: "q".to_owned(), ..DeleteQueue::default() };
        assert!(matches!(self.apply(Command::DeleteQueue(delete)), Outcome::DeleteQueue(Ok(()))));
    }

    pub(super) fn settle(&mut self, holder: &Holder, deliveries: &[LiveDelivery], kind: SettleKind) {
        for some in deliveries.chunks(1_000) {
            let items = some.iter().map(|live| SettleItem::one(live.token(), kind, 0));
            let settle = Settle {
                department: 1,
                queue: 1,
                subscription: AT.subscription.0,
                holder: Some(holder.clone()),
                items: SettleItem::coalesce(items),
            };
            assert!(matches!(self.apply(Command::Settle(settle)), Outcome::Settle(Ok(_))));
        }
    }

    pub(super) fn open(&mut self, name: &str, messages: u32, bytes: u64) -> Stream {
        let (events, receiver) = mpsc::unbounded_channel();
        let key = SessionKey(self.next_key);
        self.next_key += 1;
        let holder = holder(name);
        let open = SessionOpen {
            key,
            subscription: AT,
            holder: holder.clone(),
            lease_duration_ms: 30_000,
            credit: Credit { messages, bytes },
            events,
        };
        self.dispatch.open(open, &mut self.machine, &self.kv).unwrap();
        Stream { key, holder, receiver }
    }

    pub(super) fn add(&mut self, stream: &Stream, messages: u32, bytes: u64) {
        self.dispatch.add_credit(AT, stream.key, Credit { messages, bytes });
    }

    /// A stream is at its end, and has not sent these.
    pub(super) fn stop(&mut self, stream: &Stream, unsent: &[LiveDelivery]) {
        let commands = self.dispatch.stop(AT, stream.key, unsent);
        self.proposed.extend(commands.into_iter().map(|one| vec![one]));
    }

    /// A stream that goes on does not send these.
    pub(super) fn return_leases(&mut self, stream: &Stream, unsent: &[LiveDelivery]) {
        let commands = self.dispatch.return_leases(AT, stream.key, unsent);
        self.proposed.extend(commands.into_iter().map(|one| vec![one]));
    }

    pub(super) fn close(&mut self, stream: Stream, clean: bool) {
        let (key, receiver) = (stream.key, stream.receiver);
        drop(receiver);
        let command = self.dispatch.close(AT, key, clean);
        self.proposed.extend(command.map(|one| vec![one]));
    }

    /// Lets dispatch pick; nothing of it is applied yet.
    pub(super) fn pump(&mut self) {
        let picked = self.dispatch.pump(&mut self.machine, &self.kv).unwrap();
        self.proposed.extend(picked.into_iter().map(|one| vec![one]));
    }

    /// Decides the oldest proposal; whether there was one.
    pub(super) fn decide(&mut self, logged: bool) -> bool {
        let Some(batch) = self.proposed.pop_front() else { return false };
        let (commands, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let outcomes = match logged {
            true => self.apply_all(commands).into_iter().map(Ok).collect(),
            false => vec![Err(ShardError::DiskFull); replies.len()],
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            match reply {
                Reply::Grant(tag) => {
                    let released = self.dispatch.granted(&tag, outcome);
                    self.proposed.extend(released.into_iter().map(|one| vec![one]));
                }
                Reply::Return(tag) => self.dispatch.returned_by(tag),
                _ => {}
            }
        }
        true
    }

    /// Goes on until nothing more happens.
    pub(super) fn run(&mut self) {
        loop {
            self.pump();
            if !self.decide(true) {
                return;
            }
        }
    }

    pub(super) fn counts(&mut self) -> Counts {
        self.machine.counts(&self.kv, AT).unwrap().unwrap()
    }
}

impl Stream {
    pub(super) fn events(&mut self) -> Vec<SessionEvent> {
        std::iter::from_fn(|| self.receiver.try_recv().ok()).collect()
    }

    /// Messages granted since the last call.
    pub(super) fn granted(&mut self) -> Vec<Leased> {
        let granted = |event| match event {
            SessionEvent::Granted(leased) => leased,
            _ => Vec::new(),
        };
        self.events().into_iter().flat_map(granted).collect()
    }
}

fn publish(sizes: &[u32]) -> Command {
    let entry = |&payload_bytes: &u32| PublishEntry {
        content: vec![0; payload_bytes as usize].into(),
        payload_bytes,
        ..PublishEntry::default()
    };
    let entries = sizes.iter().map(entry).collect();
    Command::Publish(Publish { department: 1, queue: 1, entries, ..Publish::default() })
}

pub(super) fn sequences(leased: &[Leased]) -> Vec<u64> {
    leased.iter().map(|leased| leased.live.item.sequence).collect()
}

pub(super) fn live(leased: &[Leased]) -> Vec<LiveDelivery> {
    leased.iter().map(|leased| leased.live).collect()
}
