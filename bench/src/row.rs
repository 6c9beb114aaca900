//! One measurement, as it stands in the raw data.

use serde::{Deserialize, Serialize};

/// One measurement. What does not apply is zero or empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which part of the run: `compare`, `naive`, `payload`, `connections`, `latency`, `limit`, `growth`, `inside`,
    /// `soak`.
    pub part: String,
    /// What was measured: a [`Facts::system`](crate::system::Facts::system), or a limit.
    pub system: String,
    /// `publish`, `consume`, `both`, or what a limit or a curve is of.
    pub scenario: String,
    /// Counts repetitions from 1.
    pub round: u32,
    /// Bytes of a message.
    pub payload_bytes: u64,
    /// Connections of each kind that the scenario uses.
    pub connections: u64,
    /// Most messages handed over together.
    pub batch: u64,
    /// Most messages of one connection without an answer.
    pub window: u64,
    /// Messages per second that were asked for; 0: as many as possible.
    pub asked_rate: f64,
    /// Of a growth curve: what grows. Of the soak: `minute`. Of `inside`: the figure.
    pub axis: String,
    /// Its value.
    pub x: f64,
    /// Messages that went the whole way.
    pub messages: u64,
    /// How long that took.
    pub seconds: f64,
    /// Messages per second.
    pub rate: f64,
    /// Latency, median: of publishing until the answer, of `both` from the due moment until the delivery.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Processor time of the server's processes.
    pub server_cpu_seconds: f64,
    /// Processor time of this process, the load generator.
    pub client_cpu_seconds: f64,
    /// The most memory that the server's processes had resident together while this was measured, sampled.
    pub server_memory_bytes: u64,
    /// Bytes that the server's processes had written to the disk.
    pub disk_bytes: u64,
    /// Anything else.
    pub note: String,
}
