//! Limits of what one request, stream or message may contain.

use std::time::Duration;

use super::{MAX_FRAME_BYTES, engine};

/// Messages of one publish.
pub const MAX_PUBLISH_MESSAGES: usize = engine::MAX_PUBLISH_ENTRIES;
/// Bytes of one publish, attributes included: a gRPC message without its framing.
pub const MAX_PUBLISH_BYTES: usize = MAX_FRAME_BYTES - (64 << 10);
/// Attributes of one message.
pub const MAX_ATTRIBUTES: usize = 64;
/// Bytes of an attribute's key.
pub const MAX_ATTRIBUTE_KEY_BYTES: usize = 128;
/// Bytes of an attribute's value.
pub const MAX_ATTRIBUTE_VALUE_BYTES: usize = 1_024;
/// Bytes of a producer id and of a session id.
pub const SESSION_ID_BYTES: usize = 16;
/// Settlements or extensions of one frame; messages of one Receive.
pub const MAX_SETTLEMENTS: usize = engine::MAX_SETTLE_ITEMS;
/// A stream's balance of message credits.
pub const MAX_CREDIT_MESSAGES: u32 = 100_000;
/// A stream's balance of byte credits.
pub const MAX_CREDIT_BYTES: u64 = 1 << 30;
/// How long a Receive may wait.
pub const MAX_WAIT_MS: u64 = 20_000;
/// How long the server waits for a reset from a client of a consume stream that has ended its side, before its leases
/// are released. Clients that cancel may end their side first and reset the stream with their next packet: Node's do.
pub const CANCEL_GRACE: Duration = Duration::from_millis(250);
/// In this time before its caller's deadline a Receive leases nothing: an answer on its way takes time, and a caller
/// that has given up does not read it.
pub const LEASELESS_END: Duration = Duration::from_millis(100);
/// How long a Receive that does not wait allows for a grant that is on its way to the disk.
pub const GRANT_PATIENCE_MS: u64 = 1_000;
/// Bytes of a request id.
pub const MAX_REQUEST_ID_BYTES: usize = engine::MAX_REQUEST_ID_BYTES;
/// Queues of one page unless the caller names a number.
pub const DEFAULT_PAGE: usize = 100;
/// The most queues of one page.
pub const MAX_PAGE: usize = 1_000;
/// Looks for dead letters of one call, each bounded by the engine; a page may be short for it.
pub const DEAD_LETTER_SCANS: usize = 16;
/// Messages that a shard's worker reads by their ids before it handles other events: each may read a body.
pub const MESSAGES_PER_READ: usize = 16;
/// Dead letters of one redrive.
pub const MAX_REDRIVE: usize = engine::MAX_REDRIVE_ITEMS;
/// Bytes of the newest message bodies in memory.
pub const BODY_CACHE_BYTES: usize = 64 << 20;
