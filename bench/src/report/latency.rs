//! Section of the report: latency at chosen rates.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;

use super::{
    judge::HALF_OF_RABBIT,
    pick::{self, Pick},
    plot::{Bar, Block, Unit, bars},
    text::{Table, bytes, micros, number, or_nothing},
};
use crate::row::Row;

/// A system held a rate if it delivered this share of it.
const HELD: f64 = 0.95;

/// The section; empty if latency was not measured.
pub fn latency(rows: &[Row], folder: &Path) -> Result<String> {
    let all = Pick::part(rows, "latency");
    let mut text = String::new();
    for (remark, scenario, payload) in cases(&all) {
        let here = all.scenario(scenario).payload(payload).filter(|row| row.remark == remark);
        let name = file(&all, remark, scenario, payload);
        let title = title(remark);
        text.push_str(&format!("\n### {title}: {scenario}, {}\n", bytes(payload as f64)));
        text.push_str(table(&here).trim_end_matches('\n'));
        let blocks = [("p50", pick::p50 as pick::Figure), ("p99", pick::p99), ("p99.9", pick::p999)]
            .map(|(title, figure)| block(&here, title, figure));
        bars(&folder.join(&name), &format!("Latency, {title}"), "latency", Unit::Micros, true, &blocks)?;
        text.push_str(&format!("\n\n![Latency, {title}]({name})\n"));
    }
    if text.is_empty() {
        return Ok(text);
    }
    Ok(format!(
        "## Latency\n\nMessages are due at fixed moments whether or not earlier ones are through (open loop). Latency \
         counts from the moment a\nmessage was due until it was delivered, so a stall costs all that were due \
         meanwhile. A thread wakes each sender when\na message is due, within some 60 µs. Medians over the rounds; \
         `max` is\nthe longest of all rounds. A rate marked with * was not held: \
         less than 95 % of what was asked came through.\n{text}"
    ))
}

/// Shares of a system's own rate in ascending order, then half of `RabbitMQ`'s rate, then others.
fn cases<'a>(all: &Pick<'a>) -> Vec<(&'a str, &'a str, u64)> {
    let cases: BTreeSet<_> = all
        .rows()
        .iter()
        .map(|row| (row.remark.as_str(), row.scenario.as_str(), row.payload_bytes))
        .collect();
    let mut cases: Vec<_> = cases.into_iter().collect();
    cases.sort_by_key(|(remark, ..)| match share(remark) {
        Some(percent) => percent,
        None if remark.starts_with(HALF_OF_RABBIT) => 1_000,
        None => 1_001,
    });
    cases
}

fn share(remark: &str) -> Option<u32> {
    remark.split_once('%')?.0.trim().parse().ok()
}

fn title(remark: &str) -> String {
    match share(remark) {
        Some(percent) => format!("at {percent} % of each system's own highest rate"),
        None if remark.starts_with(HALF_OF_RABBIT) => "all at half of rabbitmq's highest rate".to_owned(),
        None => remark.to_owned(),
    }
}

fn file(all: &Pick<'_>, remark: &str, scenario: &str, payload: u64) -> String {
    let remark = share(remark).map_or_else(
        || remark.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect(),
        |percent| percent.to_string(),
    );
    let mut name = format!("latency-{remark}");
    if all.scenarios().len() > 1 {
        name.push_str(&format!("-{scenario}"));
    }
    if all.payloads().len() > 1 {
        name.push_str(&format!("-{payload}"));
    }
    name + ".svg"
}

fn table(rows: &Pick<'_>) -> String {
    let mut table = Table::new(&["system", "asked, msg/s", "delivered, msg/s", "p50", "p99", "p99.9", "max"]);
    for system in rows.systems() {
        let here = rows.system(system);
        let asked = here.median(|row| (row.asked_rate > 0.0).then_some(row.asked_rate));
        let delivered = here.median(pick::rate);
        let held = asked.zip(delivered).is_none_or(|(asked, delivered)| delivered >= HELD * asked);
        table.row(&[
            system.to_owned(),
            or_nothing(asked, number),
            or_nothing(delivered, |rate| format!("{}{}", number(rate), if held { "" } else { " \\*" })),
            or_nothing(here.median(pick::p50), micros),
            or_nothing(here.median(pick::p99), micros),
            or_nothing(here.median(pick::p999), micros),
            or_nothing(here.highest(pick::longest), micros),
        ]);
    }
    table.finish()
}

fn block(rows: &Pick<'_>, title: &str, figure: pick::Figure) -> Block {
    let of_system = |system: &str| {
        let spread = rows.system(system).spread(figure)?;
        Some(Bar { system: system.to_owned(), name: system.to_owned(), spread })
    };
    Block { title: title.to_owned(), bars: rows.systems().into_iter().filter_map(of_system).collect() }
}
