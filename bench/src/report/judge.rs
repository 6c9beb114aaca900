//! Judges the targets by the rows.
//!
//! For Posthouse the median over the rounds counts, in its fastest shape; for a peer or a limit its best run of all
//! rounds and shapes, which is the hardest comparison. Both sides have payloads of one size: that of most of
//! Posthouse's rows.

use super::{
    POSTHOUSE,
    pick::{self, Pick, spread},
    soak,
    targets::{Measure, TARGETS, Target},
    text::{bytes, micros, number},
};
use crate::row::Row;

/// Connections of the judged rows of the part `naive`.
const NAIVE_CONNECTIONS: u64 = 64;
/// Memory of a single queue is judged only over at least this many queues.
const ENOUGH_QUEUES: f64 = 10_000.0;
/// The limit of the transport alone.
const ECHO: &str = "echo";
/// Begin of the note of the judged latency rows.
pub const HALF_OF_RABBIT: &str = "half of rabbitmq";

/// A measured figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The figure.
    pub value: f64,
    /// The figures that it was calculated from.
    pub detail: String,
}

/// Whether a target was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The figure is within its bound.
    Met,
    /// The figure is out of its bound.
    Missed,
    /// The rows do not have the figure.
    NotMeasured,
}

/// A target and its verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The target.
    pub target: Target,
    /// The measured figure, if the rows have it.
    pub found: Option<Found>,
    /// Whether the target was kept.
    pub verdict: Verdict,
}

/// Judges all targets by these rows.
pub fn judge(rows: &[Row]) -> Vec<Judgement> {
    TARGETS.iter().map(|target| judge_one(*target, rows)).collect()
}

fn judge_one(target: Target, rows: &[Row]) -> Judgement {
    let found = find(target.measure, rows).filter(|found| found.value.is_finite());
    let verdict = match &found {
        None => Verdict::NotMeasured,
        Some(found) if target.bound.holds(found.value) => Verdict::Met,
        Some(_) => Verdict::Missed,
    };
    Judgement { target, found, verdict }
}

/// The figure of a target; `None` if the rows do not have it.
pub fn find(measure: Measure, rows: &[Row]) -> Option<Found> {
    match measure {
        Measure::RateToPeer(scenario, peer) => {
            let rows = judged(&Pick::part(rows, "compare").scenario(scenario))?;
            rates(ours(&rows)?, rows.system(peer).highest(pick::rate)?)
        }
        Measure::RateToLimit(scenario, name) => {
            let compared = judged(&Pick::part(rows, "compare").scenario(scenario))?;
            let payload = compared.main_payload()?;
            rates(ours(&compared)?, limit(rows, name, scenario, payload).highest(pick::rate)?)
        }
        Measure::NaiveToPeer(peer) => {
            let naive = Pick::part(rows, "naive").scenario("publish");
            let rows = judged(&naive.filter(|row| row.connections == NAIVE_CONNECTIONS))?;
            rates(ours(&rows)?, rows.system(peer).highest(pick::rate)?)
        }
        Measure::LatencyToRabbit => {
            let rows = half_of_rabbit(rows)?;
            ratio(
                rows.system(POSTHOUSE).median(pick::p99)?,
                rows.system("rabbitmq").lowest(pick::p99)?,
                micros,
            )
        }
        Measure::LatencyToSync => {
            let p99 = half_of_rabbit(rows)?.system(POSTHOUSE).median(pick::p99)?;
            ratio(p99, sync(rows)?, micros)
        }
        Measure::CpuToPeer(peer) => {
            let rows = judged(&Pick::part(rows, "compare").scenario("both"))?;
            let ours = rows.system(POSTHOUSE).best_shape().median(pick::server_cpu)?;
            ratio(ours, rows.system(peer).lowest(pick::server_cpu)?, |value| format!("{value:.2} s/million"))
        }
        Measure::OneByOne => {
            let rows = Pick::part(rows, "fila").scenario("publish").system(POSTHOUSE);
            let spread = rows.spread(pick::rate)?;
            let detail = format!("{} to {}", number(spread.min), number(spread.max));
            Some(Found { value: spread.median, detail })
        }
        Measure::Fall(axis, from, to) => fall(rows, axis, from as f64, to as f64),
        Measure::IdleQueue => idle_queue(rows),
        Measure::Start(messages) => {
            let rows = growth(rows, "start-seconds").at(messages as f64);
            let spread = rows.spread(pick::seconds)?;
            Some(Found { value: spread.median, detail: format!("{:.2} to {:.2} s", spread.min, spread.max) })
        }
        Measure::SoakDrift => {
            let (early, late) = soak::windows(rows, POSTHOUSE)?;
            let detail = format!("{} → {} msg/s", number(early.rate), number(late.rate));
            Some(Found { value: (late.rate / early.rate - 1.0).abs(), detail })
        }
        Measure::SoakMemory => {
            let (early, late) = soak::windows(rows, POSTHOUSE)?;
            let (early, late) = (early.memory?, late.memory?);
            Some(Found { value: late / early - 1.0, detail: format!("{} → {}", bytes(early), bytes(late)) })
        }
        Measure::Memory(connections) => {
            let rows = Pick::part(rows, "memory").scenario("both").system(POSTHOUSE);
            // For memory the highest round counts: a median would hide a peak.
            let value = rows.filter(|row| row.connections == connections).highest(pick::memory)?;
            Some(Found { value, detail: "highest of all rounds".to_owned() })
        }
    }
}

