//! Head of the report: the run and the machine, how to read the figures, and which targets were kept.

use super::{
    judge::{self, Found, Judgement, Verdict},
    machine::Machine,
    raw::{Before, Raw},
    text::{NOTHING, Table, bytes},
};
use crate::row::Row;

const HOW_TO_READ: &str = "\
All systems get the same load from the same process. Client and server share the same cores of one machine, so a
system's rate includes what its client library costs. In every round each system is started with empty data, in a random
order; the figures are medians over the rounds, and brackets hold the lowest and the highest round. Where a system was
measured in several shapes (connections, messages handed over together, messages in flight), its table row is the shape
with the highest median. In a ratio the other side counts with its best run over all rounds and shapes at that scenario
and payload in the same part of the report, ours with the median; a single run in another part may have been faster. \
What a system has on disk when it answers differs: read the table of systems before
any ratio. The raw data is in `raw.csv`, `systems.json` and `run.json` beside this file.";

/// The run, the machine, and how to read the figures.
pub fn head(raw: &Raw) -> String {
    let run = &raw.run;
    let Machine { cpu_model, cores, memory_bytes, kernel, filesystem, disk } = &run.machine;
    let mut table = Table::of_words(&["", ""]);
    let rounds = raw.rows.iter().filter(|row| row.part == "compare").map(|row| row.round).max();
    for (name, value) in [
        ("date", run.date.clone()),
        ("Posthouse", format!("{}, commit {}", run.posthouse.version, run.posthouse.commit)),
        ("command", format!("`{}`", run.command)),
        ("processor", format!("{cpu_model}, {cores} cores")),
        ("memory", bytes(*memory_bytes as f64)),
        ("kernel", kernel.clone()),
        ("disk", disk.clone()),
        ("filesystem", filesystem.clone()),
        ("rounds of the comparison", rounds.map_or_else(|| NOTHING.to_owned(), |rounds| rounds.to_string())),
    ] {
        table.row(&[name, &value]);
    }
    for Before { date, command, commit } in &run.before {
        table.row(&["rows are also of", &format!("{date}, commit {commit}: `{command}`")]);
    }
    format!("# Benchmarks\n{}{HOW_TO_READ}\n", table.finish())
}

/// The table of systems; empty if none was recorded.
pub fn systems(raw: &Raw) -> String {
    if raw.systems.is_empty() {
        return String::new();
    }
    let mut table = Table::of_words(&[
        "system",
        "version",
        "client",
        "on disk when it answers a publish",
        "on disk when it answers a settlement",
        "security",
        "settings",
    ]);
    for facts in &raw.systems {
        table.row(&[
            &facts.system,
            &facts.version,
            &facts.client,
            &facts.publish_promise,
            &facts.settle_promise,
            &facts.security,
            &facts.settings,
        ]);
    }
    format!("## Systems\n{}", table.finish().trim_end_matches('\n').to_owned() + "\n")
}

/// The targets and whether they were kept.
pub fn targets(rows: &[Row]) -> String {
    let judgements = judge::judge(rows);
    let mut table = Table::of_words(&["target", "promised", "measured", "made of", ""]);
    for Judgement { target, found, verdict } in &judgements {
        let measured = found.as_ref().map(|Found { value, .. }| target.measure.show(*value));
        let detail = found.as_ref().map_or(NOTHING, |found| &found.detail);
        let verdict = match verdict {
            Verdict::Met => "kept",
            Verdict::Missed => "**MISSED**",
            Verdict::NotMeasured => "not measured",
        };
        let measured = measured.unwrap_or_else(|| NOTHING.to_owned());
        table.row(&[
            target.measure.name(),
            target.promised(),
            measured,
            detail.to_owned(),
            verdict.to_owned(),
        ]);
    }
    let count = |verdict| judgements.iter().filter(|judgement| judgement.verdict == verdict).count();
    let (met, missed, open) = (count(Verdict::Met), count(Verdict::Missed), count(Verdict::NotMeasured));
    format!(
        "## Targets\n\nSet before the measurement. {met} kept, {missed} missed, {open} not measured. Ours is the \
         median over the rounds,\nthe other side's its best run; the verdict is about the figures before they were \
         rounded.\n{}",
        table.finish().trim_end_matches('\n').to_owned() + "\n"
    )
}
