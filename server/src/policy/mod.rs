//! Policy: what a principal may do to which resource.
//!
//! Rights are only ever allowed, never denied: a token carries grants, and a grant is one action on one pattern. The
//! table in [`methods`] is the only place that says what each RPC needs. The layer in front of the services makes an
//! [`Admission`] to one method; only from it comes a [`Permit`], which is typed by its check. A handler that needs a
//! permit cannot be reached without one, and what it delivers later is checked again by [`Permit::check_again`].

mod admission;
pub mod methods;
mod permit;

pub use admission::Admission;
pub(crate) use admission::Admitted;
pub use methods::{Asks, Check, Kind, Method, Rpc};
pub use permit::{Denied, Filter, Permit, Resource};
