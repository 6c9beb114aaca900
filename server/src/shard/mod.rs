//! The shards of this node: commands go in, through the log, into the machine and the store, and outcomes come out.
//!
//! A few worker threads own all shards. A worker gathers the commands of a shard into one batch, stamps it, and
//! proposes it to the log; it writes a small batch itself. When a batch is synced, the worker applies it, writes the
//! result to the store, answers the callers, and lets [`crate::dispatch`] perform the effects. So a single node runs
//! the path that a cluster runs, and every restart replays it.

mod error;
mod event;
mod halted;
mod fair_queue;
mod pending;
mod replica;
mod start;
mod worker;

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use posthouse_engine::{ids::ShardId, kv::Kv, machine::ShardMachine, outcome::Outcome, schema::Command};
use tokio::sync::oneshot;

use crate::{
    catalogue::FromLog,
    dispatch::{SessionHandle, SessionOpen},
    fair_gate::Pass,
    log::{CommitSink, Entry, GroupId, ProposeError},
};

pub use error::ShardError;
pub(crate) use event::{Event, Query, ShardEvent};
pub(crate) use fair_queue::{EventSender, Origin, fair_queue};
pub use halted::Stop;
pub(crate) use halted::{Blame, HaltedBy, guarded, hex};
pub(crate) use pending::{Reply, decode_batch, proposal_prefix};
pub(crate) use start::StartShard;
pub(crate) use worker::{Context as WorkerContext, WorkerStart, start_workers};

/// The way to the shards, for handlers.
#[derive(Clone)]
pub struct Shards {
    workers: Arc<Vec<EventSender>>,
}

impl Shards {
    pub(crate) fn new(workers: Vec<EventSender>) -> Self {
        Self { workers: Arc::new(workers) }
    }

    /// Proposes a command; the receiver gets its outcome once it is synced and applied.
    #[must_use]
    pub(crate) fn propose(
        &self,
        at: impl Into<Origin>,
        command: Command,
    ) -> oneshot::Receiver<Result<Outcome, ShardError>> {
        let (reply, outcome) = oneshot::channel();
        self.send(at, ShardEvent::Propose { command, reply: Reply::Caller(reply) });
        outcome
    }

    /// Proposes a publish, which is through the gate until it is decided.
    pub(crate) fn publish(
        &self,
        at: Origin,
        command: Command,
        pass: Pass,
    ) -> oneshot::Receiver<Result<Outcome, ShardError>> {
        let (reply, outcome) = oneshot::channel();
        self.send(at, ShardEvent::Propose { command, reply: Reply::Publisher(reply, pass) });
        outcome
    }

    /// Proposes a command and waits for its outcome.
    ///
    /// # Errors
    /// When the shard refused it, or the server stopped.
    pub(crate) async fn call(&self, at: impl Into<Origin>, command: Command) -> Result<Outcome, ShardError> {
        self.propose(at, command).await.unwrap_or(Err(ShardError::Stopping))
    }

    /// Reads the shard's machine and store.
    ///
    /// # Errors
    /// When the shard is halted or the server stops.
    pub(crate) async fn query<R: Send + 'static>(
        &self,
        at: impl Into<Origin>,
        read: impl FnOnce(&mut ShardMachine, &dyn Kv) -> R + Send + 'static,
    ) -> Result<R, ShardError> {
        let (reply, answer) = oneshot::channel();
        // A reader that has left needs no answer.
        let query: Query =
            Box::new(move |access| drop(reply.send(access.map(|(machine, kv)| read(machine, kv)))));
        self.send(at, ShardEvent::Query(query));
        answer.await.unwrap_or(Err(ShardError::Stopping))
    }

    /// Opens a consumer's session. Its deliveries arrive through the channel in `open`.
    pub(crate) fn open_session(&self, at: Origin, open: SessionOpen) -> SessionHandle {
        let handle = SessionHandle::new(self.clone(), at, open.subscription, open.key);
        self.send(at, ShardEvent::OpenSession(Box::new(open)));
        handle
    }

    pub(crate) fn send(&self, at: impl Into<Origin>, event: ShardEvent) {
        let Origin { shard, tenant } = at.into();
        if let Some(worker) = self.workers.get(worker_of(shard, self.workers.len())) {
            // A worker that has ended answers no call: the caller's channel closes, which means "stopping".
            worker.send(tenant, Event::ForShard(shard, event));
        }
    }

    pub(crate) fn send_all(&self, event: impl Fn() -> Event) {
        for worker in self.workers.iter() {
            worker.send(None, event());
        }
    }

    /// The applied index of every shard.
    pub(crate) fn applied(&self) -> Vec<(GroupId, u64)> {
        let mut all = Vec::new();
        for worker in self.workers.iter() {
            let (reply, answer) = oneshot::channel();
            if worker.send(None, Event::Applied(reply)) {
                all.extend(answer.blocking_recv().unwrap_or_default());
            }
        }
        all
    }
}

/// Which worker owns a shard.
pub(crate) fn worker_of(shard: ShardId, workers: usize) -> usize {
    usize::from(shard.0) % workers.max(1)
}

/// Takes what the log has synced to the workers (and the catalogue's part to the catalogue).
pub(crate) struct ToWorkers {
    pub(crate) shards: Shards,
    pub(crate) catalogue: mpsc::Sender<FromLog>,
}

impl CommitSink for ToWorkers {
    fn committed(&self, entries: Vec<Entry>) {
        let workers = self.shards.workers.len();
        let mut parts: Vec<Vec<Entry>> = (0..workers).map(|_| Vec::new()).collect();
        let mut catalogue = Vec::new();
        for entry in entries {
            if entry.group == GroupId::CATALOGUE {
                catalogue.push(entry);
            } else if let Some(part) = parts.get_mut(worker_of(ShardId(entry.group.0), workers)) {
                part.push(entry);
            }
        }
        if !catalogue.is_empty() {
            drop(self.catalogue.send(FromLog::Committed(catalogue)));
        }
        for (worker, part) in self.shards.workers.iter().zip(parts) {
            if !part.is_empty() {
                worker.send(None, Event::Committed(part));
            }
        }
    }

    fn refused(&self, group: GroupId, proposals: Vec<Bytes>, why: ProposeError) {
        for data in proposals {
            let id = proposal_prefix(&data);
            if group == GroupId::CATALOGUE {
                drop(self.catalogue.send(FromLog::Refused(id, why.clone())));
            } else {
                self.shards.send(ShardId(group.0), ShardEvent::Refused { proposal_id: id, why: why.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests;
