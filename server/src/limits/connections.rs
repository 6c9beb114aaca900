//! Limits of connections, and of the handshakes and calls that they begin with.

use std::{ops::RangeInclusive, time::Duration};

use super::MAX_STREAMS_PER_CONNECTION;

/// From TCP accept to the end of the TLS handshake.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// After a refused handshake: how long the client may take to read its alert and close the connection.
pub const HANG_UP_DEADLINE: Duration = Duration::from_secs(1);
/// After a refused handshake: how much of what the client still sends is read, and dropped.
pub const HANG_UP_BYTES: u64 = 64 << 10;
/// Handshakes at once: they are the costly part of a connection that is not authenticated. A handshake begins when the
/// client's first message has arrived completely; until then it occupies no slot.
pub const MAX_HANDSHAKES: usize = 256;
/// Handshakes at once from one address (IPv6: one /64), so that one host cannot keep all others out. When all slots are
/// occupied, the host that has most of them loses its oldest to one that has fewer: that connection is closed.
pub const MAX_HANDSHAKES_PER_SOURCE: usize = 64;
/// The part of all connections that strangers may have: connections on which no call has brought a good token yet. Of
/// that part one host may have four eighths, an IPv4 /24 or an IPv6 /56 five, an IPv6 /48 six. One more is closed as
/// soon as it is accepted, or in its stead the oldest silent one, or the oldest of the host that has most.
pub const STRANGERS_PART: usize = 4;
/// A connection that has shown its certificate, and no good token for this long, may be evicted for a new one of its
/// own host when that host has all that it may have. A caller's first call arrives within a round trip of its
/// handshake.
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
/// Files and sockets that are reserved for the server itself: the store's and the log's files, the listeners.
/// Connections may use the rest of what the system allows.
pub const RESERVED_FILES: u64 = 704;
/// How long a connection lives unless configured, a tenth more or less, so that load moves to new servers and
/// certificates are verified again.
pub const DEFAULT_CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// `server.max_connection_age_seconds`.
pub const CONNECTION_AGE_SECONDS: RangeInclusive<u64> = 1..=7 * 24 * 3600;
/// How long the calls of a connection that has reached its age may go on while they make progress; streams are asked to
/// move at once. Enough for the largest request or answer over a link of 64 kbit/s.
pub const CONNECTION_AGE_GRACE: Duration = Duration::from_secs(600);
/// Calls make progress while at least [`LEAST_PROGRESS_BYTES`] pass in each such interval. Longer than a call may wait
/// before it is answered ([`super::MAX_WAIT_MS`]).
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);
/// See [`PROGRESS_INTERVAL`]: more than pings and their answers take.
pub const LEAST_PROGRESS_BYTES: u64 = 1 << 10;
/// How long calls may go on, on a connection that is closed for its calls that failed to authenticate.
pub const AUTH_FAILURES_GRACE: Duration = Duration::from_secs(30);
/// After the last call of a connection that was asked to close: how long its client may take to read the data on its
/// way, and to close its side. Most close at once.
pub const DRAIN_CLOSE_DEADLINE: Duration = Duration::from_secs(600);
/// That time when the server stops, or has other reasons to close the connection.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// A connection on which this many calls in a row have failed to authenticate is closed. Its further calls are refused
/// with `LIMIT_REACHED` before their token is verified.
pub const MAX_AUTH_FAILURES: u32 = 32;
/// Calls of such a connection after which it is closed at once: as many as may have been open when its client was
/// informed.
pub const MAX_THROTTLED_CALLS: u32 = MAX_STREAMS_PER_CONNECTION;
/// When such a call may be tried again, on another connection.
pub const THROTTLED_CONNECTION_RETRY: Duration = Duration::from_secs(1);
/// Bad tokens, on all connections with one certificate, before no further token is verified: such calls are refused
/// with `LIMIT_REACHED` and a time to try again. Tokens that were verified before still pass.
pub const MAX_CERTIFICATE_FAILURES: u32 = 256;
/// The interval in which a certificate may have that many failures; after a part of it, as large a part of them.
pub const CERTIFICATE_FAILURES_WINDOW: Duration = Duration::from_secs(60);
/// How often a connection on which a token was good has its next token verified, although its certificate has failed
/// too often.
pub const THROTTLED_RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Certificates whose failures are remembered, in each of two generations.
pub const FAILED_CERTIFICATES_GENERATION: usize = 4_096;
/// From the end of the handshake to the first call with a good token. Until then calls that need none, such as Health,
/// are answered; then the client is asked to open another connection.
pub const FIRST_RPC_DEADLINE: Duration = Duration::from_secs(10);
/// How long such a connection may take to end its open calls.
pub const FIRST_RPC_GRACE: Duration = Duration::from_secs(2);
/// Warnings about connections in [`WARNINGS_INTERVAL`], for each kind and tenant; the others are counted.
pub const MAX_WARNINGS: u64 = 10;
/// See [`MAX_WARNINGS`].
pub const WARNINGS_INTERVAL: Duration = Duration::from_secs(10);
/// Life of a connection whose certificate carries no usable identity: time to answer its calls with the reason.
pub const REFUSED_CONNECTION_LIFETIME: Duration = Duration::from_secs(10);
/// How often a certificate's end is compared with the wall clock, which may be set.
pub const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// The first pause after `accept` failed (most often since file descriptors are used up); it doubles up to the longest.
pub const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause after `accept` failed.
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often the log says that no more connections are accepted: strangers must not fill it.
pub const FULL_WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Connections that wait in the kernel.
pub const LISTEN_BACKLOG: u32 = 1024;
