//! The calls: wire in, wire out. Every method is in the policy table; every error becomes a status in `wire`.
//!
//! A call passes the `layers` and reaches the handler of its service in `publish`, `consume` or `admin`. The two
//! streams run as tasks of `stream`. `wire` translates between the wire's types and the engine's.

mod admin;
mod consume;
mod context;
mod detached;
mod health;
mod layers;
mod access_record;
mod publish;
mod request;
mod stream;
pub(crate) mod wire;

pub use layers::auth::{Auth, AuthLayer};
pub use wire::status::ApiError;

pub(crate) use admin::{messages::MessagesService, queues::QueuesService};
pub(crate) use consume::service::ConsumerService;
pub(crate) use context::Context;
pub(crate) use health::health;
pub(crate) use layers::{
    auth::Calls,
    changes::Changes,
    envelope::{Envelope, Explain, explain},
    intake::Intake,
    tenant_slot::Placed,
    watch::{Watch, WatchLayer},
};
pub(crate) use publish::service::PublisherService;
