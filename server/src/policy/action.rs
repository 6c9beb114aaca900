//! The actions that a grant can name.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// What a grant allows. None implies another: to consume is not to browse, to manage is not to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Publish messages to a queue.
    Publish,
    /// Lease and settle messages of a subscription.
    Consume,
    /// Read messages without leasing them.
    Browse,
    /// Create, change, purge and delete queues.
    Manage,
    /// Read and redrive dead letters.
    DeadLetter,
    /// Read definitions and counts.
    Stats,
    /// Read what an autoscaler needs.
    Scale,
    /// Read the audit trail.
    AuditRead,
    /// Issue tokens.
    TokenIssue,
    /// Revoke tokens.
    TokenRevoke,
}

/// The text names no action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("unknown action")]
pub struct UnknownAction;

impl Action {
    /// Every action.
    pub const ALL: [Self; 10] = [
        Self::Publish,
        Self::Consume,
        Self::Browse,
        Self::Manage,
        Self::DeadLetter,
        Self::Stats,
        Self::Scale,
        Self::AuditRead,
        Self::TokenIssue,
        Self::TokenRevoke,
    ];

    /// The word in a scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Browse => "browse",
            Self::Manage => "manage",
            Self::DeadLetter => "dlq",
            Self::Stats => "stats",
            Self::Scale => "scale",
            Self::AuditRead => "audit.read",
            Self::TokenIssue => "token.issue",
            Self::TokenRevoke => "token.revoke",
        }
    }

    /// Whether a grant of this action may name a subscription.
    pub fn names_subscriptions(self) -> bool {
        matches!(self, Self::Consume | Self::Browse | Self::DeadLetter | Self::Stats | Self::Scale)
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
