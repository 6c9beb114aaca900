//! What a Rust service depends on to use Posthouse: a client over mutual TLS that publishes, consumes and manages
//! queues.
//!
//! A [`Context`] says where the server is and who is calling; [`Client::connect`] takes it from there. A
//! [`Publisher`] stores messages, each once however often the connection breaks. A [`Consumer`] gives out deliveries
//! that are guards: settle them, or drop them to give them back.
//!
//! ```no_run
//! use posthouse_client::{Client, Context, NewMessage};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Context::load("contexts/civil-affairs.toml")?).await?;
//!
//! let publisher = client.publisher("identity-cards/applications").open().await?;
//! let stored = publisher.publish(NewMessage::new("an application")).await?.await?;
//! println!("stored at {:?}", stored.sequence);
//!
//! let consumer = client.consumer("identity-cards/applications").open().await?;
//! if let Some(delivery) = consumer.next().await? {
//!     println!("{} bytes", delivery.payload().len());
//!     delivery.ack().await?;
//! }
//! consumer.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Connections are TLS 1.3 with both certificates checked; there is no other way. Certificate, key and token are read
//! from their files again as they are needed, so that renewing them needs no restart.

mod client;
mod connect;
mod consumer;
mod context;
mod error;
mod message;
mod messages;
mod name;
mod publisher;
mod queues;
mod request;
mod retry;
mod time;
mod token;

pub use bytes::Bytes;
pub use client::Client;
pub use consumer::{
    ConsumeError, Consumer, ConsumerBuilder, DeadLetterCause, DeadLetterOrigin, Delivery, Event, SettleError,
    Settling,
};
pub use context::{Context, ContextBuilder, ContextError};
pub use error::{ConnectError, Error, ErrorKind, Refusal};
pub use message::{MessageError, NewMessage};
pub use messages::{DeadLetters, MessageState, MessageStatus, Messages, Redrive, Redriven};
pub use name::NameError;
pub use publisher::{PublishAck, PublishError, Publisher, PublisherBuilder, Stored};
pub use queues::{Queue, QueueSettings, QueueStats, Queues};
