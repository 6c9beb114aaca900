use posthouse_proto::v1;

/// Which dead letters to redrive, and where to. The default is the oldest 1,000, each to the queue that it came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redrive {
    pub(super) message_ids: Vec<String>,
    pub(super) max_messages: u32,
    pub(super) target: String,
    pub(super) page_token: String,
}

/// The result of a redrive.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Redriven {
    /// How many were moved, or made ready where they are parked.
    pub redriven: u64,
    /// How many were left as they are; [`Redriven::skipped_by_reason`] says why.
    pub skipped: u64,
    /// Whether dead letters are left for another call; see [`Redrive::after`].
    pub more: bool,
    /// The number of skipped dead letters by reason.
    pub skipped_by_reason: Vec<(SkipReason, u64)>,
    /// The ids of the first 100 skipped dead letters, with the reasons.
    pub skipped_dead_letters: Vec<(String, SkipReason)>,
    /// Requested ids that this call did not reach.
    pub not_reached: Vec<String>,
    pub(super) next_page_token: String,
}

/// The reason for which a dead letter was skipped.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum SkipReason {
    /// It is leased to a consumer.
    Leased,
    /// It is not a dead letter, or it is already in the target queue.
    NotDeadLetter,
    /// The queue that it came from does not exist.
    QueueGone,
    /// The caller has no grant for the queue that it came from, whether or not it exists.
    GrantMissing,
    /// A reason that this version does not know.
    Unknown,
}

impl Redrive {
    /// The oldest 1,000, each to the queue that it came from.
    pub fn new() -> Self {
        Self::default()
    }

    /// Redrives only the dead letters with these ids; at most 1,000.
    pub fn only<I: Into<String>>(mut self, message_ids: impl IntoIterator<Item = I>) -> Self {
        self.message_ids = message_ids.into_iter().map(Into::into).collect();
        self
    }

    /// Redrives at most this many dead letters: 1 to 1,000; 1,000 if not set.
    pub fn max_messages(mut self, messages: u32) -> Self {
        self.max_messages = messages;
        self
    }

    /// Former name of [`Redrive::max_messages`].
    #[deprecated(since = "0.1.0", note = "renamed to `max_messages`")]
    pub fn at_most(self, messages: u32) -> Self {
        self.max_messages(messages)
    }

    /// Moves the dead letters to this queue of the same department, wherever they came from.
    pub fn to(mut self, queue: impl Into<String>) -> Self {
        self.target = queue.into();
        self
    }

    /// Returns the request for the dead letters that a call did not reach; `None` if it reached all.
    #[must_use]
    pub fn after(&self, done: &Redriven) -> Option<Self> {
        let more = !done.next_page_token.is_empty() || !done.not_reached.is_empty();
        let (message_ids, page_token) = (done.not_reached.clone(), done.next_page_token.clone());
        more.then(|| Self { message_ids, page_token, ..self.clone() })
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
            next_page_token: answer.next_page_token,
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
