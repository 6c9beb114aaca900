//! Outcomes of grants, settlements and extensions.

use crate::{
    ids::LeaseId,
    schema::{SettleKind, TokenRef},
};

/// A lease that was granted. Without items there is no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The lease.
    pub lease: LeaseId,
    /// The grant's nonce.
    pub nonce: u64,
    /// The deadline by the time of batches, Unix milliseconds.
    pub deadline_ms: u64,
    /// The picked messages that were free, by index.
    pub items: Vec<GrantedItem>,
}

impl Granted {
    /// The items, each with the facts of the lease.
    pub fn deliveries(&self) -> impl Iterator<Item = LiveDelivery> {
        let &Self { lease, nonce, deadline_ms, .. } = self;
        self.items.iter().map(move |&item| LiveDelivery { lease, nonce, deadline_ms, item })
    }
}

/// One message of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedItem {
    /// Its index in the lease: part of the token.
    pub index: u32,
    /// Its sequence in the queue.
    pub sequence: u64,
    /// The number of the delivery, from 1.
    pub attempt: u32,
}

/// A delivery that is open, for a session that resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveDelivery {
    /// Its lease.
    pub lease: LeaseId,
    /// The lease's nonce.
    pub nonce: u64,
    /// The deadline in force, by the time of batches, Unix milliseconds.
    pub deadline_ms: u64,
    /// The message.
    pub item: GrantedItem,
}

impl LiveDelivery {
    /// The token that settles or extends it.
    pub fn token(&self) -> TokenRef {
        TokenRef { lease: self.lease.0, index: self.item.index, nonce: self.nonce }
    }
}

/// What became of one settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleOutcome {
    /// The settlement was made.
    Settled,
    /// The same holder has settled it before, in this way.
    AlreadySettled(SettleKind),
    /// There is no such lease, index or nonce, or another holder has it.
    TokenInvalid,
    /// The lease has ended.
    LeaseLost,
    /// The lease has ended, and the message was settled under a later lease.
    SettledByAnother,
    /// The message was purged.
    MessagePurged,
}

/// What became of one extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendOutcome {
    /// The deadline in force, by the time of batches.
    Extended(u64),
    /// The delivery is settled, in this way.
    AlreadySettled(SettleKind),
    /// There is no such lease, index or nonce, or another holder has it.
    TokenInvalid,
    /// The lease has ended.
    LeaseLost,
    /// The lease has ended, and the message was settled under a later lease.
    SettledByAnother,
    /// The message was purged.
    MessagePurged,
}
