//! Section of the report: figures as something grows.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;

use super::{
    compare::with_spread,
    pick::{self, Pick},
    plot::{Axis, Panel, Unit, lines},
    soak::series,
    text::{Table, bytes, micros, number, or_nothing, percent, trimmed},
};
use crate::row::Row;

/// Axes whose figure is not a rate.
const IDLE: &str = "queues-idle-memory";
const START: &str = "start-seconds";
const DISK: &str = "backlog-disk";

/// Order of the curves; unknown ones follow by name.
const ORDER: [&str; 5] = ["backlog", "queues", "tenants", "consumers", "in-flight"];

/// The section; empty if no growth was measured.
pub fn growth(rows: &[Row], folder: &Path) -> Result<String> {
    let all = Pick::part(rows, "growth");
    if all.is_empty() {
        return Ok(String::new());
    }
    let axes: BTreeSet<&str> = all.rows().iter().map(|row| row.axis.as_str()).collect();
    let mut axes: Vec<&str> = axes.into_iter().filter(|axis| ![IDLE, START, DISK].contains(axis)).collect();
    axes.sort_by_key(|axis| ORDER.iter().position(|known| known == axis).unwrap_or(ORDER.len()));
    let mut text =
        "## Growth\n\nOne thing grows and all else stays. Changes are relative to the first point of the \
                    curve. Memory is the server's peak,\ndisk what it wrote while this was measured.\n"
            .to_owned();
    for axis in axes {
        text.push_str(&curves(&all.axis(axis), axis, folder)?);
    }
    text.push_str(&disk(&all.axis(DISK)));
    text.push_str(&idle(&all.axis(IDLE)));
    text.push_str(&start(&all.axis(START)));
    Ok(text)
}

fn curves(rows: &Pick<'_>, axis: &str, folder: &Path) -> Result<String> {
    let mut text = format!("\n### {axis}\n");
    for scenario in rows.scenarios() {
        let here = rows.scenario(scenario);
        for system in here.systems() {
            let table = curve(&here.system(system), axis);
            text.push_str(&format!("\n{system}, {scenario}:\n{table}"));
        }
        let x = Axis { title: axis_title(axis), unit: Unit::Plain, log: true };
        let rates = series(&here, pick::rate);
        let mut panels =
            vec![Panel { title: "messages per second", unit: Unit::Plain, log: false, lines: rates }];
        let tails = series(&here, pick::p99);
        if !tails.is_empty() {
            panels.push(Panel { title: "p99", unit: Unit::Micros, log: false, lines: tails });
        }
        let single = rows.scenarios().len() == 1;
        let name =
            if single { format!("growth-{axis}.svg") } else { format!("growth-{axis}-{scenario}.svg") };
        lines(&folder.join(&name), &format!("{scenario}, with growing {axis}"), &x, &panels)?;
        text.push_str(&format!("![{scenario} with growing {axis}]({name})\n"));
    }
    Ok(text)
}

fn axis_title(axis: &str) -> &'static str {
    match axis {
        "backlog" => "messages waiting",
        "queues" => "queues",
        "tenants" => "tenants",
        "consumers" => "consumers",
        "in-flight" => "messages in flight",
        _ => "size",
    }
}

fn curve(rows: &Pick<'_>, axis: &str) -> String {
    let heads =
        [axis, "msg/s", "change", "p99", "change", "server memory", "more for each", "disk per message"];
    let mut table = Table::new(&heads);
    let points = rows.points();
    let first = points.first().map(|x| rows.at(*x));
    let change = |here: &Pick<'_>, figure: pick::Figure| {
        let before = first.as_ref()?.median(figure).filter(|before| *before > 0.0)?;
        Some(here.median(figure)? / before - 1.0)
    };
    for x in &points {
        let here = rows.at(*x);
        table.row(&[
            number(*x),
            with_spread(here.spread(pick::rate), number),
            or_nothing(change(&here, pick::rate), signed),
            or_nothing(here.median(pick::p99), micros),
            or_nothing(change(&here, pick::p99), signed),
            or_nothing(here.median(pick::memory), bytes),
            or_nothing(more_for_each(rows, *x), bytes),
            or_nothing(here.median(pick::disk_of_message), bytes),
        ]);
    }
    table.finish()
}

fn signed(share: f64) -> String {
    if share > 0.0 { format!("+{}", percent(share)) } else { percent(share) }
}

/// Memory beyond that of the first point, divided by the growth since then; `None` if it is not more.
fn more_for_each(rows: &Pick<'_>, x: f64) -> Option<f64> {
    let first = *rows.points().first()?;
    let (before, after) = (rows.at(first).median(pick::memory)?, rows.at(x).median(pick::memory)?);
    (x > first && after > before).then(|| (after - before) / (x - first))
}

fn disk(rows: &Pick<'_>) -> String {
    let heads = ["system", "messages waiting", "on disk", "for each message"];
    by_point("Disk of a backlog", &heads, rows, |here, x| {
        let used = here.at(x).median(pick::disk_bytes);
        vec![or_nothing(used, bytes), or_nothing(used.map(|used| used / x), bytes)]
    })
}

fn idle(rows: &Pick<'_>) -> String {
    let heads = ["system", "queues", "server memory", "more for each queue"];
    by_point("Memory of idle queues", &heads, rows, |here, x| {
        vec![or_nothing(here.at(x).median(pick::memory), bytes), or_nothing(more_for_each(here, x), bytes)]
    })
}

fn start(rows: &Pick<'_>) -> String {
    let heads = ["system", "messages waiting", "seconds from start to the first delivery"];
    by_point("Start", &heads, rows, |here, x| vec![with_spread(here.at(x).spread(pick::seconds), trimmed)])
}

/// A table with a row for each system and point, whose first cells are both; empty if nothing was measured.
fn by_point(
    title: &str,
    heads: &[&str],
    rows: &Pick<'_>,
    cells: impl Fn(&Pick<'_>, f64) -> Vec<String>,
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(heads);
    for system in rows.systems() {
        let here = rows.system(system);
        for x in here.points() {
            let mut row = vec![system.to_owned(), number(x)];
            row.extend(cells(&here, x));
            table.row(&row);
        }
    }
    format!("\n### {title}\n{}\n", table.finish().trim_end_matches('\n'))
}
