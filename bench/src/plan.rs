//! Which systems are measured, and the shape of load at which each is fastest here.

use std::{sync::OnceLock, time::Duration};

use crate::{
    load::Load,
    system::{
        Shape, System,
        nats::{NATS, NATS_ALWAYS},
        postgres::Postgres,
        posthouse::Posthouse,
        rabbitmq::RabbitMq,
        redis::Redis,
    },
};

/// Bytes of a payload, unless a part varies them.
pub const PAYLOAD_BYTES: usize = 1_024;
/// Most messages in flight over all connections, whatever their number.
pub const MAX_IN_FLIGHT: usize = 16_384;
/// Most payload bytes in flight over all connections.
const MAX_BYTES_IN_FLIGHT: usize = 64 << 20;

/// Lengths and sizes of the measurements.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// Rounds of the parts that have targets.
    pub rounds: u32,
    /// Time of one scenario, and of a point of a curve that has a target.
    pub scenario: Duration,
    /// Time of one latency.
    pub latency: Duration,
    /// Time of any other point of a curve.
    pub point: Duration,
    /// Time of the soak.
    pub soak: Duration,
    /// Messages of the largest backlog.
    pub backlog: u64,
    /// The largest number of queues.
    pub queues: u64,
}

impl Lengths {
    /// Lengths of the published report.
    pub fn full() -> Self {
        Self {
            rounds: 5,
            scenario: Duration::from_secs(4),
            latency: Duration::from_secs(5),
            point: Duration::from_secs(2),
            soak: Duration::from_secs(30 * 60),
            backlog: 10_000_000,
            queues: 100_000,
        }
    }

    /// Lengths of a run of under two minutes.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            scenario: Duration::from_millis(1_500),
            latency: Duration::from_secs(2),
            point: Duration::from_secs(1),
            soak: Duration::from_secs(10),
            backlog: 100_000,
            queues: 1_000,
        }
    }
}

/// A shape that replaces the best one of every system.
pub static TRIED: OnceLock<Best> = OnceLock::new();

/// The shape of load at which a system is fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Best {
    /// Connections of each kind.
    pub connections: usize,
    /// Messages of one batch.
    pub batch: usize,
    /// Messages in flight over all connections.
    pub max_in_flight: usize,
}

impl Best {
    /// The best shape of a system, found by trying 1 to 128 connections and batches of 64 to 512 on two cores; for
    /// PostgreSQL and NATS with a sync, up to 64 connections and batches of 1 to 1,024. Neighbouring shapes often
    /// differ by less than the runs do.
    pub fn of(system: &str) -> Self {
        if let Some(tried) = TRIED.get() {
            return *tried;
        }
        let (connections, batch, max_in_flight) = match system {
            "posthouse" => (8, 256, MAX_IN_FLIGHT),
            "rabbitmq" => (1, 256, MAX_IN_FLIGHT),
            // It answers a publish only after everything that it received together with it.
            "nats-always" => (2, 64, 1_024),
            "redis-always" | "redis-everysec" => (64, 128, MAX_IN_FLIGHT),
            _ => (2, 256, MAX_IN_FLIGHT),
        };
        Self { connections, batch, max_in_flight }
    }

    /// Parses `CONNECTIONSxBATCH`, as in `2x256`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (connections, batch) =
            text.split_once('x').ok_or("connections, an x, and the batch, as in 2x256")?;
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| (1..=1_024).contains(number));
        match (number(connections), number(batch)) {
            (Some(connections), Some(batch)) => Ok(Self { connections, batch, max_in_flight: MAX_IN_FLIGHT }),
            _ => Err("both numbers are from 1 to 1024".to_owned()),
        }
    }

    /// A closed loop of this shape.
    pub fn load(self, payload_bytes: usize, length: Duration) -> Load {
        self.load_over(self.connections, payload_bytes, length)
    }

    /// A closed loop with another number of connections, and the same messages and bytes in flight over all of them.
    pub fn load_over(self, connections: usize, payload_bytes: usize, length: Duration) -> Load {
        let messages = self.max_in_flight.min(MAX_BYTES_IN_FLIGHT / payload_bytes);
        let window = (messages / connections).max(1);
        let shape = Shape { batch: self.batch.min((window / 2).max(1)), window, payload_bytes };
        Load::closed(shape, connections, length)
    }
}

/// All systems.
pub fn systems() -> Vec<Box<dyn System>> {
    vec![
        Box::new(Posthouse),
        Box::new(RabbitMq),
        Box::new(NATS),
        Box::new(NATS_ALWAYS),
        Box::new(Redis::always()),
        Box::new(Redis::everysec()),
        Box::new(Postgres),
    ]
}
