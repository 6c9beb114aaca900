//! Finding messages, and listing and redriving dead letters.

mod dead_letters;
mod redrive;
mod status;

use std::sync::Arc;

use posthouse_proto::v1::{self, messages_client::MessagesClient};

pub use dead_letters::DeadLetters;
pub use redrive::{Redrive, Redriven, SkipReason};
pub use status::{MessageState, MessageStatus};

use crate::{
    error::Error,
    name,
    unary::{UnaryCalls, request_id},
};

/// Finds messages, and lists and redrives dead letters. Names of queues are `DEPARTMENT/QUEUE` or full resource names.
///
/// ```no_run
/// # async fn example(client: posthouse_client::Client) -> Result<(), posthouse_client::Error> {
/// use posthouse_client::Redrive;
///
/// let messages = client.messages();
/// let mut pages = messages.dead_letters("identity-cards/failed")?;
/// while let Some(page) = pages.next().await? {
///     for letter in page {
///         println!("{} came from {:?}", letter.message_id, letter.origin.map(|origin| origin.queue));
///     }
/// }
/// let mut redrive = Some(Redrive::new());
/// while let Some(next) = redrive {
///     let done = messages.redrive("identity-cards/failed", &next).await?;
///     println!("{} have another chance, {} stay", done.redriven, done.skipped);
///     redrive = next.after(&done);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Messages {
    calls: Arc<UnaryCalls>,
}

impl Messages {
    pub(crate) const fn new(calls: Arc<UnaryCalls>) -> Self {
        Self { calls }
    }

    /// Returns the state of a message. Fails with the same error for an unknown id and for a queue that the caller has
    /// no grant for.
    pub async fn find(&self, message_id: &str) -> Result<MessageStatus, Error> {
        let (message_id, subscription) = (message_id.to_owned(), String::new());
        let request = v1::FindMessageRequest { message_id, subscription };
        let status = self.calls.call(|channel, token| {
            let request = token.request(request.clone());
            async move { MessagesClient::new(channel).find_message(request).await }
        });
        Ok(status.await?.into())
    }

    /// Lists the dead letters of a queue, oldest first: those that were moved to it, and those that are parked in it.
    pub fn dead_letters(&self, queue: &str) -> Result<DeadLetters, Error> {
        Ok(DeadLetters::new(Arc::clone(&self.calls), self.name(queue)?, String::new()))
    }

    /// Returns the dead letter that a message became; `None` if it is not in this queue or is already settled.
    pub async fn dead_letter_of(
        &self,
        queue: &str,
        message_id: &str,
    ) -> Result<Option<MessageStatus>, Error> {
        let (calls, queue) = (Arc::clone(&self.calls), self.name(queue)?);
        let mut pages = DeadLetters::new(calls, queue, message_id.to_owned());
        while let Some(page) = pages.next().await? {
            if let Some(found) = page.into_iter().next() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Moves dead letters back to their queues, or makes them ready where they are parked. Each moves as a whole or not
    /// at all, and is on disk before the answer. One call handles a bounded number; [`Redrive::after`] returns the next
    /// call.
    ///
    /// If the connection breaks, the call is repeated. What it had redriven before is counted, and does not move twice.
    pub async fn redrive(&self, queue: &str, redrive: &Redrive) -> Result<Redriven, Error> {
        let target = Some(redrive.target.as_str()).filter(|target| !target.is_empty());
        let request = v1::RedriveDeadLettersRequest {
            queue: self.name(queue)?,
            message_ids: redrive.message_ids.clone(),
            max_messages: redrive.max_messages,
            target_queue: target.map(|target| self.name(target)).transpose()?.unwrap_or_default(),
            request_id: request_id(),
            page_token: redrive.page_token.clone(),
        };
        let redriven = self.calls.call(|channel, token| {
            let request = token.request(request.clone());
            async move { MessagesClient::new(channel).redrive_dead_letters(request).await }
        });
        let redriven = Redriven::from(redriven.await?);
        if !redriven.next_page_token.is_empty() && redriven.next_page_token == redrive.page_token {
            return Err(Error::Protocol("a redrive does not end"));
        }
        Ok(redriven)
    }

    fn name(&self, name: &str) -> Result<String, Error> {
        Ok(name::queue(name, self.calls.context().tenant())?)
    }
}
