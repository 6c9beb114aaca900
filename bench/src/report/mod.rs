//! The report: a run's raw data, and the text and plots made from it.
//!
//! A run leaves `raw.csv`, `systems.json` and `run.json` in a folder. [`write()`] needs nothing else, so that everybody
//! can make the report from the raw data, and check it.

mod compare;
mod growth;
mod head;
mod inside;
mod judge;
mod latency;
mod machine;
mod pick;
mod pivot;
mod plot;
mod raw;
mod soak;
mod targets;
mod text;

#[cfg(test)]
mod judge_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

pub use self::raw::{Raw, Recorder, Run};

/// Posthouse's name in the rows.
const POSTHOUSE: &str = "posthouse";

/// Reads the raw data of a folder and writes `report.md` and its plots beside it.
pub fn write(folder: &Path) -> Result<()> {
    let raw = Raw::load(folder)?;
    let report = compose(&raw, folder)?;
    let path = folder.join("report.md");
    fs::write(&path, report).with_context(|| format!("writing {}", path.display()))
}

/// Composes the text and writes the plots. A part that was not measured has no section.
fn compose(raw: &Raw, folder: &Path) -> Result<String> {
    let rows = &raw.rows;
    let sections = [
        head::head(raw),
        head::systems(raw),
        head::targets(rows),
        compare::compare(rows, folder)?,
        compare::limits(rows),
        latency::latency(rows, folder)?,
        pivot::payload(rows, folder)?,
        pivot::connections(rows, folder)?,
        compare::naive(rows, folder)?,
        growth::growth(rows, folder)?,
        inside::inside(rows),
        soak::soak(rows, folder)?,
    ];
    let sections: Vec<String> = sections.into_iter().filter(|text| !text.is_empty()).collect();
    Ok(sections.join("\n"))
}
