//! Grants: what a token allows its bearer, one action on one name pattern each.

mod action;
mod grant;

pub use action::{Action, UnknownAction};
pub(crate) use grant::QueuesGranted;
pub use grant::{Grant, Grants, ScopeError};
