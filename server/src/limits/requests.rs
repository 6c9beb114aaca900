//! Limits of the bytes that requests and answers hold, and of their duration.

use std::time::Duration;

use super::{MAX_ATTRIBUTES, MAX_PUBLISH_MESSAGES};

/// Bytes of one gRPC message: the limit of most implementations of gRPC unless configured.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// Bytes of a request to the health service, which asks for no token.
pub const MAX_HEALTH_BYTES: usize = 16 << 10;
/// Elements of one request: messages, attributes, settlements, tokens, ids, and what contains them. They are counted
/// before they are decoded; more are refused with `BATCH_INVALID`. A whole batch of messages with all their attributes
/// has fewer, so that a batch that is a little too large is still refused alone.
pub const MAX_ELEMENTS: usize = MAX_PUBLISH_MESSAGES * (MAX_ATTRIBUTES + 1) + 4_096;
/// The approximate memory of an element of a request besides its bytes.
pub const ELEMENT_BYTES: usize = 128;
/// Bytes of requests that are not handled yet, and of answers that are not sent yet, of the whole server. Beyond,
/// publishes and reads wait up to [`CAPACITY_TIMEOUT`] and are refused with `SERVER_OVERLOADED`, and settlements wait.
pub const MAX_HELD_BYTES: u64 = 128 << 20;
/// Such bytes of one tenant.
pub const MAX_HELD_BYTES_PER_TENANT: u64 = 64 << 20;
/// What each tenant may hold, whatever the others hold: two of the largest messages, or batches without attributes.
pub const LEAST_HELD_BYTES_PER_TENANT: u64 =
    2 * (MAX_FRAME_BYTES + MAX_PUBLISH_MESSAGES * ELEMENT_BYTES) as u64;
/// Such bytes of one connection.
pub const MAX_HELD_BYTES_PER_CONNECTION: u64 = 32 << 20;
/// Such bytes of requests that need no token, of the server.
pub const MAX_TOKENLESS_BYTES: u64 = 8 << 20;
/// Such bytes of requests that need no token, with certificates of one tenant. A connection may hold a quarter of it,
/// and those of a tenant may hold it whatever others hold.
pub const MAX_TOKENLESS_BYTES_PER_TENANT: u64 = 1 << 20;
/// A connection that holds less may always settle: a few whole batches of settlements take this much.
pub const LEAST_HELD_BYTES_TO_SETTLE: u64 = 512 << 10;
/// An answer that is no larger may wait for its client to read it, whatever others hold.
pub const LITTLE_ANSWER_BYTES: u64 = UNREAD_ANSWER_BYTES / 8;
/// A payload may be a piece of its request, and keep all of that in memory, if the request is at least so large: not
/// much smaller than the buffers that it is read into.
pub const SLICED_REQUEST_BYTES: usize = 8 << 10;
/// Bytes of such requests in memory; beyond, payloads are copied. More than the sum of the bodies in memory for
/// consumers (64 MiB) and the publishes on their way when requests are consumed in order.
pub const RETAINED_REQUEST_BYTES: u64 = 160 << 20;
/// How long a request that may be refused waits for free bytes.
pub const CAPACITY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long settlements of which a part has arrived wait for free bytes; then they are read without them, and
/// [`BODY_IDLE`] and [`BODY_DEADLINE`] decide. Those of which nothing has arrived wait without an end.
pub const SETTLEMENT_CAPACITY_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest request that settles or extends, or frame of a consumer: more than the most that one may contain.
pub const MAX_SETTLEMENT_BYTES: usize = 256 << 10;
/// How long a request that has begun may pause; on a stream, each of its messages.
pub const BODY_IDLE: Duration = Duration::from_secs(10);
/// How long a request may take in all, in addition to its length divided by [`LEAST_BODY_BYTES_PER_SECOND`].
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// See [`BODY_DEADLINE`].
pub const LEAST_BODY_BYTES_PER_SECOND: u64 = 64 << 10;
/// Bytes of answers of one stream that may wait for its client. Beyond, nothing more is read from it, and if the
/// network accepts none of them for [`UNREAD_PATIENCE`], it is ended; the rest of a unary call's answer is handled
/// alike. Deliveries are excepted: they may be unread until their lease ends.
pub const UNREAD_ANSWER_BYTES: u64 = 128 << 10;
/// See [`UNREAD_ANSWER_BYTES`].
pub const UNREAD_PATIENCE: Duration = Duration::from_secs(30);
