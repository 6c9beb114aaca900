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

/// What becomes of a settlement.
pub(super) type SettleOutcome = Result<(), SettleError>;

/// What a consumer and its deliveries share.
#[derive(Debug)]
pub(super) struct ConsumerShared {
    pub(super) commands: mpsc::UnboundedSender<ConsumeCommand>,
    pub(super) lost: Arc<LostLeases>,
    pub(super) queue: String,
}

/// What guards and handles give to the consumer's task. The deliveries that the credits allow bound their number.
#[derive(Debug)]
pub(super) enum ConsumeCommand {
    Settle(Settle),
    /// Handed over together.
    SettleAll(Vec<Settle>),
    Extend(Extend),
    /// Takes no more.
    Stop,
    /// Ends the consumer; answered when the server has ended the stream.
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
    /// `None`: the consumer's own.
    pub(super) done: Option<oneshot::Sender<Result<Extended, SettleError>>>,
}

/// When a lease ends now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extended {
    /// By the server's wall clock.
    pub(super) deadline: SystemTime,
    /// By ours.
    pub(super) until: Instant,
}
