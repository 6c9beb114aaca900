//! Sections of the report: curves over payload sizes and over numbers of connections.

use std::path::Path;

use anyhow::Result;

use super::{
    POSTHOUSE,
    compare::with_spread,
    pick::{self, Pick},
    plot::{Axis, Line, Panel, Unit, lines},
    text::{self, Table, bytes, micros, number, or_nothing},
};
use crate::row::Row;

/// The dimension of a section.
struct Over {
    part: &'static str,
    head: &'static str,
    intro: &'static str,
    axis: Axis,
    of: fn(&Row) -> u64,
    show: fn(f64) -> String,
}

/// The section of the part `payload`; empty if it was not measured.
pub fn payload(rows: &[Row], folder: &Path) -> Result<String> {
    let over = Over {
        part: "payload",
        head: "payload",
        intro: "## Payload sizes\n\nMessages per second and, in its own plot, payload bytes per second.\n",
        axis: Axis { title: "bytes of a message", unit: Unit::Bytes, log: true },
        of: |row| row.payload_bytes,
        show: bytes,
    };
    section(&over, rows, folder)
}

/// The section of the part `connections`; empty if it was not measured.
pub fn connections(rows: &[Row], folder: &Path) -> Result<String> {
    let over = Over {
        part: "connections",
        head: "connections",
        intro: "## Connections\n\nThe same load spread over more connections.\n",
        axis: Axis { title: "connections of each kind", unit: Unit::Plain, log: true },
        of: |row| row.connections,
        show: number,
    };
    section(&over, rows, folder)
}

fn section(over: &Over, rows: &[Row], folder: &Path) -> Result<String> {
    let all = Pick::part(rows, over.part);
    let mut text = String::new();
    for scenario in all.scenarios() {
        let here = all.scenario(scenario);
        let second: (&'static str, Unit, pick::Figure) = match over.part {
            "payload" => ("payload bytes per second", Unit::Bytes, bytes_rate),
            _ => ("p99", Unit::Micros, pick::p99),
        };
        let mut panels = vec![panel(over, &here, "messages per second", Unit::Plain, pick::rate)];
        let extra = panel(over, &here, second.0, second.1, second.2);
        if !extra.lines.is_empty() {
            panels.push(extra);
        }
        let name = format!("{}-{scenario}.svg", over.part);
        lines(&folder.join(&name), &format!("{scenario}, by {}", over.axis.title), &over.axis, &panels)?;
        text.push_str(&format!("\n### {scenario}\n{}", rates(over, &here)));
        if over.part == "connections" {
            text.push_str(&tails(over, &here));
        }
        text.push_str(&format!("![{scenario} by {}]({name})\n", over.head));
    }
    Ok(if text.is_empty() { text } else { format!("{}{text}", over.intro) })
}

fn bytes_rate(row: &Row) -> Option<f64> {
    pick::rate(row).map(|rate| rate * row.payload_bytes as f64)
}

fn panel(over: &Over, rows: &Pick<'_>, title: &'static str, unit: Unit, figure: pick::Figure) -> Panel {
    let of_system = |system: &str| {
        let points = values(over, rows).into_iter();
        let at = |value| cell(over, rows, system, value).best_shape().median(figure);
        let points = points.filter_map(|value| Some((value as f64, at(value)?))).collect();
        Line { system: system.to_owned(), points }
    };
    let lines = rows.systems().into_iter().map(of_system).filter(|line| !line.points.is_empty()).collect();
    Panel { title, unit, log: true, lines }
}

fn values(over: &Over, rows: &Pick<'_>) -> Vec<u64> {
    let mut values: Vec<u64> = rows.rows().iter().map(|row| (over.of)(row)).collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn cell<'a>(over: &Over, rows: &Pick<'a>, system: &str, value: u64) -> Pick<'a> {
    rows.system(system).filter(|row| (over.of)(row) == value)
}

/// Rates with a column for each system; a peer's cell has Posthouse's median divided by the peer's best run.
fn rates(over: &Over, rows: &Pick<'_>) -> String {
    table(over, rows, |system, value| {
        let here = cell(over, rows, system, value);
        let shown = with_spread(here.best_shape().spread(pick::rate), number);
        let ours = cell(over, rows, POSTHOUSE, value).best_shape().median(pick::rate);
        let best = here.highest(pick::rate).filter(|best| *best > 0.0 && system != POSTHOUSE);
        match ours.zip(best) {
            Some((ours, best)) => format!("{shown} ({})", text::times(ours / best)),
            None => shown,
        }
    })
}

fn tails(over: &Over, rows: &Pick<'_>) -> String {
    if rows.highest(pick::p99).is_none() {
        return String::new();
    }
    let table = table(over, rows, |system, value| {
        or_nothing(cell(over, rows, system, value).best_shape().median(pick::p99), micros)
    });
    format!("p99:\n{table}")
}

fn table(over: &Over, rows: &Pick<'_>, cell: impl Fn(&str, u64) -> String) -> String {
    let systems = rows.systems();
    let heads: Vec<&str> = std::iter::once(over.head).chain(systems.iter().copied()).collect();
    let mut table = Table::new(&heads);
    for value in values(over, rows) {
        let mut cells = vec![(over.show)(value as f64)];
        cells.extend(systems.iter().map(|system| cell(system, value)));
        table.row(&cells);
    }
    table.finish()
}
