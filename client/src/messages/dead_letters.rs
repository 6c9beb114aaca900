use std::sync::Arc;

use posthouse_proto::v1::{self, messages_client::MessagesClient};

use super::MessageStatus;
use crate::{error::Error, unary::UnaryCalls};

/// The dead letters of a queue, in pages.
#[derive(Debug)]
pub struct DeadLetters {
    calls: Arc<UnaryCalls>,
    /// `None` after the last page.
    request: Option<v1::ListDeadLettersRequest>,
}

impl DeadLetters {
    /// Lists all dead letters, or only that of the message with this id in its source queue.
    pub(super) fn new(calls: Arc<UnaryCalls>, queue: String, source_message_id: String) -> Self {
        let request = v1::ListDeadLettersRequest {
            queue,
            page_size: 1000,
            source_message_id,
            ..v1::ListDeadLettersRequest::default()
        };
        Self { calls, request: Some(request) }
    }

    /// Reads the next page; `None` after the last. A page may be empty although others follow.
    pub async fn next(&mut self) -> Result<Option<Vec<MessageStatus>>, Error> {
        let Some(request) = self.request.clone() else { return Ok(None) };
        let page = self.calls.call(|channel, token| {
            let request = token.request(request.clone());
            async move { MessagesClient::new(channel).list_dead_letters(request).await }
        });
        let v1::ListDeadLettersResponse { dead_letters, next_page_token } = page.await?;
        if !next_page_token.is_empty() && next_page_token == request.page_token {
            return Err(Error::Protocol("a list of dead letters does not end"));
        }
        let more = !next_page_token.is_empty();
        self.request = more.then_some(v1::ListDeadLettersRequest { page_token: next_page_token, ..request });
        Ok(Some(dead_letters.into_iter().map(MessageStatus::from).collect()))
    }
}
