//! The calls: wire in, wire out. Every method is in the policy table; every error becomes a status in `status`.

mod auth;
mod changes;
mod settlements;
mod status;
mod watch;

mod consume;
mod consume_credit;
mod consume_deliver;
mod consume_end;
mod consume_record;
mod consume_requests;
mod consume_stream;
mod context;
pub(crate) mod convert;
mod deadline;
mod engine_errors;
mod envelope;
mod health;
mod intake;
mod lasting;
mod list_queues;
mod messages;
mod notes;
mod outgoing;
mod outlet;
mod publish;
mod publish_stream;
mod queue_settings;
mod queues;
mod receive;
mod redrive;
mod redrive_pick;
mod redrive_place;
mod refusals;
mod requests;
mod stream;
mod tenant_place;

pub(crate) use auth::Calls;
pub use auth::{Auth, AuthLayer};
pub use status::ApiError;

pub(crate) use changes::Changes;
pub(crate) use consume::ConsumerService;
pub(crate) use context::Context;
pub(crate) use envelope::{Envelope, Explain, explain};
pub(crate) use health::health;
pub(crate) use intake::Intake;
pub(crate) use messages::MessagesService;
pub(crate) use publish::PublisherService;
pub(crate) use queues::QueuesService;
pub(crate) use tenant_place::Placed;
pub(crate) use watch::{Watch, WatchLayer};
