use std::time::{Duration, SystemTime};

use bytes::Bytes;
use posthouse_proto::v1;
use tokio::sync::oneshot;

use super::{ConsumeError, SettleError};

/// What guards and handles give to the consumer's task. The deliveries that the credits allow bound their number.
#[derive(Debug)]
pub(super) enum Command {
    Settle(Settle),
    Extend(Extend),
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
    /// `None`: the consumer's own, for a delivery that waits for the application.
    pub(super) done: Option<oneshot::Sender<Result<SystemTime, SettleError>>>,
}
