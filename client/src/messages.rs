//! Where messages are, and dead letters.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use posthouse_proto::v1::{self, DeadLetterReason, messages_client::MessagesClient};

use crate::{
    consumer::{DeadLetterCause, DeadLetterOrigin},
    error::Error,
    name,
    request::{Requests, request_id},
    time,
};

/// Finds messages, and gives dead letters another chance. Names are `DEPARTMENT/QUEUE` or full resource names.
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
    requests: Arc<Requests>,
}

/// One message as the queue's default subscription sees it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MessageStatus {
    /// Its id.
    pub message_id: String,
    /// The full resource name of its queue.
    pub queue: String,
    /// Its position there.
    pub sequence: u64,
    /// Where it stands.
    pub state: MessageState,
    /// How long it is, from the answer on, until its lease ends or it may be delivered again: what the times in its state say by the
    /// server's wall clock. `None` in other states, and from older servers.
    pub time_left: Option<Duration>,
    /// When it was published there; `None` when it is settled and already trimmed away, as its size is 0 then.
    pub publish_time: Option<SystemTime>,
    /// The size of its payload.
    pub payload_bytes: u32,
    /// Deliveries that failed (nacked, or the lease ran out).
    pub failed_attempts: u32,
    /// Of a dead letter that was moved here: why, and where it came from.
    pub origin: Option<DeadLetterOrigin>,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MessageState {
    /// It may be delivered now.
    Ready,
    /// A consumer has it.
    Leased {
        /// When the lease ends unless it is extended or settled, by the server's wall clock.
        deadline: SystemTime,
    },
    /// It waits for a retry.
    Waiting {
        /// When it may be delivered again, by the server's wall clock; `None`: it waits for its dead-letter queue to exist.
        until: Option<SystemTime>,
    },
    /// A dead letter with nowhere to go.
    Parked(DeadLetterCause),
    /// Acked, moved to a dead-letter queue, or purged.
    Settled,
    /// A state that this version does not know.
    Unknown,
}

/// The dead letters of a queue, page by page.
#[derive(Debug)]
pub struct DeadLetters {
    requests: Arc<Requests>,
    /// `None` after the last page.
    request: Option<v1::ListDeadLettersRequest>,
}

/// Which dead letters get another chance, and where they go; as it is: the oldest thousand, to where they came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redrive {
    message_ids: Vec<String>,
    at_most: u32,
    target: String,
    place: String,
}

/// What became of dead letters.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Redriven {
    /// Moved, or made ready where they are.
    pub redriven: u64,
    /// Not touched, for the reasons below.
    pub skipped: u64,
    /// There is more to come to: see [`Redrive::after`].
    pub more: bool,
    /// How many were skipped, by the reason.
    pub skipped_by_reason: Vec<(SkipReason, u64)>,
    /// The first of those that were skipped: their ids, and why. At most 100.
    pub skipped_dead_letters: Vec<(String, SkipReason)>,
    /// Of the ids that were asked for, those that this call did not come to.
    pub not_reached: Vec<String>,
    place: String,
}

/// Why a dead letter stays where it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum SkipReason {
    /// A consumer has it.
    Leased,
    /// It is no dead letter, or not any more, or it stands already where it was to go.
    NotDeadLetter,
    /// The queue it came from does not exist any more.
    QueueGone,
    /// The caller has no right on the queue it came from, whether or not that exists.
    GrantMissing,
    /// A reason that this version does not know.
    Unknown,
}

impl Messages {
    pub(crate) const fn new(requests: Arc<Requests>) -> Self {
        Self { requests }
    }

    /// Where the message of this id is. A message that never was is refused like one that the caller has no grant for.
    pub async fn find(&self, message_id: &str) -> Result<MessageStatus, Error> {
        let (message_id, subscription) = (message_id.to_owned(), String::new());
        let request = v1::FindMessageRequest { message_id, subscription };
        let status = self.requests.call(|channel, token| {
            let request = token.request(request.clone());
            async move { MessagesClient::new(channel).find_message(request).await }
        });
        Ok(status.await?.into())
    }

    /// The dead letters of a queue, oldest first: those that were moved here, and those that are parked here.
    pub fn dead_letters(&self, queue: &str) -> Result<DeadLetters, Error> {
        let request = v1::ListDeadLettersRequest {
            queue: self.name(queue)?,
            page_size: 1000,
            ..v1::ListDeadLettersRequest::default()
        };
        Ok(DeadLetters { requests: Arc::clone(&self.requests), request: Some(request) })
    }

