//! A bidirectional call on a connection of its own: what the streams of publishers and consumers have in common.

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

/// What the streams of one publisher or consumer are opened on.
#[derive(Clone, Debug)]
pub(crate) struct StreamTarget {
    pub(crate) context: Context,
    pub(crate) queue: String,
    pub(crate) open_timeout: Duration,
    /// The uid of the queue that the first stream was opened on, once it is.
    pub(crate) queue_uid: String,
}

impl StreamTarget {
    /// Whether a stream has been opened on the queue that the first one was opened on, as far as is known.
    fn is(&self, queue_uid: &str) -> bool {
        self.queue_uid.is_empty() || queue_uid.is_empty() || self.queue_uid == queue_uid
    }
}

/// One open stream, on a connection of its own.
pub(crate) struct Stream<P: Protocol> {
    /// `None` when our side is closed.
    requests: Option<mpsc::Sender<Option<P::Request>>>,
    responses: Streaming<P::Response>,
    token: Token,
    pub(crate) opened: P::Opened,
    _connection: Connection,
}

impl<P: Protocol> Stream<P> {
    /// Connects, and opens the stream with this frame. No more than `capacity` frames may be on their way to the transport.
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
        if !target.is(&queue_uid) {
            // What this stream is leased of the other queue goes back.
            stream.half_close();
            stream.failure().await;
            return Err(Refusal::queue_deleted().into());
        }
        Ok(stream)
    }

    /// The next frame; `None`: the server has ended the stream in order. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Option<P::ServerFrame>, Error> {
        receive::<P>(&mut self.responses).await
    }

    /// `false`: the transport takes no more, the stream is breaking.
    pub(crate) fn send(&self, frame: P::ClientFrame) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.try_send(Some(P::request(frame))).is_ok())
    }

    /// Sends the token if there is another than the stream knows.
    pub(crate) async fn refresh_token(&mut self, context: &Context) {
        if let Some(token) = context.newest_token().await
            && token != self.token
        {
            self.send(P::refresh(v1::RefreshToken { token: token.secret().to_owned() }));
            self.token = token;
        }
    }

    /// Why the transport takes no more: the server's last word, if it comes.
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

    /// Ends our side: the server answers what it has, releases what it leased to this stream and ends its own.
    /// `false`: the transport takes no more.
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
