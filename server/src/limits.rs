//! Every limit of the server's rooms, each with its reason. What the configuration may set stands with its range.

use std::{ops::RangeInclusive, time::Duration};

pub use posthouse_engine::limits as engine;

/// Longest segment of a resource name: it also fits a DNS label, so a tenant's name can be one.
pub const MAX_NAME_BYTES: usize = 63;

// Configuration.

/// Largest configuration file, and largest file it names: all of them are read whole.
pub const MAX_CONFIG_FILE_BYTES: u64 = 4 << 20;
/// Fewest shards, so that a small installation still spreads its departments.
pub const MIN_SHARDS: u32 = 4;
/// Most shards: each has a log, a machine and timers of its own.
pub const MAX_SHARDS: u32 = 1024;
/// Shards unless configured.
pub const DEFAULT_SHARDS: u32 = 64;
/// From SIGTERM to exit unless configured: below the 30 s that Kubernetes grants.
pub const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(25);
/// Longest drain that may be configured.
pub const MAX_DRAIN_DEADLINE: Duration = Duration::from_secs(3600);
/// Longest `exp - iat` of a token unless configured.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Longest `exp - iat` that may be configured: a week, after which a lost token should be worth nothing.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// `identity.max_certificate_lifetime_seconds`: from a minute to ten years, which is as good as no limit.
pub const CERTIFICATE_LIFETIME_SECONDS: RangeInclusive<u64> = 60..=10 * 366 * 24 * 3600;
/// Callers' certificates that are valid for longer are warned of: a lost key is worth something until they end, and
/// nothing but the removal of their authority ends them before.
pub const LONG_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);
/// Certificates that were warned of, so that each is told once. Beyond that, one warning tells that there are more.
pub const MAX_LONG_CERTIFICATES_REPORTED: usize = 1024;

/// How often the files of certificates, keys and key sets are read again, for file systems that tell of no changes.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(60);
/// After a change of a file: how long nothing may change before the files are read, so that all of a change is seen.
pub const RELOAD_QUIET: Duration = Duration::from_millis(250);
/// How long files may go on changing before they are read all the same.
pub const RELOAD_PATIENCE: Duration = Duration::from_secs(2);

// Disk.

/// Publishes are refused with less room than this, unless configured: what leases, settlements and the store's own work
/// need meanwhile.
pub const DEFAULT_MIN_FREE_DISK_BYTES: u64 = 256 << 20;
/// `server.min_free_disk_bytes`. Not less than the store's write buffers, which a flush writes out at once (88 MiB),
/// the log's next segment (64 MiB), and the publishes that are on their way (64 MiB), together.
pub const MIN_FREE_DISK_BYTES: RangeInclusive<u64> = 256 << 20..=1 << 50;
/// The room is looked at again when this part of it has been published.
pub const CHECK_PART: u64 = 32;

/// The part of it that a file holds on to, for the time when others have filled the disk nevertheless.
pub const BALLAST_PART: u64 = 4;
/// While there is too little room: how often the store is flushed, so that the log can let go of what is consumed.
pub const FLUSH_WHEN_FULL_INTERVAL: Duration = Duration::from_secs(30);
/// Room on the disk beyond what publishes need, with which files of the log wait to be used again.
pub const RECYCLED_LOG_FREE_BYTES: u64 = 1 << 30;
/// How often a department's configuration is proposed again that the disk had no room for.
pub const CONFIGURE_AGAIN_INTERVAL: Duration = Duration::from_secs(5);

// Tenants.

/// Bytes of stored messages of one tenant unless configured.
pub const DEFAULT_TENANT_STORED_BYTES: u64 = 256 << 30;
/// `tenant.max_stored_bytes`: above what the engine keeps of a queue's settled messages before it removes them.
pub const TENANT_STORED_BYTES: RangeInclusive<u64> = 16 << 20..=1 << 60;
/// Queues of one tenant unless configured.
pub const DEFAULT_TENANT_QUEUES: u64 = 10_000;
/// Most queues of one tenant that may be configured.
pub const MAX_TENANT_QUEUES: u64 = 10_000_000;
/// Publish and consume streams at once of one tenant unless configured.
pub const DEFAULT_TENANT_STREAMS: u64 = 10_000;
/// The part of a tenant's streams that callers without a token may have together: `Health/Watch` needs none.
pub const TOKENLESS_STREAMS_PART: u64 = 8;
/// Most streams of one tenant that may be configured.
pub const MAX_TENANT_STREAMS: u64 = 10_000_000;

