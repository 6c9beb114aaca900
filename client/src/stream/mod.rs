//! A bidirectional call on its own connection: what the streams of publishers and consumers have in common.

mod end;
mod protocol;
mod request_stream;

use std::time::Duration;

use posthouse_proto::v1;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tonic::Streaming;
use tracing::Instrument as _;

pub(crate) use end::StreamEnd;
pub(crate) use protocol::{First, PROTOCOL_VERSION, Protocol};
pub(crate) use request_stream::RequestStream;

use crate::{
    connect::Connection,
    context::Context,
    credentials::Token,
    error::{Error, Refusal},
};

/// How often an open stream checks whether there is a newer token.
pub(crate) const TOKEN_INTERVAL: Duration = Duration::from_secs(5);
const FAILURE_TIMEOUT: Duration = Duration::from_secs(1);

/// The queue that the streams of one publisher or consumer are opened on.
#[derive(Clone, Debug)]
pub(crate) struct StreamTarget {
    pub(crate) context: Context,
    pub(crate) queue: String,
    pub(crate) open_timeout: Duration,
    /// The uid of the queue that the first stream was opened on; empty before.
    pub(crate) queue_uid: String,
}

impl StreamTarget {
    /// Whether this is the uid of the queue of the first stream, as far as both are known.
    fn has_uid(&self, queue_uid: &str) -> bool {
        self.queue_uid.is_empty() || queue_uid.is_empty() || self.queue_uid == queue_uid
    }
}

/// An open stream on its own connection.
pub(crate) struct Stream<P: Protocol> {
    /// `None` once this side is closed.
    requests: Option<mpsc::Sender<Option<P::Request>>>,
    responses: Streaming<P::Response>,
    token: Token,
    pub(crate) opened: P::Opened,
    _connection: Connection,
}

impl<P: Protocol> Stream<P> {
    /// Connects, and opens the stream with this frame. At most `capacity` frames may wait for the transport.
    pub(crate) async fn open(
        target: &StreamTarget,
        hint: Option<&str>,
        capacity: usize,
        frame: P::ClientFrame,
    ) -> Result<Self, Error> {
        let opening = Self::try_open(target, hint, capacity, frame).instrument(P::span(&target.queue));
        timeout(target.open_timeout, opening)
            .await
            .unwrap_or_else(|_| Err(Error::timed_out(target.open_timeout)))
    }

    async fn try_open(
        target: &StreamTarget,
        hint: Option<&str>,
        capacity: usize,
        frame: P::ClientFrame,
    ) -> Result<Self, Error> {
        let connection = Connection::open(&target.context, hint).await?;
        let token = target.context.token().await?;
        let (requests, outgoing) = mpsc::channel(capacity);
        // The channel is new and empty.
        let _ = requests.try_send(Some(P::request(frame)));
        let answer = P::call(connection.channel(), token.request(RequestStream::new(outgoing))).await;
        let mut responses =
            answer.map_err(|status| target.context.opening_error(&token, status))?.into_inner();
        let first = receive::<P>(&mut responses).await?.map(P::first);
        let (queue_uid, opened) = match first {
            Some(First::Opened { protocol_version: PROTOCOL_VERSION, queue_uid, opened }) => {
                (queue_uid, opened)
            }
            Some(First::Drain) | None => {
                return Err(Error::broken("the server ended the stream before it was open"));
            }
            Some(First::Opened { .. } | First::Other) => {
                return Err(Error::Protocol("the stream's first answer does not open it"));
            }
        };
        let requests = Some(requests);
        let mut stream = Self { requests, responses, token, opened, _connection: connection };
        if !target.has_uid(&queue_uid) {
            // An end in order returns what the server has leased to this stream of the other queue.
            stream.half_close();
            stream.failure().await;
            return Err(Refusal::queue_deleted().into());
        }
        Ok(stream)
    }

    /// Waits for the next frame; `None` if the server has ended the stream in order. Dropping the future loses no
    /// frame.
    pub(crate) async fn next(&mut self) -> Result<Option<P::ServerFrame>, Error> {
        receive::<P>(&mut self.responses).await
    }

    /// Sends a frame; `false` if the transport accepts no more, because the stream is breaking.
    pub(crate) fn send(&self, frame: P::ClientFrame) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.try_send(Some(P::request(frame))).is_ok())
    }

    /// Sends the newest token, unless the server has it.
    pub(crate) async fn refresh_token(&mut self, context: &Context) {
        if let Some(token) = context.newest_token().await
            && token != self.token
        {
            self.send(P::refresh(v1::RefreshToken { token: token.secret().to_owned() }));
            self.token = token;
        }
    }

    /// The reason for which the transport accepts no more: the status that the server sent, if it arrives in time.
    pub(crate) async fn failure(&mut self) -> Error {
        let until = Instant::now() + FAILURE_TIMEOUT;
        loop {
            match timeout_at(until, self.next()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Err(error)) => return error,
                Ok(Ok(None)) | Err(_) => return Error::broken("the stream takes no more"),
            }
        }
    }

    /// Ends this side: the server sends its last answers, releases what it leased to this stream, and ends its side.
    /// Returns `false` if the transport accepts no more.
    pub(crate) fn half_close(&mut self) -> bool {
        self.requests.take().is_some_and(|requests| requests.try_send(None).is_ok())
    }

    pub(crate) fn is_half_closed(&self) -> bool {
        self.requests.is_none()
    }
}

async fn receive<P: Protocol>(
    responses: &mut Streaming<P::Response>,
) -> Result<Option<P::ServerFrame>, Error> {
    match responses.message().await?.map(P::frame) {
        None => Ok(None),
        Some(Some(frame)) => Ok(Some(frame)),
        Some(None) => Err(Error::Protocol("an empty frame; the server may be newer than this client")),
    }
}
