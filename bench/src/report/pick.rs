//! Selects rows, and calculates figures from them.

use std::collections::{BTreeMap, BTreeSet};

use super::POSTHOUSE;
use crate::row::Row;

/// Order of systems in tables and plots; unknown ones follow by name.
const ORDER: [&str; 7] =
    [POSTHOUSE, "rabbitmq", "nats", "nats-always", "redis-always", "redis-everysec", "postgres"];

/// A figure of a row; `None` if the row does not have it.
pub type Figure = fn(&Row) -> Option<f64>;

/// Messages per second. A rate of zero counts if it was measured for some time.
pub fn rate(row: &Row) -> Option<f64> {
    (row.rate.is_finite() && (row.rate > 0.0 || row.seconds > 0.0)).then_some(row.rate)
}

/// Value on the axis.
pub fn x(row: &Row) -> Option<f64> {
    Some(row.x)
}

/// The median latency.
pub fn p50(row: &Row) -> Option<f64> {
    positive(row.p50_us)
}

/// The 99th percentile of the latency.
pub fn p99(row: &Row) -> Option<f64> {
    positive(row.p99_us)
}

/// The 99.9th percentile of the latency.
pub fn p999(row: &Row) -> Option<f64> {
    positive(row.p999_us)
}

/// The longest latency.
pub fn longest(row: &Row) -> Option<f64> {
    positive(row.max_us)
}

/// Processor seconds of the server for a million messages.
pub fn server_cpu(row: &Row) -> Option<f64> {
    positive(row.server_cpu_seconds * 1e6 / row.messages as f64)
}

/// Processor seconds of the load generator for a million messages.
pub fn client_cpu(row: &Row) -> Option<f64> {
    positive(row.client_cpu_seconds * 1e6 / row.messages as f64)
}

/// Peak of the server's memory.
pub fn memory(row: &Row) -> Option<f64> {
    positive(row.server_memory_bytes as f64)
}

/// Bytes on the disk.
pub fn disk_bytes(row: &Row) -> Option<f64> {
    positive(row.disk_bytes as f64)
}

/// Bytes written for a byte of payload.
pub fn disk(row: &Row) -> Option<f64> {
    positive(row.disk_bytes as f64 / (row.messages as f64 * row.payload_bytes as f64))
}

/// Bytes written for a message.
pub fn disk_of_message(row: &Row) -> Option<f64> {
    positive(row.disk_bytes as f64 / row.messages as f64)
}

/// Length of the measurement.
pub fn seconds(row: &Row) -> Option<f64> {
    positive(row.seconds)
}

/// A figure that a row does not have is zero there; it must not win as the lowest.
fn positive(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

/// Median and extremes over the rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median; of an even number of values, the mean of the two in the middle.
    pub median: f64,
    /// The lowest value.
    pub min: f64,
    /// The highest value.
    pub max: f64,
}

/// Median and extremes of these values; `None` if there are none.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let lower = if values.len().is_multiple_of(2) { values[middle - 1] } else { upper };
    Some(Spread { median: f64::midpoint(lower, upper), min: values[0], max: values[values.len() - 1] })
}

/// A selection of rows.
#[derive(Debug, Clone)]
pub struct Pick<'a>(Vec<&'a Row>);

impl<'a> Pick<'a> {
    /// The rows of a part of the run.
    pub fn part(rows: &'a [Row], part: &str) -> Self {
        Self(rows.iter().filter(|row| row.part == part).collect())
    }

    /// The selected rows that satisfy the condition.
    pub fn filter(&self, so: impl Fn(&Row) -> bool) -> Self {
        Self(self.0.iter().copied().filter(|row| so(row)).collect())
    }

    /// The selected rows of a system.
    pub fn system(&self, system: &str) -> Self {
        self.filter(|row| row.system == system)
    }

    /// The selected rows of a scenario.
    pub fn scenario(&self, scenario: &str) -> Self {
        self.filter(|row| row.scenario == scenario)
    }

    /// The selected rows with payloads of this size.
    pub fn payload(&self, bytes: u64) -> Self {
        self.filter(|row| row.payload_bytes == bytes)
    }

    /// The selected rows with this axis.
    pub fn axis(&self, axis: &str) -> Self {
        self.filter(|row| row.axis == axis)
    }

    /// The selected rows at a point of the axis.
    pub fn at(&self, x: f64) -> Self {
        self.filter(|row| row.x == x)
    }

    /// The selected rows of the shape (connections, batch, window) with the highest median rate.
    pub fn best_shape(&self) -> Self {
        let mut shapes = BTreeMap::<_, Vec<&Row>>::new();
        for row in &self.0 {
            shapes.entry((row.connections, row.batch, row.window)).or_default().push(row);
        }
        let median =
            |rows: &[&Row]| spread(rows.iter().filter_map(|row| rate(row))).map_or(-1.0, |it| it.median);
        let best = shapes.into_values().max_by(|one, other| median(one).total_cmp(&median(other)));
        Self(best.unwrap_or_default())
    }

    /// The selected rows.
    pub fn rows(&self) -> &[&'a Row] {
        &self.0
    }

    /// Whether no row is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Median and extremes of a figure.
    pub fn spread(&self, figure: Figure) -> Option<Spread> {
        spread(self.0.iter().filter_map(|row| figure(row)))
    }

    /// Median of a figure.
    pub fn median(&self, figure: Figure) -> Option<f64> {
        self.spread(figure).map(|spread| spread.median)
    }

    /// Highest value of a figure.
    pub fn highest(&self, figure: Figure) -> Option<f64> {
        self.spread(figure).map(|spread| spread.max)
    }

    /// Lowest value of a figure.
    pub fn lowest(&self, figure: Figure) -> Option<f64> {
        self.spread(figure).map(|spread| spread.min)
    }

    /// The systems of the rows, Posthouse first.
    pub fn systems(&self) -> Vec<&'a str> {
        let names: BTreeSet<&str> = self.0.iter().map(|row| row.system.as_str()).collect();
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_by_key(|name| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
        names
    }

    /// The scenarios of the rows: publish, consume, both, then others by name.
    pub fn scenarios(&self) -> Vec<&'a str> {
        let names: BTreeSet<&str> = self.0.iter().map(|row| row.scenario.as_str()).collect();
        let mut names: Vec<&str> = names.into_iter().collect();
        names
            .sort_by_key(|name| ["publish", "consume", "both"].iter().position(|it| it == name).unwrap_or(3));
        names
    }

    /// The points of the rows on their axis, in ascending order.
    pub fn points(&self) -> Vec<f64> {
        let mut points: Vec<f64> = self.0.iter().map(|row| row.x).filter(|x| x.is_finite()).collect();
        points.sort_by(f64::total_cmp);
        points.dedup();
        points
    }

    /// The payload sizes of the rows.
    pub fn payloads(&self) -> BTreeSet<u64> {
        self.0.iter().map(|row| row.payload_bytes).collect()
    }

    /// The payload size of most rows, the smallest of equals: the judged one.
    pub fn main_payload(&self) -> Option<u64> {
        let count = |bytes: &u64| self.0.iter().filter(|row| row.payload_bytes == *bytes).count();
        self.payloads().into_iter().rev().max_by_key(count)
    }
}
