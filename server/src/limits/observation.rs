//! Limits of the management listener, of access records, of the log, and of spans.

use std::time::Duration;

/// The management listener's port unless configured: the one that Prometheus exporters of OpenTelemetry use.
pub const DEFAULT_MANAGEMENT_PORT: u16 = 9464;
/// Connections to the management listener at once, besides those from the host itself: probes, and a scraper or two.
/// One host may have an eighth, an IPv4 /24 or an IPv6 /56 a quarter, an IPv6 /48 a half. For one more, the oldest that
/// has not sent its request is closed, of the host that has most; then the oldest that asks for more than a probe does.
pub const MAX_MANAGEMENT_CONNECTIONS: usize = 64;
/// Connections at once from the host itself.
pub const MAX_LOCAL_MANAGEMENT_CONNECTIONS: usize = 32;
/// From a connection to the management listener to the end of its request's head.
pub const MANAGEMENT_HEAD_DEADLINE: Duration = Duration::from_secs(2);
/// Scrapes of the metrics at once; others wait. Probes are answered before them.
pub const MAX_SCRAPES: usize = 2;
/// From a connection to the management listener to its end.
pub const MANAGEMENT_DEADLINE: Duration = Duration::from_secs(10);
/// Headers of a request to the management listener.
pub const MAX_MANAGEMENT_HEADERS: usize = 64;
/// Bytes of the head of a request to the management listener; the HTTP library accepts no smaller limit.
pub const MAX_MANAGEMENT_HEADER_BYTES: usize = 8 << 10;
/// Access records that wait to be written, and slots reserved for records to come; beyond, actions that are recorded
/// are refused.
pub const MAX_ACCESS_RECORDS_WAITING: usize = 4_096;
/// How long a change waits for such a slot before it is refused, and a lease before it is returned.
pub const ACCESS_PATIENCE: Duration = Duration::from_secs(2);
/// Lines of the log that wait to be written; beyond, they are dropped and counted.
pub const MAX_LINES_WAITING: usize = 4_096;
/// Their bytes.
pub const MAX_LINES_WAITING_BYTES: usize = 4 << 20;
/// Bytes of one line of the log; a longer line is cut.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// Ranges of sequences in one access record; a batch that needs more is recorded in several.
pub const MAX_ACCESS_RANGES: usize = 64;
/// Spans that wait for the collector; beyond, they are dropped and counted.
pub const MAX_SPANS_WAITING: usize = 8_192;
/// How long the server waits at its end until the collector has accepted the last spans.
pub const LAST_SPANS_DEADLINE: Duration = Duration::from_secs(3);
