//! What the streams of both directions share.

use std::{sync::Arc, time::Duration};

use posthouse_proto::v1::ErrorReason;
use prost_types::Timestamp;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    account::ConnectionAccounts,
    door::{CallTask, Standing},
    identity::{ConnIdentity, TokenVerifier},
    policy::{Check, Permit},
    rpc::{
        layers::{auth::verify, intake::Frames},
        request,
        wire::status::ApiError,
    },
};

/// The only version so far.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// How long a stream may go on after it was told to drain.
pub(crate) const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// A silent stream is sent a heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client may take to say what its stream is for.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// How often a stream looks at its token, at the drain, and at its silence.
const TICK: Duration = Duration::from_millis(500);

/// The connection that a stream runs on.
pub(crate) struct Connection {
    pub(crate) identity: Arc<ConnIdentity>,
    /// Cancelled when the connection, or the server, is about to close.
    pub(crate) leaving: CancellationToken,
    /// Whether it may have further tokens verified.
    pub(crate) standing: Option<Standing>,
    pub(crate) accounts: ConnectionAccounts,
    /// The stream's own.
    pub(crate) task: CallTask,
}

impl Connection {
    /// That of a request.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        Ok(Self {
            identity: request::connection(request)?,
            leaving: request::leaving(request)?,
            standing: request.extensions().get().cloned(),
            accounts: request::accounts(request)?,
            task: request::task(request)?,
        })
    }
}

/// The moments when a stream looks around. The wall clock may be set: nothing sleeps until a token's end.
pub(crate) fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The first frame, if it comes in time.
pub(crate) async fn first_frame<T: prost::Message + Default>(
    frames: &mut Frames<T>,
    leaving: &CancellationToken,
) -> Result<Option<T>, ApiError> {
    tokio::select! {
        frame = tokio::time::timeout(FIRST_FRAME, frames.next()) => match frame {
            Ok(frame) => frame.map(|arrived| arrived.map(|arrived| arrived.request)),
            Err(_) => {
                let text = "the first frame did not come within 10 s; send Open at once";
                Err(ApiError::new(Code::FailedPrecondition, ErrorReason::StreamIdle, text))
            }
        },
        () = leaving.cancelled() => Err(ApiError::draining()),
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

/// A fresh token on a live stream: it replaces every right of the old one.
pub(crate) fn refresh<C: Check>(
    tokens: &TokenVerifier,
    connection: &Connection,
    permit: &Permit<C>,
    token: &str,
) -> Result<(Permit<C>, Timestamp), ApiError> {
    let standing = connection.standing.as_ref();
    let fresh = verify(tokens, token, &connection.identity, standing)
        .inspect_err(|_| standing.into_iter().for_each(Standing::failed))?;
    let expires_at = fresh.expires_at;
    let permit = permit.renew(&fresh)?;
    Ok((permit, Timestamp::from(expires_at)))
}