// Door.

/// From TCP accept to the end of the TLS handshake.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// After a refused handshake: how long the client may take to read its alert and close.
pub const HANG_UP_DEADLINE: Duration = Duration::from_secs(1);
/// After a refused handshake: how much of what the client still sends is read, and dropped.
pub const HANG_UP_BYTES: u64 = 64 << 10;
/// Handshakes at once: they are the costly part of a connection that nobody has vouched for yet. A handshake begins
/// when all of the client's first message has come; until then it takes no turn.
pub const MAX_HANDSHAKES: usize = 256;
/// Handshakes at once from one address (IPv6: one /64), so that one host cannot keep all others out. When all turns are
/// taken, the host that has most of them loses its oldest to one that has fewer: that connection is closed.
pub const MAX_HANDSHAKES_PER_SOURCE: usize = 64;
/// The part of all connections that may be strangers': those of which no call has brought a good token yet. Of that
/// share one host may have four eighths, an IPv4 /24 or an IPv6 /56 five, an IPv6 /48 six. One more is closed as soon
/// as it is accepted, or in its place the oldest that has said nothing, or the oldest of the host that has most.
pub const STRANGERS_PART: usize = 4;
/// A connection that has shown its certificate, and for so long no good token, gives way to a newcomer of its own host
/// when that has all it may have. A caller's first call comes within a round trip of its handshake.
pub const STRANGER_PATIENCE: Duration = Duration::from_secs(1);
/// Connections at once unless configured, handshakes included; one more is closed as soon as it is accepted.
pub const DEFAULT_MAX_CONNECTIONS: usize = 16_384;
/// `server.max_connections`.
pub const CONNECTIONS: RangeInclusive<u64> = 16..=1 << 20;
/// `tenant.max_connections`: connections of which a call has brought a good token. Unless set, three quarters of the
/// server's, so that no tenant can use up the node's. The first call with a good token of one more is refused with
/// `LIMIT_REACHED`, and the connection is closed.
pub const TENANT_CONNECTIONS: RangeInclusive<u64> = 1..=1 << 20;
/// How long the calls of such a connection may take to end.
pub const TENANT_FULL_GRACE: Duration = Duration::from_secs(2);
/// When such a call may be tried again.
pub const TENANT_FULL_RETRY: Duration = Duration::from_secs(5);
/// Files and sockets that the server keeps for itself: the store's and the log's files, the listeners. What the system
/// allows beyond them is for connections.
pub const RESERVED_FILES: u64 = 704;
/// How long a connection lives unless configured, give or take a tenth: so that load finds its way to new servers, and
/// certificates are looked at again.
pub const DEFAULT_CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// `server.max_connection_age_seconds`.
pub const CONNECTION_AGE_SECONDS: RangeInclusive<u64> = 1..=7 * 24 * 3600;
/// How long calls may go on, on a connection that has reached its age, while they make progress; streams are told to
/// move at once. Enough for the largest request or answer over a link of 64 kbit/s.
pub const CONNECTION_AGE_GRACE: Duration = Duration::from_secs(600);
/// Calls make progress while at least [`LEAST_PROGRESS_BYTES`] pass in each such interval. Longer than a call may wait
/// before it is answered ([`MAX_WAIT_MS`]).
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);
/// See [`PROGRESS_INTERVAL`]: more than pings and their answers take.
pub const LEAST_PROGRESS_BYTES: u64 = 1 << 10;
/// How long calls may go on, on a connection that is closed for its calls that failed to authenticate.
pub const AUTH_FAILURES_GRACE: Duration = Duration::from_secs(30);
/// After the last call of a connection that was asked to leave: how long its client may take to read what is on its
/// way, and to close its side. Most close at once.
pub const DRAIN_CLOSE_DEADLINE: Duration = Duration::from_secs(600);
/// The same when the server stops, or has other reasons to close the connection.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// A connection whose calls have failed to authenticate so often in a row, without a good token among them, is closed.
/// Its further calls are refused with `LIMIT_REACHED` before their token is looked at.
pub const MAX_AUTH_FAILURES: u32 = 32;
/// Calls of such a connection after which it is closed at once: as many as may have been under way when its client was
/// told.
pub const MAX_THROTTLED_CALLS: u32 = MAX_STREAMS_PER_CONNECTION;
/// When such a call may be tried again, on another connection.
pub const THROTTLED_CONNECTION_RETRY: Duration = Duration::from_secs(1);
/// Tokens that were not good, of all connections with one certificate, before none is checked that was not checked
/// before: such calls are refused with `LIMIT_REACHED`, and told when to try again.
pub const MAX_CERTIFICATE_FAILURES: u32 = 256;
/// How long it takes until a certificate may fail so often again; meanwhile a part of it.
pub const CERTIFICATE_FAILURES_WINDOW: Duration = Duration::from_secs(60);
/// A connection on which a token was good has one verified so often though its certificate has failed too often: its
/// next one.
pub const THROTTLED_RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Certificates whose failures are remembered, in each of two generations.
pub const FAILED_CERTIFICATES_GENERATION: usize = 4_096;
/// From the end of the handshake to the first call with a good token. Until then calls that need none, such as Health,
/// are answered; then the client is asked to open another connection.
pub const FIRST_RPC_DEADLINE: Duration = Duration::from_secs(10);
/// How long such a connection may take to end the calls that are under way.
pub const FIRST_RPC_GRACE: Duration = Duration::from_secs(2);
/// Warnings about connections in [`WARNINGS_INTERVAL`], for each kind and tenant; the others are counted.
pub const MAX_WARNINGS: u64 = 10;
/// See [`MAX_WARNINGS`].
pub const WARNINGS_INTERVAL: Duration = Duration::from_secs(10);
/// Life of a connection whose certificate carries no usable identity: time to answer its calls with the reason.
pub const REFUSED_CONNECTION_LIFETIME: Duration = Duration::from_secs(10);
/// How often a certificate's end is compared with the wall clock, which may be set.
pub const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// First pause after `accept` failed (most often: out of file descriptors); doubles up to the longest.
pub const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause after `accept` failed.
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often the log is told that no more connections are taken: strangers must not fill it.
pub const FULL_WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Connections that wait in the kernel.
pub const LISTEN_BACKLOG: u32 = 1024;
/// HTTP/2 receive window of one stream: a publisher stays busy over a round trip of 10 ms at 200 MB/s.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// The same, of a connection that comes when there are many: still one of 10 ms at 12 MB/s.
pub const LEAST_STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// HTTP/2 receive window of one connection: four streams at full speed.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Frames of the largest size that a connection's window holds: large ones are written and read with fewer system
/// calls, and one is held in memory until it is whole.
pub const FRAMES_OF_WINDOW: u32 = 32;
/// What stands before the data of an HTTP/2 frame.
pub const H2_FRAME_HEAD_BYTES: u32 = 9;
/// The smallest limit of a frame that HTTP/2 knows (RFC 9113, 6.5.2).
pub const LEAST_H2_FRAME_BYTES: u32 = 16 << 10;
/// Sealed records of a connection that may wait for its socket: so many, or more where it may receive larger frames.
pub const LEAST_UNSENT_BYTES: usize = 64 << 10;
/// Receive windows of that size together; beyond, each new connection gets its share of this and no more, so that what
/// clients may send unasked does not grow with their number.
pub const WINDOWS_BYTES: u64 = 128 << 20;
/// What a control frame of HTTP/2 (PING, SETTINGS, WINDOW_UPDATE, PRIORITY, a reset, an empty frame of data, one that
/// nobody knows) must be worth in bytes that move in either direction. More of them than that, and than the allowance:
/// the connection is closed.
pub const CONTROL_FRAME_BYTES: i64 = 100;
/// The same of a frame of data, which brings its own.
pub const DATA_FRAME_BYTES: i64 = 16;
/// Control frames of a connection that need no data.
pub const CONTROL_FRAMES_ALLOWED: i64 = 4_096;
/// How many of them are allowed anew in a second.
pub const CONTROL_FRAMES_PER_SECOND: i64 = 256;
/// How many control frames data can pay for before they come.
pub const CONTROL_FRAMES_SAVED: i64 = 20_000;
/// Frames with less data than this are counted until their call takes them: the library holds each with 300 bytes of
/// its own. While as many of them wait as the connection's window holds KiB, no more is read from it.
pub const SMALL_DATA_BYTES: usize = 1 << 10;
/// How long a connection is not read, while nothing that waits is taken, before the library decides alone how much it
/// holds: it ends the connection when there are twice as many. Less than [`KEEPALIVE_INTERVAL`], so that a stall is not
/// taken for a peer that is gone.
pub const UNTAKEN_PATIENCE: Duration = Duration::from_secs(15);
/// Streams (calls) at once on one connection.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 200;
/// Header list of one call: room for the largest token and some metadata.
pub const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
/// Silence after which the peer is pinged.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the peer may take to answer a ping.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest client chain: leaf, and three above it.
pub const MAX_CHAIN_CERTIFICATES: usize = 4;

