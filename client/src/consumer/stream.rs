use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use posthouse_proto::v1::{
    self, ConsumeRequest, ConsumeResponse, consume_request as request, consume_response as response,
    consumer_client::ConsumerClient,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_stream::Stream;
use tonic::Streaming;
use tracing::Instrument as _;

use crate::{
    connect::{Connection, MAX_FRAME_BYTES},
    context::Context,
    credentials::Token,
    error::{ConnectError, Error, Refusal},
    time,
};

const PROTOCOL_VERSION: u32 = 1;
const FAILURE_TIMEOUT: Duration = Duration::from_secs(1);
/// Unanswered settle and extend frames are few and credits are bounded, so that this is never full while the transport
/// moves.
const FRAMES_QUEUED: usize = 64;

/// One open stream, on a connection of its own.
#[derive(Debug)]
pub(super) struct ConsumeStream {
    /// `None` when our side is closed.
    requests: Option<mpsc::Sender<Option<ConsumeRequest>>>,
    responses: Streaming<ConsumeResponse>,
    token: Token,
    pub(super) opened: v1::ConsumeOpened,
    _connection: Connection,
}

/// The frames that go out. The stream ends when it is told so, not when the sender is gone: the server would take that
/// for a clean end and release the leases that the next stream is to take up. It ends with its connection.
struct Frames(mpsc::Receiver<Option<ConsumeRequest>>);

impl Stream for Frames {
    type Item = ConsumeRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<ConsumeRequest>> {
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(frame)) => Poll::Ready(frame),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// What a stream is opened with.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) context: Context,
    pub(super) queue: String,
    pub(super) subscription: String,
    pub(super) session_id: [u8; 16],
    pub(super) lease_duration: Option<Duration>,
    pub(super) open_timeout: Duration,
    /// The uid of the queue that the first stream was opened on, once it is.
    pub(super) queue_uid: String,
}

impl Session {
    /// Whether a stream has been opened on the queue that the session began on, as far as is known.
    fn is_on(&self, queue_uid: &str) -> bool {
        self.queue_uid.is_empty() || queue_uid.is_empty() || self.queue_uid == queue_uid
    }
}

impl ConsumeStream {
    pub(super) async fn open(
        session: &Session,
        credit: v1::Credit,
        hint: Option<&str>,
    ) -> Result<Self, Error> {
        let span = tracing::debug_span!("posthouse.open_consume_stream", queue = session.queue);
        timeout(session.open_timeout, Self::try_open(session, credit, hint).instrument(span))
            .await
            .unwrap_or(Err(Error::Connect(ConnectError::TimedOut(session.open_timeout))))
    }

    async fn try_open(session: &Session, credit: v1::Credit, hint: Option<&str>) -> Result<Self, Error> {
        let connection = Connection::open(&session.context, hint).await?;
        let token = session.context.token().await?;
        let (requests, frames) = mpsc::channel(FRAMES_QUEUED);
        let open = request::Frame::Open(v1::OpenConsume {
            protocol_version: PROTOCOL_VERSION,
            queue: session.queue.clone(),
            subscription: session.subscription.clone(),
            session_id: session.session_id.to_vec().into(),
            lease_duration: session.lease_duration.map(time::wire),
            credit: Some(credit),
        });
        // The channel is new and empty.
        let _ = requests.try_send(Some(ConsumeRequest { frame: Some(open) }));
        let mut client = ConsumerClient::new(connection.channel()).max_decoding_message_size(MAX_FRAME_BYTES);
        let opening = client.consume(token.request(Frames(frames))).await;
        let responses = opening.map_err(|status| session.context.refusal(&token, status))?.into_inner();
        let opened = v1::ConsumeOpened::default();
        let mut stream = Self { requests: Some(requests), responses, token, opened, _connection: connection };
        match stream.next().await? {
            Some(response::Frame::Opened(opened)) if opened.protocol_version == PROTOCOL_VERSION => {
                if !session.is_on(&opened.queue_uid) {
                    // What this stream is leased of the other queue goes back.
                    stream.half_close();
                    stream.failure().await;
                    return Err(Refusal::queue_deleted().into());
                }
                stream.opened = opened;
                Ok(stream)
            }
            Some(response::Frame::Drain(_)) | None => Err(Error::Connect(ConnectError::Broken(
                "the server ended the stream before it was open".into(),
            ))),
            Some(_) => Err(Error::Protocol("the stream's first answer does not open it")),
        }
    }

    /// The next frame; `None`: the server has ended the stream in order. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Option<response::Frame>, Error> {
        match self.responses.message().await? {
            None => Ok(None),
            Some(ConsumeResponse { frame: Some(frame) }) => Ok(Some(frame)),
            Some(_) => Err(Error::Protocol("an empty frame; the server may be newer than this client")),
        }
    }

    /// `false`: the transport takes no more, the stream is breaking.
    pub(super) fn send(&self, frame: request::Frame) -> bool {
        let frame = ConsumeRequest { frame: Some(frame) };
        self.requests.as_ref().is_some_and(|requests| requests.try_send(Some(frame)).is_ok())
    }

    /// Sends the token if there is another than the stream knows.
    pub(super) async fn refresh_token(&mut self, context: &Context) {
        if let Some(token) = context.newest_token().await
            && token != self.token
        {
            let refresh = v1::RefreshToken { token: token.secret().to_owned() };
            self.send(request::Frame::RefreshToken(refresh));
            self.token = token;
        }
    }

    /// Why the transport takes no more: the server's last word, if it comes.
    pub(super) async fn failure(&mut self) -> Error {
        let until = Instant::now() + FAILURE_TIMEOUT;
        loop {
            match timeout_at(until, self.next()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Err(error)) => return error,
                Ok(Ok(None)) | Err(_) => {
                    return Error::Connect(ConnectError::Broken("the stream takes no more".into()));
                }
            }
        }
    }

    /// Ends our side: the server answers what it has, releases our leases and ends its own.
    /// `false`: the transport takes no more.
    pub(super) fn half_close(&mut self) -> bool {
        self.requests.take().is_some_and(|requests| requests.try_send(None).is_ok())
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.requests.is_none()
    }
}
