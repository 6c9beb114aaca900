//! Sections of the report: the comparison at full speed, the limits of the machine, and single messages.

use std::path::Path;

use anyhow::Result;

use super::{
    POSTHOUSE, judge,
    pick::{self, Pick, Spread, rate},
    plot::{Bar, Block, Unit, bars},
    text::{NOTHING, Table, bytes, micros, number, or_nothing, times},
};
use crate::row::Row;

/// Limits whose rates are in messages per second.
const LIMITS: [&str; 3] = ["bare", "rocksdb", "echo"];

const LIMITS_ARE: &str = "\
What this machine does without a message queue, measured in the same run. `echo`: a gRPC stream over mutual TLS whose
server gives every frame back. `rocksdb`: synced batches, without a network. `bare`: frames over the same wire into
synced batches, the least that a durable server does. `fsync`: 4 KiB written in place and synced. `disk`: 1 MiB appended
and synced. They are limits of publishing; `both` is set beside them too, `consume` only beside `echo`.";

/// The section of the part `compare`; empty if it was not measured.
pub fn compare(rows: &[Row], folder: &Path) -> Result<String> {
    let all = Pick::part(rows, "compare");
    let mut text = String::new();
    for scenario in all.scenarios() {
        let of_scenario = all.scenario(scenario);
        for payload in of_scenario.payloads() {
            let name = if of_scenario.payloads().len() > 1 {
                format!("compare-{scenario}-{payload}.svg")
            } else {
                format!("compare-{scenario}.svg")
            };
            let rows_here = of_scenario.payload(payload);
            let mut shown = rate_bars(&rows_here);
            shown.extend(limit_bars(rows, scenario, payload));
            let title = format!("{scenario}, {}: median and spread over the rounds", bytes(payload as f64));
            let block = Block { title: String::new(), bars: shown };
            bars(&folder.join(&name), &title, "messages per second", Unit::Plain, false, &[block])?;
            text.push_str(&format!("\n### {scenario}, {}\n", bytes(payload as f64)));
            text.push_str(table(&rows_here).trim_end_matches('\n'));
            text.push_str(&format!("\n\n![{scenario}: messages per second]({name})\n"));
        }
    }
    if text.is_empty() {
        return Ok(text);
    }
    Ok(format!(
        "## Side by side\n\nAs fast as each system goes. `to best` is Posthouse's median divided by the system's best \
         run. Latency is that of publishing\nuntil the answer, and in `both` from publishing until delivery, under \
         full load: it says how long the queues in front of a\nsaturated system are. Latency at chosen rates stands \
         further down. CPU is seconds of processor time for a million messages.\nA shape is connections × messages \
         handed over together × messages in flight on a connection.\n{text}"
    ))
}

/// The section of the part `naive`; empty if it was not measured.
pub fn naive(rows: &[Row], folder: &Path) -> Result<String> {
    let all = Pick::part(rows, "naive");
    let mut text = String::new();
    for scenario in all.scenarios() {
        let here = all.scenario(scenario);
        let mut connections: Vec<u64> = here.rows().iter().map(|row| row.connections).collect();
        connections.sort_unstable();
        connections.dedup();
        let mut blocks = Vec::new();
        for connections in connections {
            let here = here.filter(|row| row.connections == connections);
            text.push_str(&format!("\n### {scenario}, {connections} connections\n"));
            text.push_str(table(&here).trim_end_matches('\n'));
            text.push('\n');
            blocks.push(Block { title: format!("{connections} connections"), bars: rate_bars(&here) });
        }
        let name = format!("naive-{scenario}.svg");
        let title = format!("{scenario}, one message in flight per connection");
        bars(&folder.join(&name), &title, "messages per second", Unit::Plain, false, &blocks)?;
        text.push_str(&format!("\n![Single messages: messages per second]({name})\n"));
    }
    if text.is_empty() {
        return Ok(text);
    }
    Ok(format!(
        "## Single messages\n\nEvery connection hands over one message and waits for the answer before the next. \
         `echo` and `bare`\nare limits: the same frames over the same TLS, given back at once or once they are in one \
         synced RocksDB batch.\n{text}"
    ))
}

