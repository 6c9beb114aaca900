//! Policy: what a principal may do to which resource.
//!
//! Rights are only ever allowed, never denied: a token carries grants, a grant is one action on one pattern, and
//! [`authorize`] is the only way to a [`Permit`]. A handler that needs a permit cannot be reached without one, and what
//! it delivers later is checked again by [`Permit::check_again`].

mod action;
mod grant;
mod permit;
pub mod table;

pub use action::{Action, UnknownAction};
pub use grant::{Grant, Grants, ScopeError};
pub use permit::{Denied, ListPermit, Permit, Resource, authorize, authorize_any, authorize_list};
