//! The batches that are measured.

use posthouse_engine::schema::{Batch, Command};

use super::{line::Line, shard::Shard};

/// What a batch consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One publish of so many messages, of a producer session.
    Publish(usize),
    /// One lease of so many messages that were published long ago.
    Grant(usize),
    /// Acks of so many of them.
    Settle(usize),
    /// What a worker proposes at full speed while consumers keep up: four publishes of 128 messages by four
    /// producers, the leases of as many that came with the batch before, and the acks of as many that were leased
    /// with it.
    Mixed,
}

impl Verb {
    /// All that are measured.
    pub const ALL: [Self; 6] = [
        Self::Publish(1),
        Self::Publish(128),
        Self::Publish(512),
        Self::Grant(512),
        Self::Settle(512),
        Self::Mixed,
    ];

    /// Messages of a batch.
    pub const fn messages(self) -> usize {
        match self {
            Self::Publish(messages) | Self::Grant(messages) | Self::Settle(messages) => messages,
            Self::Mixed => 512,
        }
    }

    /// Whether the consumers of its queue keep up: there is no backlog.
    pub const fn keeps_up(self) -> bool {
        matches!(self, Self::Mixed)
    }

    /// Does what comes before the next batch, and makes that batch.
    pub fn prepare(self, line: &mut Line, shard: &mut Shard) -> Batch {
        line.note(&shard.settled());
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
                line.note(&shard.run(vec![grant]));
                vec![line.settle(messages)]
            }
            Self::Mixed => mixed(line, shard),
        };
        shard.batch(commands)
    }
}

/// Settles what is leased, and publishes as much: the backlog stays as deep as it is.
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

/// Settles what was published since, once it is much: the store does not grow.
fn drain(line: &mut Line, shard: &mut Shard) {
    while line.published() > 8 * 512 {
        let grant = line.grant(512);
        line.note(&shard.run(vec![grant]));
        let settle = line.settle(512);
        shard.run(vec![settle]);
    }
}

fn mixed(line: &mut Line, shard: &mut Shard) -> Vec<Command> {
    if line.leased() == 0 {
        // The first round: there is something to lease, and something to settle.
        for _ in 0..8 {
            let publish = line.publish(128);
            shard.run(vec![publish]);
        }
        let grants = vec![line.grant(256), line.grant(256)];
        line.note(&shard.run(grants));
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