// Identity.

/// Largest token; nothing of a larger one is decoded.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Deepest nesting in a token's header or claims.
pub const MAX_TOKEN_DEPTH: usize = 8;
/// Clock difference forgiven to an issuer in `iat` and `nbf`. `exp` gets none: a token's streams end at `exp`.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(30);
/// Longest `sub`, `client_id` and `iss`.
pub const MAX_CLAIM_TEXT_BYTES: usize = 512;
/// Longest `jti` and `kid`.
pub const MAX_TOKEN_ID_BYTES: usize = 128;
/// Longest SPIFFE id, after the specification.
pub const MAX_SPIFFE_ID_BYTES: usize = 2048;
/// Verified tokens remembered, in each of the cache's two generations.
pub const TOKEN_CACHE_GENERATION: usize = 4096;
/// Keys in one issuer's key set.
pub const MAX_ISSUER_KEYS: usize = 64;
/// Nesting of a key set: the list of keys, and what issuers put into a key beside what is read.
pub const MAX_KEY_SET_DEPTH: usize = 8;
/// Shortest RSA modulus.
pub const MIN_RSA_BITS: usize = 2048;
/// Longest RSA modulus: verification time grows with it.
pub const MAX_RSA_BITS: usize = 8192;

// Policy.

/// Items in one token's scope.
pub const MAX_GRANTS: usize = 64;

