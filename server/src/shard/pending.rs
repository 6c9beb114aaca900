//! Commands on their way: gathered for the next batch, or in the log and waiting for its sync.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use bytes::{Buf, Bytes};
use posthouse_engine::{
    ids::{DepartmentId, QueueId, QueueRef, ShardId},
    limits::MACHINE_VERSION,
    outcome::Outcome,
    schema::{Batch, Command, CommandRecord, Publish, PublishEntry, command_record},
};
use prost::Message as _;
use tokio::sync::oneshot;

use super::ShardError;
use crate::{
    clock::Now,
    dispatch::{GrantTag, ReturnTag},
    fair_gate::Pass,
    limits::PUBLISH_MESSAGE_BYTES,
};

/// A log entry begins with its proposal's id, so that its proposer finds its callers without decoding it.
pub(crate) const PREFIX_BYTES: usize = 8;

/// Commands of one log entry.
const MAX_BATCH_COMMANDS: usize = 1_024;
/// Bytes after which a batch is full; one larger command still goes alone.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// The receiver of an outcome.
pub(crate) enum Reply {
    /// A handler.
    Caller(oneshot::Sender<Result<Outcome, ShardError>>),
    /// A publisher, whose batch is through the gate until it is decided, whether or not the publisher's client reads
    /// its answers.
    Publisher(oneshot::Sender<Result<Outcome, ShardError>>, Pass),
    /// Dispatch, for a grant it picked.
    Grant(Box<GrantTag>),
    /// Dispatch, for leases that go back.
    Return(ReturnTag),
    /// The worker, for its own timer.
    Advance,
    /// Nobody.
    Nobody,
}

/// Commands of one shard that arrived since its last batch.
#[derive(Default)]
pub(crate) struct Pending {
    waiting: VecDeque<Waiting>,
    /// Of all that waits.
    bytes: usize,
}

struct Waiting {
    command: Command,
    reply: Reply,
    bytes: usize,
}

/// A batch in the log.
pub(crate) struct InFlight {
    pub(crate) proposal_id: u64,
    pub(crate) batch: Batch,
    pub(crate) replies: Vec<Reply>,
    pub(crate) proposed_at: Instant,
    /// How many messages its publishes store in each queue, if nothing is against it.
    pub(crate) stores: BTreeMap<QueueRef, u64>,
}

impl InFlight {
    /// How many messages it stores, leases or settles.
    pub(crate) fn messages(&self) -> usize {
        self.batch.commands.iter().filter_map(|record| record.command.as_ref()).map(messages).sum()
    }
}

impl Pending {
    pub(crate) fn push(&mut self, command: Command, reply: Reply) {
        let bytes = content_bytes(&command);
        self.bytes += bytes;
        self.waiting.push_back(Waiting { command, reply, bytes });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of each message that is about to be stored, in the order they will be in, of those queues that are asked
    /// for.
    pub(crate) fn coming(&self, asked: impl Fn(QueueRef) -> bool) -> BTreeMap<QueueRef, Vec<u32>> {
        let mut coming = BTreeMap::<QueueRef, Vec<u32>>::new();
        for Waiting { command, .. } in &self.waiting {
            if let Command::Publish(publish) = command
                && asked(queue(publish))
            {
                let sizes = stored(publish).map(|entry| entry.payload_bytes);
                coming.entry(queue(publish)).or_default().extend(sizes);
            }
        }
        coming
    }

    /// How many commands of up to `bytes` the next batch can contain besides all that wait; 0 if it cannot contain all
    /// of those.
    pub(crate) fn capacity(&self, bytes: usize) -> usize {
        let commands = MAX_BATCH_COMMANDS.saturating_sub(self.waiting.len());
        commands.min(MAX_BATCH_BYTES.saturating_sub(self.bytes) / bytes.max(1))
    }

    pub(crate) fn drain_all(&mut self) -> impl Iterator<Item = Reply> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.reply)
    }

    /// The next batch, and its log entry.
    pub(crate) fn next_batch(
        &mut self,
        shard: ShardId,
        now: Now,
        proposal_id: u64,
    ) -> Option<(InFlight, Vec<u8>)> {
        let (mut commands, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut stores = BTreeMap::new();
        while commands.len() < MAX_BATCH_COMMANDS && bytes < MAX_BATCH_BYTES {
            let Some(Waiting { command, reply, bytes: of_it }) = self.waiting.pop_front() else { break };
            bytes += of_it;
            if let Command::Publish(publish) = &command {
                *stores.entry(queue(publish)).or_default() += stored(publish).count() as u64;
            }
            commands.push(CommandRecord { command: Some(command) });
            replies.push(reply);
        }
        if commands.is_empty() {
            return None;
        }
        self.bytes -= bytes;
        let batch = Batch {
            shard: u32::from(shard.0),
            machine_version: MACHINE_VERSION,
            now_ms: now.stamp_ms,
            commands,
            proposal_id,
            wall_ms: now.wall_ms,
        };
        let mut data = Vec::with_capacity(PREFIX_BYTES + batch.encoded_len());
        data.extend_from_slice(&proposal_id.to_be_bytes());
        // A Vec grows: encoding into it cannot fail.
        batch.encode_raw(&mut data);
        Some((InFlight { proposal_id, batch, replies, proposed_at: Instant::now(), stores }, data))
    }
}

/// The proposal id at the start of a log entry; 0 for an entry too short to have one.
pub(crate) fn proposal_prefix(data: &[u8]) -> u64 {
    data.first_chunk().map_or(0, |prefix| u64::from_be_bytes(*prefix))
}

/// Decodes a log entry.
pub(crate) fn decode_batch(mut data: Bytes) -> Result<Batch, prost::DecodeError> {
    data.advance(PREFIX_BYTES.min(data.len()));
    Batch::decode(data)
}

fn queue(publish: &Publish) -> QueueRef {
    QueueRef { department: DepartmentId(publish.department), queue: QueueId(publish.queue) }
}

/// The entries that a publish stores, unless it is a repetition, or its queue or producer has changed.
fn stored(publish: &Publish) -> impl Iterator<Item = &PublishEntry> {
    let refused = publish.atomic && publish.entries.iter().any(|entry| entry.refused);
    publish.entries.iter().filter(move |entry| !refused && !entry.refused)
}

/// The number of messages of a command, for the kinds that may have thousands.
fn messages(command: &Command) -> usize {
    match command {
        command_record::Command::Publish(publish) => publish.entries.len(),
        command_record::Command::Settle(settle) => settle.deliveries(),
        command_record::Command::Extend(extend) => extend.tokens.len(),
        // Those that are stored by the same batch are counted there.
        command_record::Command::Grant(grant) if grant.next_sequence > 0 => 0,
        command_record::Command::Grant(grant) => grant.sequences.len(),
        _ => 1,
    }
}

/// The approximate size of a command in a log entry, never much less. Small messages and settlements count for their
/// work too, so that no batch is too much work.
fn content_bytes(command: &Command) -> usize {
    let items = match command {
        command_record::Command::Publish(Publish { entries, .. }) => {
            entries.iter().map(|e| e.content_head.len() + e.content.len() + PUBLISH_MESSAGE_BYTES).sum()
        }
        command_record::Command::Settle(settle) => 40 * settle.deliveries(),
        command_record::Command::Extend(extend) => 32 * extend.tokens.len(),
        command_record::Command::Grant(grant) => 10 * grant.sequences.len(),
        _ => 0,
    };
    // Names, subjects and session ids.
    1_024 + items
}
