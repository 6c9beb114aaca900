//! One measurement: a row of the raw data.

use serde::{Deserialize, Serialize};

/// One measurement. A field that does not apply is zero or empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which part of the run: `compare`, `naive`, `payload`, `connections`, `latency`, `limit`, `growth`, `inside`,
    /// `soak`.
    pub part: String,
    /// What was measured: a [`Facts::system`](crate::system::Facts::system), or a limit.
    pub system: String,
    /// `publish`, `consume`, `both`, or the scenario that a limit or a curve is of.
    pub scenario: String,
    /// Number of the round, from 1.
    pub round: u32,
    /// Bytes of a payload.
    pub payload_bytes: u64,
    /// Connections of each kind that the scenario uses.
    pub connections: u64,
    /// Most messages of one batch.
    pub batch: u64,
    /// Most messages of one connection without an answer.
    pub window: u64,
    /// Messages per second that were sent; 0: as many as possible.
    pub asked_rate: f64,
    /// What grows in a growth curve; `minute` in the soak; the figure in `inside`.
    pub axis: String,
    /// Value on the axis.
    pub x: f64,
    /// Messages that were confirmed.
    pub messages: u64,
    /// Seconds in which they were confirmed.
    pub seconds: f64,
    /// Messages per second.
    pub rate: f64,
    /// Median latency: of `publish` until the answer, of `both` from the moment a message was due until its delivery.
    pub p50_us: f64,
    /// 90th percentile of the latency.
    pub p90_us: f64,
    /// 99th percentile of the latency.
    pub p99_us: f64,
    /// 99.9th percentile of the latency.
    pub p999_us: f64,
    /// Longest latency.
    pub max_us: f64,
    /// Processor time of the server's processes.
    pub server_cpu_seconds: f64,
    /// Processor time of this process, the load generator.
    pub client_cpu_seconds: f64,
    /// Peak of the resident memory of the server's processes, from samples.
    pub server_memory_bytes: u64,
    /// Bytes that the server's processes had written to the disk.
    pub disk_bytes: u64,
    /// Remarks.
    #[serde(rename = "note")]
    pub remark: String,
}
