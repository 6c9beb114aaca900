use posthouse_proto::v1;

/// Which dead letters get another chance, and where they go; as it is: the oldest thousand, to where they came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redrive {
    pub(super) message_ids: Vec<String>,
    pub(super) max_messages: u32,
    pub(super) target: String,
    pub(super) page_token: String,
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
    pub(super) next_page_token: String,
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

    /// Redrives at most this many; 1,000 is the largest number for one call, and the default.
    pub fn max_messages(mut self, messages: u32) -> Self {
        self.max_messages = messages;
        self
    }

    /// Former name of [`Redrive::max_messages`].
    #[deprecated(since = "0.2.0", note = "renamed to `max_messages`")]
    pub fn at_most(self, messages: u32) -> Self {
        self.max_messages(messages)
    }

    /// To this queue of the same department, wherever they came from.
    pub fn to(mut self, queue: impl Into<String>) -> Self {
        self.target = queue.into();
        self
    }

    /// The same for what a call did not come to, behind all that it did; `None`: that was all.
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