const _: () = assert!(MAX_TOKEN_BYTES < MAX_HEADER_LIST_BYTES as usize);
const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
const _: () = assert!(MAX_HANDSHAKES < DEFAULT_MAX_CONNECTIONS);
const _: () = assert!(UNTAKEN_PATIENCE.as_millis() < KEEPALIVE_INTERVAL.as_millis());
const _: () = assert!(CONTROL_FRAMES_ALLOWED < CONTROL_FRAMES_SAVED);
const _: () = assert!(PROGRESS_INTERVAL.as_millis() > MAX_WAIT_MS as u128);
const _: () = assert!(MAX_HANDSHAKES_PER_SOURCE * 4 <= MAX_HANDSHAKES);
const _: () = assert!(DEFAULT_TOKEN_LIFETIME.as_secs() <= MAX_TOKEN_LIFETIME.as_secs());

// --- Management and observation ---

/// The management listener's port unless configured: the one that Prometheus exporters of OpenTelemetry use.
pub const DEFAULT_MANAGEMENT_PORT: u16 = 9464;
/// Connections to the management listener at once, beside those from the host itself: probes, and a scraper or two. One
/// host may have an eighth, an IPv4 /24 or an IPv6 /56 a quarter, an IPv6 /48 a half. For one more, the oldest that has
/// not sent its request is closed, of the host that has most; then the oldest that asks for more than a probe does.
pub const MAX_MANAGEMENT_CONNECTIONS: usize = 64;
/// The same from the host itself.
pub const MAX_LOCAL_MANAGEMENT_CONNECTIONS: usize = 32;
/// From a connection to the management listener to the end of its request's head.
pub const MANAGEMENT_HEAD_DEADLINE: Duration = Duration::from_secs(2);
/// Scrapes of the metrics at once; others wait. Probes are answered before them.
pub const MAX_SCRAPES: usize = 2;
/// From a connection to the management listener to its end.
pub const MANAGEMENT_DEADLINE: Duration = Duration::from_secs(10);
/// Headers of a request to the management listener.
pub const MAX_MANAGEMENT_HEADERS: usize = 64;
/// Bytes of the head of a request to the management listener; the least that the HTTP library takes.
pub const MAX_MANAGEMENT_HEADER_BYTES: usize = 8 << 10;
/// Access records that wait to be written, and places taken for those that are to come; beyond, nothing is done that is
/// recorded.
pub const MAX_ACCESS_RECORDS_WAITING: usize = 4_096;
/// How long a change waits for a place among them before it is refused, and a lease before it is given back.
pub const ACCESS_PATIENCE: Duration = Duration::from_secs(2);
/// Lines of the log that wait to be written; beyond, they are dropped and counted.
pub const MAX_LINES_WAITING: usize = 4_096;
/// Their bytes.
pub const MAX_LINES_WAITING_BYTES: usize = 4 << 20;
/// Bytes of one line of the log; what is longer is cut.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// Ranges of sequences in one access record; a batch that needs more is recorded in several.
pub const MAX_ACCESS_RANGES: usize = 64;
/// Spans that wait for the collector; beyond, they are dropped and counted.
pub const MAX_SPANS_WAITING: usize = 8_192;
/// How long the server waits at its end for the collector to take the last spans.
pub const LAST_SPANS_DEADLINE: Duration = Duration::from_secs(3);

