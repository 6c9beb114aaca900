use std::time::Duration;

use posthouse_proto::v1::{
    self, PublishStreamRequest, PublishStreamResponse, publish_stream_request as request,
    publish_stream_response as response, publisher_client::PublisherClient,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::Instrument as _;

use crate::{
    connect::{Connection, MAX_FRAME_BYTES},
    context::Context,
    credentials::Token,
    error::{ConnectError, Error, Refusal},
};

const PROTOCOL_VERSION: u32 = 1;
const FAILURE_TIMEOUT: Duration = Duration::from_secs(1);

/// One open stream, on a connection of its own.
#[derive(Debug)]
pub(super) struct PublishStream {
    /// `None` when our side is closed.
    requests: Option<mpsc::Sender<PublishStreamRequest>>,
    responses: Streaming<PublishStreamResponse>,
    token: Token,
    pub(super) opened: response::Opened,
    _connection: Connection,
}

/// What a stream is opened with.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) context: Context,
    pub(super) queue: String,
    pub(super) producer_id: [u8; 16],
    pub(super) epoch: u64,
    /// How many frames may be on their way to the transport; the driver never has more.
    pub(super) capacity: usize,
    pub(super) tell_message_ids: bool,
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

impl PublishStream {
    pub(super) async fn open(session: &Session, hint: Option<&str>) -> Result<Self, Error> {
        let span = tracing::debug_span!("posthouse.open_publish_stream", queue = session.queue);
        timeout(session.open_timeout, Self::try_open(session, hint).instrument(span))
            .await
            .unwrap_or(Err(Error::Connect(ConnectError::TimedOut(session.open_timeout))))
    }

    async fn try_open(session: &Session, hint: Option<&str>) -> Result<Self, Error> {
        let connection = Connection::open(&session.context, hint).await?;
        let token = session.context.token().await?;
        let (requests, frames) = mpsc::channel(session.capacity);
        let producer =
            request::Producer { producer_id: session.producer_id.to_vec().into(), epoch: session.epoch };
        let open = request::Frame::Open(request::Open {
            protocol_version: PROTOCOL_VERSION,
            queue: session.queue.clone(),
            producer: Some(producer),
            tell_message_ids: session.tell_message_ids,
        });
        // The channel is new and empty.
        let _ = requests.try_send(PublishStreamRequest { frame: Some(open) });
        let mut client =
            PublisherClient::new(connection.channel()).max_decoding_message_size(MAX_FRAME_BYTES);
        let opening = client.publish_stream(token.request(ReceiverStream::new(frames))).await;
        let responses = opening.map_err(|status| session.context.refusal(&token, status))?.into_inner();
        let opened = response::Opened::default();
        let mut stream = Self { requests: Some(requests), responses, token, opened, _connection: connection };
        match stream.next().await? {
            Some(response::Frame::Opened(opened)) if opened.protocol_version == PROTOCOL_VERSION => {
                if !session.is_on(&opened.queue_uid) {
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
            Some(PublishStreamResponse { frame: Some(frame) }) => Ok(Some(frame)),
            Some(_) => Err(Error::Protocol("an empty frame; the server may be newer than this client")),
        }
    }

    /// `false`: the transport takes no more, the stream is breaking.
    pub(super) fn send(&self, batch: request::Batch) -> bool {
        self.send_frame(request::Frame::Batch(batch))
    }

    /// Sends the token if there is another than the stream knows.
    pub(super) async fn refresh_token(&mut self, context: &Context) {
        if let Some(token) = context.newest_token().await
            && token != self.token
        {
            let refresh = v1::RefreshToken { token: token.secret().to_owned() };
            self.send_frame(request::Frame::RefreshToken(refresh));
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

    /// Ends our side: the server answers what it has and ends its own.
    pub(super) fn half_close(&mut self) {
        self.requests = None;
    }

    fn send_frame(&self, frame: request::Frame) -> bool {
        let frame = PublishStreamRequest { frame: Some(frame) };
        self.requests.as_ref().is_some_and(|requests| requests.try_send(frame).is_ok())
    }
}