/// The rows with the judged payload size: the one of most of Posthouse's rows.
fn judged<'a>(rows: &Pick<'a>) -> Option<Pick<'a>> {
    Some(rows.payload(rows.system(POSTHOUSE).main_payload()?))
}

fn ours(rows: &Pick<'_>) -> Option<f64> {
    rows.system(POSTHOUSE).best_shape().median(pick::rate)
}

fn growth<'a>(rows: &'a [Row], axis: &str) -> Pick<'a> {
    Pick::part(rows, "growth").axis(axis).system(POSTHOUSE)
}

fn half_of_rabbit(rows: &[Row]) -> Option<Pick<'_>> {
    let latency = Pick::part(rows, "latency").scenario("both");
    judged(&latency.filter(|row| row.remark.starts_with(HALF_OF_RABBIT)))
}

/// The rows of a limit for a scenario: its own, or else those of publishing, which say how fast a message is
/// transported or stored. A limit of storing says nothing about consuming.
pub fn limit<'a>(rows: &'a [Row], name: &str, scenario: &str, payload: u64) -> Pick<'a> {
    let rows = Pick::part(rows, "limit").system(name).payload(payload);
    let same = rows.scenario(scenario);
    if same.is_empty() && (name == ECHO || scenario != "consume") { rows.scenario("publish") } else { same }
}

/// The median latency of a sync; the shortest, if several sizes were measured.
fn sync(rows: &[Row]) -> Option<f64> {
    let rows = Pick::part(rows, "limit").system("fsync");
    let of_size = |bytes| rows.payload(bytes).median(pick::p50);
    spread(rows.payloads().into_iter().filter_map(of_size)).map(|spread| spread.min)
}

fn rates(ours: f64, other: f64) -> Option<Found> {
    ratio(ours, other, |value| format!("{} msg/s", number(value)))
}

fn ratio(ours: f64, other: f64, show: impl Fn(f64) -> String) -> Option<Found> {
    let value = (other > 0.0).then(|| ours / other)?;
    Some(Found { value, detail: format!("{} / {}", show(ours), show(other)) })
}

/// The greatest fall of any scenario that has both points.
fn fall(rows: &[Row], axis: &str, from: f64, to: f64) -> Option<Found> {
    let rows = growth(rows, axis);
    let of_scenario = |scenario| {
        let rows = rows.scenario(scenario);
        let (first, last) = (rows.at(from).median(pick::rate)?, rows.at(to).median(pick::rate)?);
        let detail = format!("{scenario}: {} → {} msg/s", number(first), number(last));
        (first > 0.0).then(|| Found { value: 1.0 - last / first, detail })
    };
    let falls = rows.scenarios().into_iter().filter_map(of_scenario);
    falls.max_by(|one, other| one.value.total_cmp(&other.value))
}

fn idle_queue(rows: &[Row]) -> Option<Found> {
    let rows = growth(rows, "queues-idle-memory").filter(|row| row.server_memory_bytes > 0);
    let points = rows.points();
    let (first, last) = (*points.first()?, *points.last()?);
    let (before, after) = (rows.at(first).median(pick::memory)?, rows.at(last).median(pick::memory)?);
    let value = (last - first >= ENOUGH_QUEUES).then(|| (after - before) / (last - first))?;
    let (first, last, before, after) = (number(first), number(last), bytes(before), bytes(after));
    let detail = format!("{first} → {last} queues: {before} → {after}");
    Some(Found { value, detail })
}