// --- Publishing and consuming ---

/// Messages of one publish.
pub const MAX_PUBLISH_MESSAGES: usize = engine::MAX_PUBLISH_ENTRIES;
/// Bytes of one gRPC message: what implementations of gRPC take unless they are told otherwise.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// Bytes of a request to the health service, which asks for no token.
pub const MAX_HEALTH_BYTES: usize = 16 << 10;
/// Elements of one request: messages, attributes, settlements, tokens, ids, and what contains them. They are counted
/// before they are decoded; more are refused with `BATCH_INVALID`. A whole batch of messages with all their attributes
/// has so many, and some more, so that a batch that is a little too large is still refused alone.
pub const MAX_ELEMENTS: usize = MAX_PUBLISH_MESSAGES * (MAX_ATTRIBUTES + 1) + 4_096;
/// What an element of a request costs in memory, about, beside its bytes.
pub const ELEMENT_BYTES: usize = 128;
/// Bytes of requests that are not handled yet, and of answers that are not sent yet, of the whole server. Beyond,
/// publishes and reads wait up to [`CAPACITY_TIMEOUT`] and are refused with `SERVER_OVERLOADED`, and settlements wait.
pub const MAX_HELD_BYTES: u64 = 128 << 20;
/// The same of one tenant.
pub const MAX_HELD_BYTES_PER_TENANT: u64 = 64 << 20;
/// What each tenant may hold, whatever the others do: two of the largest messages, or batches without attributes.
pub const LEAST_HELD_BYTES_PER_TENANT: u64 =
    2 * (MAX_FRAME_BYTES + MAX_PUBLISH_MESSAGES * ELEMENT_BYTES) as u64;
