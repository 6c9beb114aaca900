//! The batches that are measured.

use posthouse_engine::schema::{Batch, Command};

use super::{line::Line, shard::Shard};

/// The commands of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One publish of this many messages, with a producer session.
    Publish(usize),
    /// One lease of this many messages that were published long ago.
    Grant(usize),
    /// Acks of this many such messages.
    Settle(usize),
    /// The commands that a worker proposes at full speed while consumers keep up: four publishes of 128 messages by
    /// four producers, leases of as many messages of the batch before, and acks of as many messages that were leased
    /// in that batch.
    Mixed,
}

impl Verb {
    /// All verbs that are measured.
    pub const ALL: [Self; 6] = [
        Self::Publish(1),
        Self::Publish(128),
        Self::Publish(512),
        Self::Grant(512),
        Self::Settle(512),
        Self::Mixed,
    ];

    /// The number of messages of a batch.
    pub const fn messages(self) -> usize {
        match self {
            Self::Publish(messages) | Self::Grant(messages) | Self::Settle(messages) => messages,
            Self::Mixed => 512,
        }
    }

    /// Whether consumers keep up, so that the queue has no backlog.
    pub const fn keeps_up(self) -> bool {
        matches!(self, Self::Mixed)
    }

    /// Runs the preparation of the next batch, and returns the batch.
    pub fn prepare(self, line: &mut Line, shard: &mut Shard) -> Batch {
        line.record(&shard.settled());
        let commands = match self {
            Self::Publish(messages) => {
                drain(line, shard);
                vec![line.publish(messages)]
            }
            Self::Grant(messages) => {
                refill(line, shard, messages);
                vec![line.grant(messages as u64)]
            }
            Self::Settle(messages) => {
                refill(line, shard, messages);
                let grant = line.grant(messages as u64);
                line.record(&shard.run(vec![grant]));
                vec![line.settle(messages)]
            }
            Self::Mixed => mixed(line, shard),
        };
        shard.batch(commands)
    }
}

/// Settles the leased messages, and publishes as many: the size of the backlog stays the same.
fn refill(line: &mut Line, shard: &mut Shard, messages: usize) {
    if line.leased() > 0 {
        let settle = line.settle(line.leased());
        shard.run(vec![settle]);
    }
    for _ in 0..messages / 128 {
        let publish = line.publish(128);
        shard.run(vec![publish]);
    }
}

/// Settles the published messages once they are many, so that the store does not grow.
fn drain(line: &mut Line, shard: &mut Shard) {
    while line.published() > 8 * 512 {
        let grant = line.grant(512);
        line.record(&shard.run(vec![grant]));
        let settle = line.settle(512);
        shard.run(vec![settle]);
    }
}

fn mixed(line: &mut Line, shard: &mut Shard) -> Vec<Command> {
    if line.leased() == 0 {
        // In the first round, messages for the lease and for the settlement are prepared.
        for _ in 0..8 {
            let publish = line.publish(128);
            shard.run(vec![publish]);
        }
        let grants = vec![line.grant(256), line.grant(256)];
        line.record(&shard.run(grants));
    }
    let mut commands = Vec::with_capacity(10);
    for _ in 0..4 {
        commands.extend([line.publish(128), line.settle(128)]);
    }
    commands.extend([line.grant(256), line.grant(256)]);
    commands
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Publish(messages) => write!(f, "publish_{messages}"),
            Self::Grant(messages) => write!(f, "grant_{messages}"),
            Self::Settle(messages) => write!(f, "settle_{messages}"),
            Self::Mixed => f.write_str("mixed_512"),
        }
    }
}
