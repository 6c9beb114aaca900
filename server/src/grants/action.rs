//! The actions that a grant can name.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// What a grant allows. None implies another: to consume is not to manage, to manage is not to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Publish messages to a queue.
    Publish,
    /// Lease and settle messages of a subscription.
    Consume,
    /// Create, change, purge and delete queues.
    Manage,
    /// List and redrive dead letters.
    DeadLetter,
    /// Read definitions and counts.
    Stats,
}

/// The text names no action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("unknown action")]
pub struct UnknownAction;

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] = [Self::Publish, Self::Consume, Self::Manage, Self::DeadLetter, Self::Stats];

    /// Words that earlier versions took for actions. They open no method: a token may still carry them, and gains
    /// nothing.
    pub const WITHOUT_EFFECT: [&'static str; 5] =
        ["browse", "scale", "audit.read", "token.issue", "token.revoke"];

    /// The word in a scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Manage => "manage",
            Self::DeadLetter => "dlq",
            Self::Stats => "stats",
        }
    }

    /// Whether a grant of this action may name a subscription.
    pub fn names_subscriptions(self) -> bool {
        matches!(self, Self::Consume | Self::DeadLetter | Self::Stats)
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(UnknownAction)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
