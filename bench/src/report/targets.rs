//! The targets, as data.

use self::{
    Bound::{Below, Max, Min},
    Measure::{CpuToPeer, Fall, NaiveToPeer, RateToLimit, RateToPeer},
};
use super::text;

/// A target: a figure and its bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The figure.
    pub measure: Measure,
    /// The bound.
    pub bound: Bound,
}

/// The bound of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// At least this.
    Min(f64),
    /// At most this.
    Max(f64),
    /// Less than this.
    Below(f64),
}

/// A figure that has a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Rate in a scenario of `compare`, divided by a peer's best run.
    RateToPeer(&'static str, &'static str),
    /// Rate in a scenario of `compare`, divided by the best run of a limit.
    RateToLimit(&'static str, &'static str),
    /// Rate of single messages over 64 connections, divided by a peer's best run.
    NaiveToPeer(&'static str),
    /// p99 at half of `RabbitMQ`'s highest rate, divided by `RabbitMQ`'s lowest p99.
    LatencyToRabbit,
    /// p99 at half of `RabbitMQ`'s highest rate, divided by the median of a sync.
    LatencyToSync,
    /// Server processor time of a message in `both`, divided by a peer's lowest.
    CpuToPeer(&'static str),
    /// Rate of one connection with calls of one message.
    OneByOne,
    /// Fall of the rate along a growth curve from one point to another.
    Fall(&'static str, u64, u64),
    /// Memory of an idle queue.
    IdleQueue,
    /// Seconds from a start with this many messages to the first delivery.
    Start(u64),
    /// Change of the rate in the soak, from minutes 5 to 10 to minutes 25 to 30.
    SoakDrift,
    /// Growth of the memory in the soak, from minutes 5 to 10 to minutes 25 to 30.
    SoakMemory,
    /// Peak of memory at full load with this many connections.
    Memory(u64),
}

const fn target(measure: Measure, bound: Bound) -> Target {
    Target { measure, bound }
}

/// All targets.
pub const TARGETS: [Target; 32] = [
    target(RateToPeer("publish", "rabbitmq"), Min(5.0)),
    target(RateToPeer("publish", "nats"), Min(1.5)),
    target(RateToPeer("publish", "nats-always"), Min(30.0)),
    target(RateToPeer("publish", "redis-always"), Min(2.0)),
    target(RateToLimit("publish", "bare"), Min(0.9)),
    target(RateToPeer("consume", "rabbitmq"), Min(3.0)),
    target(RateToPeer("consume", "nats"), Min(2.0)),
    target(RateToPeer("consume", "redis-always"), Min(2.0)),
    target(RateToLimit("consume", "echo"), Min(0.5)),
    target(RateToPeer("both", "rabbitmq"), Min(4.0)),
    target(RateToPeer("both", "nats"), Min(1.5)),
    target(Measure::LatencyToRabbit, Max(0.5)),
    target(Measure::LatencyToSync, Max(6.0)),
    target(NaiveToPeer("rabbitmq"), Min(1.0)),
    target(NaiveToPeer("nats-always"), Min(1.0)),
    target(NaiveToPeer("redis-always"), Min(1.0)),
    target(NaiveToPeer("postgres"), Min(1.0)),
    target(CpuToPeer("rabbitmq"), Below(1.0)),
    target(CpuToPeer("nats"), Below(1.0)),
    target(CpuToPeer("nats-always"), Below(1.0)),
    target(CpuToPeer("redis-always"), Below(1.0)),
    target(CpuToPeer("redis-everysec"), Below(1.0)),
    target(CpuToPeer("postgres"), Below(1.0)),
    target(Measure::OneByOne, Min(2_326.0)),
    target(Fall("backlog", 1_000, 10_000_000), Below(0.10)),
    target(Fall("queues", 1, 100_000), Below(0.20)),
    target(Measure::IdleQueue, Below(1024.0)),
    target(Measure::Start(10_000_000), Below(2.0)),
    target(Measure::SoakDrift, Max(0.05)),
    target(Measure::SoakMemory, Below(0.05)),
    target(Measure::Memory(64), Below(512.0 * 1024.0 * 1024.0)),
    target(Measure::Memory(512), Below(1024.0 * 1024.0 * 1024.0)),
];

impl Target {
    /// The bound as text.
    pub fn promised(self) -> String {
        match self.bound {
            Min(value) => format!("≥ {}", self.measure.show(value)),
            Max(value) => format!("≤ {}", self.measure.show(value)),
            Below(value) => format!("< {}", self.measure.show(value)),
        }
    }
}

impl Bound {
    /// Whether a figure is within the bound.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Min(bound) => value >= bound,
            Max(bound) => value <= bound,
            Below(bound) => value < bound,
        }
    }
}

impl Measure {
    /// Name of the figure in the report.
    pub fn name(self) -> String {
        match self {
            RateToPeer(scenario, other) | RateToLimit(scenario, other) => {
                format!("{scenario}: msg/s, to {other}")
            }
            NaiveToPeer(peer) => format!("single messages, 64 connections: msg/s, to {peer}"),
            Self::LatencyToRabbit => "p99 at half of rabbitmq's highest rate, to rabbitmq".to_owned(),
            Self::LatencyToSync => {
                "p99 at half of rabbitmq's highest rate, to the median of a sync".to_owned()
            }
            CpuToPeer(peer) => format!("both: server CPU for a message, to {peer}"),
            Self::OneByOne => "one connection, calls of one message, 64 in flight".to_owned(),
            Fall(axis, from, to) => {
                let (from, to) = (text::number(from as f64), text::number(to as f64));
                format!("fall of msg/s, {axis} {from} to {to}")
            }
            Self::IdleQueue => "memory of an idle queue".to_owned(),
            Self::Start(messages) => format!("start with {} messages", text::number(messages as f64)),
            Self::SoakDrift => "soak: msg/s of minutes 25–30 from 5–10, either way".to_owned(),
            Self::SoakMemory => "soak: growth of memory, minutes 25–30 from 5–10".to_owned(),
            Self::Memory(connections) => format!("memory at full load, {connections} connections"),
        }
    }

    /// A value of the figure as text.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::OneByOne => format!("{} msg/s", text::number(value)),
            Fall(..) | Self::SoakDrift | Self::SoakMemory => text::percent(value),
            Self::IdleQueue | Self::Memory(_) => text::bytes(value),
            Self::Start(_) => format!("{value:.2} s"),
            _ => text::times(value),
        }
    }
}
