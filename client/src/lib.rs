#![doc = include_str!("../README.md")]
// The `print` macros panic when stdout or stderr is closed, and block while nobody reads it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod connect;
mod consumer;
mod context;
mod credentials;
mod error;
mod message;
mod messages;
mod name;
mod pool;
mod publisher;
mod queues;
mod retry;
mod stream;
mod time;
mod answer_group;
mod trace;
mod unary;

pub use bytes::Bytes;
pub use client::{Client, ClientBuilder};
pub use consumer::{
    ConsumeError, Consumer, ConsumerBuilder, DeadLetterCause, DeadLetterOrigin, Delivery, Event, SettleError,
    Settlement, Settling, SettlingAll,
};
pub use context::{Context, ContextBuilder};
pub use credentials::{AccessToken, TlsMaterial};
pub use error::{BoxError, ConnectError, ContextError, Error, ErrorKind, ErrorReason, Refusal, Violation};
pub use message::{MessageError, NewMessage};
pub use messages::{DeadLetters, MessageState, MessageStatus, Messages, Redrive, Redriven, SkipReason};
pub use name::NameError;
pub use pool::{
    FailedDelivery, FailureKind, Handler, HandlerError, PoolReport, WorkerPool, WorkerPoolBuilder,
};
pub use publisher::{
    PublishAck, PublishAcks, PublishError, Publisher, PublisherBuilder, Stored, TryPublishError,
};
pub use queues::{Queue, QueueSettings, QueueStats, Queues};
pub use trace::TraceContext;