/// The same of one connection.
pub const MAX_HELD_BYTES_PER_CONNECTION: u64 = 32 << 20;
/// The same of requests that need no token, of the server.
pub const MAX_TOKENLESS_BYTES: u64 = 8 << 20;
/// The same of those with certificates of one tenant. A connection may hold a quarter of it, and those of a tenant may
/// whatever others do.
pub const MAX_TOKENLESS_BYTES_PER_TENANT: u64 = 1 << 20;
/// A connection that holds less may always settle: as much as a few whole batches of settlements take.
pub const LEAST_HELD_BYTES_TO_SETTLE: u64 = 512 << 10;
/// An answer that is no larger may wait for its client to read it, whatever others hold.
pub const LITTLE_ANSWER_BYTES: u64 = UNREAD_ANSWER_BYTES / 8;
/// A payload may be a piece of its request, and keep all of that in memory, if the request is at least so large: not
/// much smaller than the buffers that it is read into.
pub const SLICED_REQUEST_BYTES: usize = 8 << 10;
/// Bytes of such requests that are kept; beyond, payloads are copied. More than the bodies that are kept for consumers
/// (64 MiB) and the publishes on their way take together when requests are consumed in their order.
pub const RETAINED_REQUEST_BYTES: u64 = 160 << 20;
/// How long a request that may be refused waits for room.
pub const CAPACITY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long settlements of which a part has come wait for room; then they are read on without it, and [`BODY_IDLE`] and
/// [`BODY_DEADLINE`] decide. Those of which nothing has come wait without an end.
pub const SETTLEMENT_CAPACITY_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest request that settles or extends, or frame of a consumer: more than all that one may be about can take.
pub const MAX_SETTLEMENT_BYTES: usize = 256 << 10;
/// How long nothing may come of a request that has begun; of a stream, of each of its messages.
pub const BODY_IDLE: Duration = Duration::from_secs(10);
/// How long a request may take in all, besides its length divided by [`LEAST_BODY_BYTES_PER_SECOND`].
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// See [`BODY_DEADLINE`].
pub const LEAST_BODY_BYTES_PER_SECOND: u64 = 64 << 10;
/// Bytes of answers of one stream that may wait for its client; beyond, nothing more is read of it, and if the network
/// takes none of them for [`UNREAD_PATIENCE`], it is ended. The same goes for the rest of a unary call's answer.
/// Deliveries are not meant: they may be unread to their lease's end.
pub const UNREAD_ANSWER_BYTES: u64 = 128 << 10;
/// See [`UNREAD_ANSWER_BYTES`].
pub const UNREAD_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of one publish, attributes included: a gRPC message less room for its framing.
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
/// How long a client of a consume stream that has ended its side may be heard to cancel after all, before its leases
/// are released. Clients that cancel may end their side first and reset the stream with their next packet: Node's do.
pub const CANCEL_GRACE: Duration = Duration::from_millis(250);
/// Before its caller's deadline, a Receive leases nothing for so long: an answer on its way takes time, and a caller
/// that has given up does not read it.
pub const LEASELESS_END: Duration = Duration::from_millis(100);
/// How long a Receive that does not wait gives a grant that is on its way to the disk.
pub const GRANT_PATIENCE_MS: u64 = 1_000;
/// Bytes of a request id.
pub const MAX_REQUEST_ID_BYTES: usize = engine::MAX_REQUEST_ID_BYTES;
/// Queues of one page, unless asked for, and at most.
pub const DEFAULT_PAGE: usize = 100;
/// The most queues of one page.
pub const MAX_PAGE: usize = 1_000;
/// Looks for dead letters of one call, each bounded by the engine; a page may be short for it.
pub const DEAD_LETTER_SCANS: usize = 16;
/// Messages by their ids that a shard's worker looks at before it turns to others: each look may read a body.
pub const MESSAGES_PER_READ: usize = 16;
/// Dead letters of one redrive.
pub const MAX_REDRIVE: usize = engine::MAX_REDRIVE_ITEMS;
/// Bytes of the newest message bodies kept in memory.
pub const BODY_CACHE_BYTES: usize = 64 << 20;

const _: () = assert!(engine::MAX_MAX_MESSAGE_BYTES as usize <= MAX_PUBLISH_BYTES);

/// Bytes of publishes that may be on their way to the disk while one tenant publishes: enough to keep the disk busy.
/// Who comes beyond them waits, and is not refused.
pub const PUBLISH_BYTES_ALONE: usize = 16 << 20;
/// Bytes of the same while several tenants publish, of all of them: everybody's next batch waits as long as the disk
/// takes for them.
pub const PUBLISH_BYTES_SHARED: usize = 4 << 20;
/// Bytes of the same that every tenant may have, whatever others have: who publishes little does not wait.
pub const PUBLISH_BYTES_OF_EACH: usize = 1 << 20;
/// What all tenants may have of them together in any case.
pub const PUBLISH_BYTES_OF_ALL: usize = 56 << 20;
/// While several tenants publish, the next batch beyond what each may have waits so many times as long as the last one
/// took.
pub const PUBLISH_PAUSES: u32 = 5;
/// What a message counts for there besides its own bytes: what it is to apply it.
pub const PUBLISH_MESSAGE_BYTES: usize = 128;
/// Calls in a second that can be allowed a tenant; unless set, there is no limit. One call more is refused with
/// LIMIT_REACHED and RetryInfo; settlements and extensions are counted and never refused.
pub const MAX_TENANT_CALLS_PER_SECOND: u64 = 1_000_000;
