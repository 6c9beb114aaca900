//! The connection that a stream runs on, and the stream's first frame.

use std::{sync::Arc, time::Duration};

use posthouse_proto::v1::ErrorReason;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    account::ConnectionAccounts,
    door::{CallTask, ConnectionAuth},
    identity::ConnIdentity,
    rpc::{layers::intake::RequestFrames, request, wire::status::ApiError},
};

/// The only version so far.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// How long a client may take to send its first frame.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection that a stream runs on.
pub(crate) struct StreamConnection {
    pub(crate) identity: Arc<ConnIdentity>,
    /// Cancelled when the connection, or the server, is about to close.
    pub(crate) drain_signal: CancellationToken,
    /// The connection's failed tokens, which decide whether further ones are verified.
    pub(crate) auth: Option<ConnectionAuth>,
    pub(crate) accounts: ConnectionAccounts,
    /// The task of the stream's call.
    pub(crate) task: CallTask,
}

impl StreamConnection {
    /// The connection of a request.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        Ok(Self {
            identity: request::connection(request)?,
            drain_signal: request::drain_signal(request)?,
            auth: request.extensions().get().cloned(),
            accounts: request::accounts(request)?,
            task: request::task(request)?,
        })
    }
}

/// The first frame, which must arrive in time; `None` if the client ends its half before.
pub(crate) async fn first_frame<T: prost::Message + Default>(
    frames: &mut RequestFrames<T>,
    drain_signal: &CancellationToken,
) -> Result<Option<T>, ApiError> {
    tokio::select! {
        frame = tokio::time::timeout(FIRST_FRAME_TIMEOUT, frames.next()) => match frame {
            Ok(frame) => frame.map(|arrived| arrived.map(|arrived| arrived.request)),
            Err(_) => {
                let text = "the first frame did not come within 10 s; send Open at once";
                Err(ApiError::new(Code::FailedPrecondition, ErrorReason::StreamIdle, text))
            }
        },
        () = drain_signal.cancelled() => Err(ApiError::draining()),
    }
}

pub(crate) fn check_version(version: u32) -> Result<(), ApiError> {
    if version == PROTOCOL_VERSION {
        return Ok(());
    }
    let text = format!("protocol version {version} is not spoken here; use {PROTOCOL_VERSION}");
    let error = ApiError::new(Code::InvalidArgument, ErrorReason::ProtocolVersionUnsupported, text);
    Err(error.with_metadata("supported", PROTOCOL_VERSION.to_string()))
}
