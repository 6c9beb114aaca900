//! Calls with one request and one answer, over one shared connection.

use std::{future::Future, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};
use tonic::{Response, Status, transport::Channel};
use tracing::Instrument as _;

use crate::{
    connect::connect,
    context::Context,
    credentials::Token,
    error::{ConnectError, Error, ErrorKind},
};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_CALL_TIMEOUT: Duration = Duration::from_secs(3600);
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct UnaryCalls {
    context: Context,
    call_timeout: Duration,
    channel: Mutex<Channel>,
}

/// What every request of a call carries.
#[derive(Debug)]
pub(crate) struct CallContext {
    token: Token,
    time_left: Duration,
}

impl CallContext {
    /// A request with the token, the deadline and the current trace context.
    pub(crate) fn request<T>(&self, body: T) -> tonic::Request<T> {
        let mut request = self.token.request(body);
        request.set_timeout(self.time_left);
        request
    }
}

impl UnaryCalls {
    pub(crate) async fn connect(context: Context, call_timeout: Option<Duration>) -> Result<Self, Error> {
        // Read only for its errors, so that a missing token is reported now and not by the first call.
        context.token().await?;
        let channel = connect(&context).await?;
        let call_timeout = call_timeout.unwrap_or(CALL_TIMEOUT).min(LONGEST_CALL_TIMEOUT);
        Ok(Self { context, call_timeout, channel: Mutex::new(channel) })
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Makes a call that is safe to repeat. It is repeated when the connection breaks, the server asks for it, or the
    /// credentials were renewed. The time limit is for all attempts together.
    pub(crate) async fn call<T, F>(&self, make: impl Fn(Channel, CallContext) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let span = tracing::debug_span!("posthouse.call", server.address = self.context.endpoint());
        let deadline = Instant::now() + self.call_timeout;
        let calling = self.try_call(make, deadline).instrument(span);
        match timeout_at(deadline, calling).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::timed_out(self.call_timeout)),
        }
    }

    async fn try_call<T, F>(
        &self,
        make: impl Fn(Channel, CallContext) -> F,
        deadline: Instant,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut attempt = 1;
        loop {
            let token = self.context.token().await?;
            let channel = self.channel.lock().await.clone();
            let time_left = deadline.saturating_duration_since(Instant::now());
            let error = match make(channel, CallContext { token: token.clone(), time_left }).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => Error::from(status),
            };
            let again = match &error {
                Error::Connect(error) => matches!(error, ConnectError::Broken(_)),
                Error::Refused(_) => error.is_retryable() || error.kind() == ErrorKind::Unauthenticated,
                _ => false,
            };
            let pause = error.retry_after().unwrap_or(PAUSE).max(PAUSE);
            if !again || attempt == ATTEMPTS || Instant::now() + pause >= deadline {
                return Err(error);
            }
            attempt += 1;
            tracing::debug!(%error, "calling again");
            sleep(pause).await;
            if error.kind() == ErrorKind::Unauthenticated {
                self.context.mark_refused(&token);
                // The token may be bound to a certificate that was renewed after this connection was made.
                *self.channel.lock().await = connect(&self.context).await?;
            }
        }
    }
}

/// A random UUID that marks the attempts of one change as the same.
pub(crate) fn request_id() -> String {
    let mut id = rand::random::<u128>();
    id = (id & !(0xf << 76)) | (0x4 << 76);
    id = (id & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    #[test]
    fn request_ids_are_random_uuids() {
        let id = super::request_id();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, super::request_id());
    }
}
