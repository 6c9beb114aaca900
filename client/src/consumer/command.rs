use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use posthouse_proto::v1;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{ConsumeError, SettleError, ledger::Lease, lost_leases::LostLeases};
use crate::answer_group::Responder;

/// The answer to a settlement.
pub(super) type SettleOutcome = Result<(), SettleError>;

/// The state that a consumer shares with its deliveries.
#[derive(Debug)]
pub(super) struct ConsumerShared {
    pub(super) commands: mpsc::UnboundedSender<ConsumeCommand>,
    pub(super) lost: Arc<LostLeases>,
    pub(super) queue: String,
}

/// A command for the consumer's task. The channel is unbounded; the credits bound the number of deliveries, and so of
/// commands.
#[derive(Debug)]
pub(super) enum ConsumeCommand {
    Settle(Settle),
    /// Settlements of one call of [`Consumer::settle_all`](super::Consumer::settle_all).
    SettleAll(Vec<Settle>),
    Extend(Extend),
    /// Accept no more deliveries.
    Stop,
    /// End the consumer; answered when the server has ended the stream.
    Close(oneshot::Sender<Result<(), ConsumeError>>),
}

#[derive(Debug)]
pub(super) struct Settle {
    pub(super) lease: Lease,
    pub(super) action: v1::SettleAction,
    pub(super) delay: Option<prost_types::Duration>,
    pub(super) responder: Responder<SettleOutcome>,
}

#[derive(Debug)]
pub(super) struct Extend {
    pub(super) lease: Lease,
    pub(super) duration: Duration,
    /// Receives the new deadline; `None` for an extension that the consumer makes by itself.
    pub(super) done: Option<oneshot::Sender<Result<Extended, SettleError>>>,
}

/// The end of a lease after an extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extended {
    /// The end by the server's wall clock.
    pub(super) deadline: SystemTime,
    /// The end by this program's monotonic clock.
    pub(super) until: Instant,
}