fn table(rows: &Pick<'_>) -> String {
    let mut table = Table::new(&[
        "system",
        "shape",
        "msg/s",
        "best run",
        "to best",
        "p50",
        "p99",
        "server CPU",
        "client CPU",
        "server memory, peak",
        "disk bytes per payload byte",
    ]);
    let ours = rows.system(POSTHOUSE).best_shape().median(rate);
    for system in rows.systems() {
        let all = rows.system(system);
        let shape = all.best_shape();
        let best = all.highest(rate);
        let ratio = ours.zip(best).filter(|(_, best)| *best > 0.0).map(|(ours, best)| ours / best);
        table.row(&[
            system.to_owned(),
            shape_of(&shape),
            with_spread(shape.spread(rate), number),
            or_nothing(best, number),
            if system == POSTHOUSE { NOTHING.to_owned() } else { or_nothing(ratio, times) },
            or_nothing(shape.median(pick::p50), micros),
            or_nothing(shape.median(pick::p99), micros),
            or_nothing(shape.median(pick::server_cpu), |value| format!("{value:.2}")),
            or_nothing(shape.median(pick::client_cpu), |value| format!("{value:.2}")),
            or_nothing(shape.highest(pick::memory), bytes),
            or_nothing(shape.median(pick::disk), |value| format!("{value:.2}")),
        ]);
    }
    table.finish()
}

fn shape_of(rows: &Pick<'_>) -> String {
    rows.rows()
        .first()
        .map_or_else(String::new, |row| format!("{} × {} × {}", row.connections, row.batch, row.window))
}

/// A median, with the lowest and the highest value in brackets.
pub fn with_spread(spread: Option<Spread>, show: fn(f64) -> String) -> String {
    spread.map_or_else(
        || NOTHING.to_owned(),
        |Spread { median, min, max }| format!("{} [{}–{}]", show(median), show(min), show(max)),
    )
}

fn rate_bars(rows: &Pick<'_>) -> Vec<Bar> {
    let of_system = |system: &str| {
        let spread = rows.system(system).best_shape().spread(rate)?;
        Some(Bar { system: system.to_owned(), name: system.to_owned(), spread })
    };
    rows.systems().into_iter().filter_map(of_system).collect()
}

fn limit_bars(rows: &[Row], scenario: &str, payload: u64) -> Vec<Bar> {
    let of_limit = |name: &&str| {
        let spread = judge::limit(rows, name, scenario, payload).best_shape().spread(rate)?;
        Some(Bar { system: (*name).to_owned(), name: format!("limit: {name}"), spread })
    };
    LIMITS.iter().filter_map(of_limit).collect()
}

/// The section of the limits, and Posthouse's rates as shares of them; empty if no limit was measured.
pub fn limits(rows: &[Row]) -> String {
    let all = Pick::part(rows, "limit");
    if all.is_empty() {
        return String::new();
    }
    let heads = ["limit", "of", "payload", "batch", "msg/s", "p50", "p99", "max", "CPU", "note"];
    let mut table = Table::new(&heads);
    let mut seen: Vec<_> = all
        .rows()
        .iter()
        .map(|row| (&row.system, &row.scenario, row.payload_bytes, row.batch, &row.remark))
        .collect();
    seen.sort();
    seen.dedup();
    for (system, scenario, payload, batch, remark) in seen {
        let here = all.system(system).scenario(scenario).payload(payload);
        let here = here.filter(|row| row.batch == batch && row.remark == *remark);
        table.row(&[
            system.clone(),
            scenario.clone(),
            if payload > 0 { bytes(payload as f64) } else { NOTHING.to_owned() },
            if batch > 0 { number(batch as f64) } else { NOTHING.to_owned() },
            with_spread(here.spread(rate), number),
            or_nothing(here.median(pick::p50), micros),
            or_nothing(here.median(pick::p99), micros),
            or_nothing(here.highest(pick::longest), micros),
            or_nothing(here.median(pick::server_cpu), |value| format!("{value:.2}")),
            remark.clone(),
        ]);
    }
    format!("## Limits of the machine\n\n{LIMITS_ARE}\n{}{}", table.finish(), to_limits(rows))
}

fn to_limits(rows: &[Row]) -> String {
    let ours = Pick::part(rows, "compare").system(POSTHOUSE);
    if ours.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["Posthouse to the limit's best run", "payload", "bare", "rocksdb", "echo"]);
    for scenario in ours.scenarios() {
        for payload in ours.scenario(scenario).payloads() {
            let median = ours.scenario(scenario).payload(payload).best_shape().median(rate);
            let mut cells = vec![scenario.to_owned(), bytes(payload as f64)];
            for name in LIMITS {
                let best = judge::limit(rows, name, scenario, payload).highest(rate);
                let best = best.filter(|best| *best > 0.0);
                cells.push(or_nothing(median.zip(best).map(|(ours, best)| ours / best), times));
            }
            table.row(&cells);
        }
    }
    table.finish().trim_start_matches('\n').trim_end_matches('\n').to_owned() + "\n"
}
