//! The soak: the same load for a long time.

use std::path::Path;

use anyhow::Result;

use super::pick::{self, Pick};
use super::plot::{Axis, Line, Panel, Unit, lines};
use super::text::{Table, bytes, number, or_nothing, percent};
use crate::row::Row;

/// Fewer minutes than this in a window are too few to judge.
const ENOUGH_MINUTES: usize = 5;

/// Means over some minutes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Messages per second.
    pub rate: f64,
    /// Resident memory of the server.
    pub memory: Option<f64>,
}

/// Minutes 5 to 10 and 25 to 30 of a system, if both are there.
pub fn windows(rows: &[Row], system: &str) -> Option<(Window, Window)> {
    let rows = minutes(rows).system(system);
    Some((window(&rows, 5.0, 10.0)?, window(&rows, 25.0, 30.0)?))
}

fn minutes(rows: &[Row]) -> Pick<'_> {
    Pick::part(rows, "soak").axis("minute")
}

fn window(rows: &Pick<'_>, from: f64, to: f64) -> Option<Window> {
    let rows = rows.filter(|row| (from..=to).contains(&row.x));
    let mean = |figure: pick::Figure| {
        let values: Vec<f64> = rows.rows().iter().filter_map(|row| figure(row)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let rate = mean(pick::rate).filter(|_| rows.points().len() >= ENOUGH_MINUTES)?;
    Some(Window { rate, memory: mean(pick::memory) })
}

/// The section; empty if there was no soak.
pub fn soak(rows: &[Row], folder: &Path) -> Result<String> {
    let all = minutes(rows);
    if all.is_empty() {
        return Ok(String::new());
    }
    let mut table = Table::new(&[
        "system",
        "msg/s, minutes 5–10",
        "msg/s, minutes 25–30",
        "change",
        "memory, minutes 5–10",
        "memory, minutes 25–30",
        "change",
    ]);
    for system in all.systems() {
        let Some((early, late)) = windows(rows, system) else {
            table.row(&[system, "too few minutes"]);
            continue;
        };
        let growth = early.memory.zip(late.memory).map(|(early, late)| late / early - 1.0);
        table.row(&[
            system.to_owned(),
            number(early.rate),
            number(late.rate),
            percent(late.rate / early.rate - 1.0),
            or_nothing(early.memory, bytes),
            or_nothing(late.memory, bytes),
            or_nothing(growth, percent),
        ]);
    }
    let x = Axis { title: "minute", unit: Unit::Plain, log: false };
    let panels = [
        Panel {
            title: "messages per second",
            unit: Unit::Plain,
            log: false,
            lines: series(&all, pick::rate),
        },
        Panel { title: "server memory", unit: Unit::Bytes, log: false, lines: series(&all, pick::memory) },
    ];
    lines(&folder.join("soak.svg"), "Soak", &x, &panels)?;
    Ok(format!(
        "## Soak\n\nThe same load for a long time, minute by minute: means over the minutes.\n{}\
         ![Rate and memory by minute](soak.svg)\n",
        table.finish()
    ))
}

/// A figure of every system along the axis.
pub fn series(rows: &Pick<'_>, figure: pick::Figure) -> Vec<Line> {
    let of_system = |system: &str| {
        let rows = rows.system(system);
        let points = rows.points();
        let points = points.into_iter().filter_map(|x| Some((x, rows.at(x).median(figure)?))).collect();
        Line { system: system.to_owned(), points }
    };
    rows.systems().into_iter().map(of_system).filter(|line| !line.points.is_empty()).collect()
}
