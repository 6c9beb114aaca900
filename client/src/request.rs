//! Calls with one request and one answer, over one connection that all of them share.

use std::{future::Future, time::Duration};

use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tonic::{Response, Status, transport::Channel};

use crate::{
    connect::connect,
    context::Context,
    error::{ConnectError, Error, ErrorKind},
    token::Token,
};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Requests {
    context: Context,
    channel: Mutex<Channel>,
}

impl Requests {
    pub(crate) async fn connect(context: Context) -> Result<Self, Error> {
        // Read for its errors only: a missing token is told now rather than by the first call.
        Token::read(context.token_file()).await?;
        let channel = connect(&context).await?;
        Ok(Self { context, channel: Mutex::new(channel) })
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Makes a call that may safely be made again: it is, when the connection breaks, the server asks for it, or
    /// the credentials were renewed meanwhile.
    pub(crate) async fn call<T, F>(&self, make: impl Fn(Channel, Token) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut attempt = 1;
        loop {
            let token = Token::read(self.context.token_file()).await?;
            let channel = self.channel.lock().await.clone();
            let error = match timeout(CALL_TIMEOUT, make(channel, token)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => Error::from(status),
                Err(_) => Error::Connect(ConnectError::TimedOut(CALL_TIMEOUT)),
            };
            let again = match &error {
                Error::Connect(error) => matches!(error, ConnectError::Broken(_)),
                Error::Refused(_) => error.is_retryable() || error.kind() == ErrorKind::Unauthenticated,
                _ => false,
            };
            if !again || attempt == ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
            tracing::debug!(%error, "calling again");
            sleep(PAUSE).await;
            if error.kind() == ErrorKind::Unauthenticated {
                // The token may be bound to a certificate that was renewed since this connection was made.
                *self.channel.lock().await = connect(&self.context).await?;
            }
        }
    }
}

/// Marks the attempts of one change as one: a random UUID.
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
