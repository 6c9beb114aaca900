//! What wakes a worker.

use posthouse_engine::{
    ids::{ShardId, SubscriptionRef},
    kv::Kv,
    machine::ShardMachine,
    outcome::LiveDelivery,
    schema::Command,
};
use tokio::sync::oneshot;

use super::{error::ShardError, pending::Reply};
use crate::{
    dispatch::{Credit, SessionKey, SessionOpen},
    log::{Entry, GroupId, ProposeError},
};

/// A read over one shard's machine and store, which its worker runs between batches; it gets the reason if it cannot be
/// run.
pub(crate) type Query = Box<dyn FnOnce(Result<(&mut ShardMachine, &dyn Kv), ShardError>) + Send>;

/// Everything that can wake a worker.
pub(crate) enum Event {
    /// An event of one of the worker's shards.
    ForShard(ShardId, ShardEvent),
    /// Synced entries, in order.
    Committed(Vec<Entry>),
    /// No session gets leases any more; streams are notified.
    Drain,
    /// No session gets leases until the pause ends.
    Pause(bool),
    /// Reports the applied indices, from which the flusher knows what a flush covers.
    Applied(oneshot::Sender<Vec<(GroupId, u64)>>),
    /// The worker completes what is proposed and ends.
    Stop,
}

/// An event of one shard.
pub(crate) enum ShardEvent {
    /// A command for the log.
    Propose { command: Command, reply: Reply },
    /// The log refused a proposal after it was accepted.
    Refused { proposal_id: u64, why: ProposeError },
    /// A read.
    Query(Query),
    /// A consumer's stream opens.
    OpenSession(Box<SessionOpen>),
    /// A stream has more credit.
    AddCredit { subscription: SubscriptionRef, key: SessionKey, credit: Credit },
    /// Nothing more is leased to a stream, and these deliveries of it, which have not left the server, are returned.
    StopSession { subscription: SubscriptionRef, key: SessionKey, unsent: Vec<LiveDelivery> },
    /// These deliveries of an open stream have not left the server and are returned.
    ReturnLeases { subscription: SubscriptionRef, key: SessionKey, unsent: Vec<LiveDelivery> },
    /// A stream has ended. If it ended `clean`, its leases are released.
    CloseSession { subscription: SubscriptionRef, key: SessionKey, clean: bool },
}
