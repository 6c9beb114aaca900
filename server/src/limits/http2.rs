//! Limits of HTTP/2 on one connection.

use std::time::Duration;

/// HTTP/2 receive window of one stream: a publisher stays busy over a round trip of 10 ms at 200 MB/s.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// The window of one stream of a connection that is opened when there are many: still one of 10 ms at 12 MB/s.
pub const LEAST_STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// HTTP/2 receive window of one connection: four streams at full speed.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Frames of the largest size that a connection's window holds: large ones are written and read with fewer system
/// calls, and one is held in memory until it is whole.
pub const FRAMES_OF_WINDOW: u32 = 32;
/// The head before the data of an HTTP/2 frame.
pub const H2_FRAME_HEAD_BYTES: u32 = 9;
/// The smallest limit of a frame that HTTP/2 knows (RFC 9113, 6.5.2).
pub const LEAST_H2_FRAME_BYTES: u32 = 16 << 10;
/// Encrypted records of a connection that may wait for its socket, at least; more if it may receive larger frames.
pub const LEAST_UNSENT_BYTES: usize = 64 << 10;
/// Receive windows of all connections in sum. Beyond it, each new connection gets its share of this, so that what
/// clients may send unasked does not grow with their number.
pub const WINDOWS_BYTES: u64 = 128 << 20;
/// The price of a control frame of HTTP/2 (PING, SETTINGS, WINDOW_UPDATE, PRIORITY, a reset, an empty frame of data, an
/// unknown one) in bytes that move in either direction. A connection whose frames neither these bytes nor the allowance
/// pay is closed.
pub const CONTROL_FRAME_BYTES: i64 = 100;
/// The price of a frame of data, which brings bytes of its own.
pub const DATA_FRAME_BYTES: i64 = 16;
/// Control frames of a connection that need no data.
pub const CONTROL_FRAMES_ALLOWED: i64 = 4_096;
/// How many of them are added to the allowance in a second.
pub const CONTROL_FRAMES_PER_SECOND: i64 = 256;
/// How many control frames data can pay for before they arrive.
pub const CONTROL_FRAMES_SAVED: i64 = 20_000;
/// Frames with less data than this are counted until their call reads them: the library holds each with 300 bytes of
/// its own. While as many of them wait as the connection's window holds KiB, the connection is not read.
pub const SMALL_DATA_BYTES: usize = 1 << 10;
/// How long a connection is not read, while none of its waiting frames is consumed, before the library alone decides
/// how much it holds: it ends the connection when there are twice as many. Less than [`KEEPALIVE_INTERVAL`], so that a
/// pause is not mistaken for a lost peer.
pub const UNTAKEN_PATIENCE: Duration = Duration::from_secs(15);
/// Streams (calls) at once on one connection.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 200;
/// Bytes of the header list of one call: enough for the largest token and some metadata.
pub const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
/// Silence after which the peer is pinged.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the peer may take to answer a ping.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest client chain: leaf, and three above it.
pub const MAX_CHAIN_CERTIFICATES: usize = 4;
