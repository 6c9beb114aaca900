use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use posthouse_proto::v1;
use tokio::sync::{mpsc, oneshot};

use super::{ConsumeError, SettleError, lost::Lost};

/// What a consumer and its deliveries share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) lost: Arc<Lost>,
    pub(super) queue: String,
}

/// What guards and handles give to the consumer's task. The deliveries that the credits allow bound their number.
#[derive(Debug)]
pub(super) enum Command {
    Settle(Settle),
    Extend(Extend),
    /// Takes no more.
    Stop,
    /// Ends the consumer; answered when the server has ended the stream.
    Close(oneshot::Sender<Result<(), ConsumeError>>),
}

#[derive(Debug)]
pub(super) struct Settle {
    pub(super) settlement: v1::Settlement,
    /// `None`: nobody wants to know.
    pub(super) done: Option<oneshot::Sender<Result<(), SettleError>>>,
}

#[derive(Debug)]
pub(super) struct Extend {
    pub(super) token: Bytes,
    pub(super) duration: Duration,
    /// `None`: the consumer's own.
    pub(super) done: Option<oneshot::Sender<Result<SystemTime, SettleError>>>,
}
