//! The load on a server, and how it is measured: the same for every system.
//!
//! A load with a rate is an open loop: each message is due at a fixed moment, whether or not earlier ones were
//! answered, and its latency counts from that moment. So a server that stalls does not hide the messages that it kept
//! from being sent (coordinated omission). A load without a rate is a closed loop: it sends whenever an answer frees a
//! slot of the window.

pub mod both;
pub mod consume;
pub mod meter;
mod pace;
pub mod payload;
pub mod publish;
mod seen;
mod send;
mod span;
mod receive;

use std::time::Duration;

use crate::{measure::usage::Usage, row::Row, system::Shape};
use meter::LoadTally;

/// Connections that are opened at the same time.
const AT_ONCE: usize = 32;

/// The load on one server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// How each connection is used.
    pub shape: Shape,
    /// Connections of each kind that the scenario uses.
    pub connections: usize,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Time of the measurement.
    pub length: Duration,
    /// Messages per second of all connections; `None`: as many as possible.
    pub rate: Option<f64>,
    /// Largest number of messages.
    pub max_messages: u64,
    /// The queue held messages before and keeps as many: the messages that are received are not those that were sent.
    pub keeps_backlog: bool,
}

/// The result of a scenario.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Counts and latencies.
    pub tally: LoadTally,
    /// How long `tally.messages` took.
    pub length: Duration,
    /// What the server and this process used in this time.
    pub usage: Usage,
    /// Messages that were stored, with those of the warm-up.
    pub stored: u64,
    /// Messages that were received more than once.
    pub duplicates: u64,
}

impl Load {
    /// A closed loop with this many connections.
    pub fn closed(shape: Shape, connections: usize, length: Duration) -> Self {
        let warm_up = Duration::from_millis(500);
        Self {
            shape,
            connections,
            warm_up,
            length,
            rate: None,
            max_messages: 1_000_000,
            keeps_backlog: false,
        }
    }

    /// This load as an open loop at a rate.
    pub fn at(self, rate: f64) -> Self {
        Self { rate: Some(rate), max_messages: u64::MAX, ..self }
    }
}

impl Measured {
    /// Messages per second.
    pub fn rate(&self) -> f64 {
        let seconds = self.length.as_secs_f64();
        if seconds > 0.0 { self.tally.messages as f64 / seconds } else { 0.0 }
    }

    /// The result as a row of the raw data.
    pub fn row(&self, part: &str, system: &str, scenario: &str, load: &Load) -> Row {
        let latency = &self.tally.latency;
        let at = |quantile| latency.value_at_quantile(quantile) as f64;
        Row {
            part: part.to_owned(),
            system: system.to_owned(),
            scenario: scenario.to_owned(),
            payload_bytes: load.shape.payload_bytes as u64,
            connections: load.connections as u64,
            batch: load.shape.batch as u64,
            window: load.shape.window as u64,
            asked_rate: load.rate.unwrap_or(0.0),
            messages: self.tally.messages,
            seconds: self.length.as_secs_f64(),
            rate: self.rate(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: latency.max() as f64,
            server_cpu_seconds: self.usage.server_cpu_seconds,
            client_cpu_seconds: self.usage.client_cpu_seconds,
            server_memory_bytes: self.usage.server_memory_bytes,
            disk_bytes: self.usage.disk_bytes,
            remark: if self.duplicates > 0 {
                format!("{} came twice", self.duplicates)
            } else {
                String::new()
            },
            ..Row::default()
        }
    }
}
