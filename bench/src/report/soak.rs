//! Section of the report: the same load for a long time.

use std::path::Path;

use anyhow::Result;

use super::{
    pick::{self, Pick},
    plot::{Axis, Line, Panel, Unit, lines},
    text::{Table, bytes, number, or_nothing, percent},
};
use crate::row::Row;

/// A window with fewer minutes than this is not judged.
const ENOUGH_MINUTES: usize = 5;

/// Means over some minutes of the soak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Messages per second.
    pub rate: f64,
    /// Resident memory of the server.
    pub memory: Option<f64>,
    /// Processor seconds of the server per million messages.
    server_cpu: Option<f64>,
    /// Processor seconds of the load generator per million messages; its work per message does not change.
    client_cpu: Option<f64>,
    /// Bytes written per message.
    disk: Option<f64>,
}

/// The windows of minutes 5 to 10 and 25 to 30; `None` if one is missing.
pub fn windows(rows: &[Row], system: &str) -> Option<(Window, Window)> {
    let rows = minutes(rows).system(system);
    Some((window(&rows, 5.0, 10.0)?, window(&rows, 25.0, 30.0)?))
}

/// Name, value and format of a figure.
type Shown = (&'static str, fn(&Window) -> Option<f64>, fn(f64) -> String);

const FIGURES: [Shown; 5] = [
    ("messages per second", |window| Some(window.rate), number),
    ("memory", |window| window.memory, bytes),
    ("server CPU s/million", |window| window.server_cpu, two_decimals),
    ("load generator CPU s/million", |window| window.client_cpu, two_decimals),
    ("bytes written per message", |window| window.disk, number),
];

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
    Some(Window {
        rate,
        memory: mean(pick::memory),
        server_cpu: mean(pick::server_cpu),
        client_cpu: mean(pick::client_cpu),
        disk: mean(pick::disk_of_message),
    })
}

/// The section; empty if no soak was measured.
pub fn soak(rows: &[Row], folder: &Path) -> Result<String> {
    let all = minutes(rows);
    if all.is_empty() {
        return Ok(String::new());
    }
    let mut table = Table::of_words(&["system", "mean of", "minutes 5–10", "minutes 25–30", "change"]);
    for system in all.systems() {
        let Some((early, late)) = windows(rows, system) else {
            table.row(&[system, "too few minutes"]);
            continue;
        };
        for (name, of, show) in FIGURES {
            let (early, late) = (of(&early), of(&late));
            let change = early.zip(late).map(|(early, late)| late / early - 1.0);
            table.row(&[
                system.to_owned(),
                name.to_owned(),
                or_nothing(early, show),
                or_nothing(late, show),
                or_nothing(change, percent),
            ]);
        }
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
        Panel {
            title: "load generator CPU s/million",
            unit: Unit::Plain,
            log: false,
            lines: series(&all, pick::client_cpu),
        },
    ];
    lines(&folder.join("soak.svg"), "Soak", &x, &panels)?;
    Ok(format!(
        "## Soak\n\nThe same load for a long time, minute by minute: means over the minutes. The load generator does \
         the same for every\nmessage: where it needs more of the processor for one, something besides its own work has \
         become slower.\n{}\
         ![Rate, memory and the load generator's processor time by minute](soak.svg)\n",
        table.finish()
    ))
}

fn two_decimals(value: f64) -> String {
    format!("{value:.2}")
}

/// A curve of a figure for every system.
pub fn series(rows: &Pick<'_>, figure: pick::Figure) -> Vec<Line> {
    let of_system = |system: &str| {
        let rows = rows.system(system);
        let points = rows.points();
        let points = points.into_iter().filter_map(|x| Some((x, rows.at(x).median(figure)?))).collect();
        Line { system: system.to_owned(), points }
    };
    rows.systems().into_iter().map(of_system).filter(|line| !line.points.is_empty()).collect()
}
