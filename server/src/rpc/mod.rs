//! The gRPC services: requests in, answers out.
//!
//! A call passes the `layers` and reaches the handler of its service in `publish`, `consume` or `admin`. The handler
//! makes an engine command of the request and an answer of the command's outcome. The two streams run as tasks of
//! `stream`. `wire` translates values, errors and deliveries between the engine's types and those of the schema.

mod access_record;
mod admin;
mod consume;
mod context;
mod detached;
mod health;
mod layers;
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
    auth::CallLimits,
    changes::RecordChanges,
    envelope::{Envelope, Explain, explain},
    intake::Intake,
    tenant_slot::AcquireTenantSlot,
    watch::{Watch, WatchLayer},
};
pub(crate) use publish::service::PublisherService;
