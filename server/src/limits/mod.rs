//! Every limit of the server, each with its reason. A limit that can be configured stands beside its range.

mod configuration;
mod connections;
mod http2;
mod identity;
mod messages;
mod observation;
mod requests;
mod tenants;

pub use posthouse_engine::limits as engine;

pub use self::{
    configuration::*, connections::*, http2::*, identity::*, messages::*, observation::*, requests::*,
    tenants::*,
};

/// Longest segment of a resource name: it also fits a DNS label, so a tenant's name can be one.
pub const MAX_NAME_BYTES: usize = 63;

const _: () = assert!(MAX_TOKEN_BYTES < MAX_HEADER_LIST_BYTES as usize);
const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
const _: () = assert!(MAX_HANDSHAKES < DEFAULT_MAX_CONNECTIONS);
const _: () = assert!(UNTAKEN_PATIENCE.as_millis() < KEEPALIVE_INTERVAL.as_millis());
const _: () = assert!(CONTROL_FRAMES_ALLOWED < CONTROL_FRAMES_SAVED);
const _: () = assert!(PROGRESS_INTERVAL.as_millis() > MAX_WAIT_MS as u128);
const _: () = assert!(MAX_HANDSHAKES_PER_SOURCE * 4 <= MAX_HANDSHAKES);
const _: () = assert!(DEFAULT_TOKEN_LIFETIME.as_secs() <= MAX_TOKEN_LIFETIME.as_secs());
const _: () = assert!(engine::MAX_MAX_MESSAGE_BYTES as usize <= MAX_PUBLISH_BYTES);