    /// The dead letter that a message became, if it is in this queue and not settled yet.
    pub async fn dead_letter_of(
        &self,
        queue: &str,
        message_id: &str,
    ) -> Result<Option<MessageStatus>, Error> {
        let mut pages = self.dead_letters(queue)?;
        if let Some(request) = &mut pages.request {
            message_id.clone_into(&mut request.source_message_id);
        }
        while let Some(page) = pages.next().await? {
            if let Some(found) = page.into_iter().next() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Gives dead letters of a queue another chance. Each moves whole or not at all, durably, before the answer. One call
    /// comes to a bounded number of them; [`Redrive::after`] goes on.
    ///
    /// A call that was cut off is made again, and what it had redriven before is counted, and not moved twice.
    pub async fn redrive(&self, queue: &str, redrive: &Redrive) -> Result<Redriven, Error> {
        let target = Some(redrive.target.as_str()).filter(|target| !target.is_empty());
        let request = v1::RedriveDeadLettersRequest {
            queue: self.name(queue)?,
            message_ids: redrive.message_ids.clone(),
            max_messages: redrive.at_most,
            target_queue: target.map(|target| self.name(target)).transpose()?.unwrap_or_default(),
            request_id: request_id(),
            page_token: redrive.place.clone(),
        };
        let redriven = self.requests.call(|channel, token| {
            let request = token.request(request.clone());
            async move { MessagesClient::new(channel).redrive_dead_letters(request).await }
        });
        let redriven = Redriven::from(redriven.await?);
        if !redriven.place.is_empty() && redriven.place == redrive.place {
            return Err(Error::Protocol("a redrive does not end"));
        }
        Ok(redriven)
    }

    fn name(&self, name: &str) -> Result<String, Error> {
        Ok(name::queue(name, self.requests.context().tenant())?)
    }
}

impl DeadLetters {
    /// The next page; `None` after the last. A page may be empty although others follow.
    pub async fn next(&mut self) -> Result<Option<Vec<MessageStatus>>, Error> {
        let Some(request) = self.request.clone() else { return Ok(None) };
        let page = self.requests.call(|channel, token| {
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

impl Redrive {
    /// The oldest thousand, each to the queue it came from.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those of these ids; at most 1,000.
    pub fn only<I: Into<String>>(mut self, message_ids: impl IntoIterator<Item = I>) -> Self {
        self.message_ids = message_ids.into_iter().map(Into::into).collect();
        self
    }

    /// At most so many; 1,000 is the most that one call takes.
    pub fn at_most(mut self, messages: u32) -> Self {
        self.at_most = messages;
        self
    }

    /// To this queue of the same department, wherever they came from.
    pub fn to(mut self, queue: impl Into<String>) -> Self {
        self.target = queue.into();
        self
    }

    /// The same for what a call did not come to, behind all that it did; `None`: that was all.
    #[must_use]
    pub fn after(&self, done: &Redriven) -> Option<Self> {
        let more = !done.place.is_empty() || !done.not_reached.is_empty();
        let (message_ids, place) = (done.not_reached.clone(), done.place.clone());
        more.then(|| Self { message_ids, place, ..self.clone() })
    }
}

impl From<v1::RedriveDeadLettersResponse> for Redriven {
    fn from(answer: v1::RedriveDeadLettersResponse) -> Self {
        let by_reason = answer.skipped_by_reason.iter();
        let by_reason = by_reason.map(|skipped| (skip_reason(skipped.reason()), skipped.count)).collect();
        let letters = answer.skipped_dead_letters.into_iter();
        let letters = letters.map(|skipped| (skipped.message_id.clone(), skip_reason(skipped.reason())));
        Self {
            redriven: answer.redriven,
            skipped: answer.skipped,
            more: answer.more,
            skipped_by_reason: by_reason,
            skipped_dead_letters: letters.collect(),
            not_reached: answer.not_reached,
            place: answer.next_page_token,
        }
    }
}

const fn skip_reason(reason: v1::SkipReason) -> SkipReason {
    match reason {
        v1::SkipReason::Unspecified => SkipReason::Unknown,
        v1::SkipReason::Leased => SkipReason::Leased,
        v1::SkipReason::NotDeadLetter => SkipReason::NotDeadLetter,
        v1::SkipReason::QueueGone => SkipReason::QueueGone,
        v1::SkipReason::GrantMissing => SkipReason::GrantMissing,
    }
}

impl From<v1::MessageStatus> for MessageStatus {
    fn from(status: v1::MessageStatus) -> Self {
        let state = match status.state() {
            v1::MessageState::Unspecified => MessageState::Unknown,
            v1::MessageState::Ready => MessageState::Ready,
            v1::MessageState::Leased => {
                MessageState::Leased { deadline: time::moment(status.lease_deadline) }
            }
            v1::MessageState::Waiting => MessageState::Waiting { until: moment(status.retry_time) },
            v1::MessageState::Parked => MessageState::Parked(cause(status.parked_reason())),
            v1::MessageState::Settled => MessageState::Settled,
        };
        Self {
            state,
            time_left: time::duration(status.lease_time_left.or(status.retry_time_left)),
            message_id: status.message_id,
            queue: status.queue,
            sequence: status.sequence,
            publish_time: moment(status.publish_time),
            payload_bytes: status.payload_bytes,
            failed_attempts: status.failed_attempts,
            origin: status.dead_letter.map(origin),
        }
    }
}

fn moment(timestamp: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    timestamp.map(|timestamp| time::moment(Some(timestamp)))
}

const fn cause(reason: DeadLetterReason) -> DeadLetterCause {
    match reason {
        DeadLetterReason::MaxAttempts => DeadLetterCause::MaxAttempts,
        DeadLetterReason::Consumer => DeadLetterCause::Consumer,
        DeadLetterReason::Unspecified => DeadLetterCause::Unknown,
    }
}

fn origin(origin: v1::DeadLetter) -> DeadLetterOrigin {
    DeadLetterOrigin {
        reason: cause(origin.reason()),
        queue: origin.source_queue,
        subscription: origin.source_subscription,
        message_id: origin.source_message_id,
        sequence: origin.source_sequence,
        publish_time: time::moment(origin.source_publish_time),
        attempts: origin.attempts,
    }
}
