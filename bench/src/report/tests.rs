//! Tests of the raw data's files and of the report, over invented rows.

use std::fs;

use super::{
    POSTHOUSE, Raw, Recorder, Run, compose,
    samples::{all, facts, row, run, with},
    write,
};
use crate::row::Row;

#[test]
fn raw_data_survives_the_disk_and_a_run_that_was_broken_off() {
    let folder = tempfile::tempdir().unwrap();
    let raw = all();
    let (some, rest) = raw.rows.split_at(5);
    let mut recorder = Recorder::open(folder.path()).unwrap();
    recorder.run(raw.run.clone()).unwrap();
    let old = super::samples::facts("rabbitmq");
    recorder.system(crate::system::Facts { version: "old".to_owned(), ..old }).unwrap();
    some.iter().for_each(|row| recorder.row(row).unwrap());
    // Every row is flushed while the recorder is open.
    assert_eq!(Raw::load(folder.path()).unwrap().rows, some);
    drop(recorder);
    let path = folder.path().join("raw.csv");
    let text = fs::read(&path).unwrap();
    fs::write(&path, [&text[..], b"soak,posthouse,bo"].concat()).unwrap();
    assert_eq!(Raw::load(folder.path()).unwrap().rows, some);
    let mut recorder = Recorder::open(folder.path()).unwrap();
    recorder.system(facts("rabbitmq")).unwrap();
    recorder.system(facts("posthouse")).unwrap();
    rest.iter().for_each(|row| recorder.row(row).unwrap());
    let loaded = Raw::load(folder.path()).unwrap();
    assert_eq!(loaded.rows, raw.rows);
    assert_eq!(loaded.systems, [facts("rabbitmq"), facts("posthouse")]);
    assert_eq!(loaded.run, raw.run);
}

#[test]
fn earlier_runs_are_listed_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(folder.path()).unwrap();
    for nth in 1..=3 {
        recorder.run(Run { command: format!("command {nth}"), ..run() }).unwrap();
    }
    recorder.run(run()).unwrap();
    let raw = Raw::load(folder.path()).unwrap();
    let commands: Vec<_> = raw.run.before.iter().map(|before| before.command.as_str()).collect();
    assert_eq!(commands, ["command 1", "command 2", "command 3"]);
    let report = compose(&raw, folder.path()).unwrap();
    assert!(report.contains("| rows are also of | 2026-01-02T03:04:05Z, commit 0123abc: `command 2` |"));
}

#[test]
fn a_damaged_row_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(folder.path()).unwrap();
    recorder.run(run()).unwrap();
    recorder.row(&row("compare", POSTHOUSE, "publish", 1.0)).unwrap();
    let path = folder.path().join("raw.csv");
    fs::write(&path, fs::read_to_string(&path).unwrap() + "compare,posthouse\n").unwrap();
    assert!(format!("{:#}", Raw::load(folder.path()).unwrap_err()).contains("raw.csv"));
}

/// The plots that a report shows.
fn shown(report: &str) -> Vec<&str> {
    report.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(name, _)| name).collect()
}

#[test]
fn a_report_has_all_sections_and_the_plots_that_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let raw = all();
    let mut recorder = Recorder::open(folder.path()).unwrap();
    recorder.run(raw.run.clone()).unwrap();
    raw.systems.iter().for_each(|facts| recorder.system(facts.clone()).unwrap());
    raw.rows.iter().for_each(|row| recorder.row(row).unwrap());
    write(folder.path()).unwrap();
    let report = fs::read_to_string(folder.path().join("report.md")).unwrap();
    let heads: Vec<&str> = report.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let expected = [
        "Systems",
        "Targets",
        "Side by side",
        "Limits of the machine",
        "Latency",
        "Payload sizes",
        "Connections",
        "Single messages",
        "Growth",
        "Soak",
    ];
    assert_eq!(heads, expected);
    assert!(report.contains("32 kept, 0 missed, 0 not measured"));
    assert!(
        report.contains("| posthouse | 8 × 128 × 1024 | 400,000 [396,000–404,000] | 404,000 |"),
        "{report}"
    );
    assert!(report.contains("a \\| b"));
    assert!(report.contains("| posthouse | 1,024 | 3 MiB | 3 KiB |"), "{report}");
    let dearer = "| posthouse | load generator CPU s/million | 4.99 | 4.97 | -0.5 % |";
    assert!(report.contains(dearer), "{report}");
    let plots = shown(&report);
    assert!(plots.len() >= 15, "{plots:?}");
    for plot in plots {
        let svg = fs::read_to_string(folder.path().join(plot)).unwrap();
        assert!(svg.contains("</svg>") && svg.contains("posthouse"), "{plot}");
    }
}

#[test]
fn sections_without_rows_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let raw = Raw { run: run(), systems: Vec::new(), rows: vec![row("soak", "x", "both", 1.0)] };
    let report = compose(&raw, folder.path()).unwrap();
    let heads: Vec<&str> = report.lines().filter(|line| line.starts_with("## ")).collect();
    assert_eq!(heads, ["## Targets"]);
    assert!(report.contains("0 kept, 0 missed, 32 not measured"));
    assert_eq!(shown(&report), Vec::<&str>::new());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_rate_that_was_not_held_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let slow = |row: &Row| row.part == "latency" && row.remark == "90%" && row.system == "postgres";
    let text = |rows: &[Row]| super::latency::latency(rows, folder.path()).unwrap();
    let held = |row: &Row| row.part == "latency" && row.remark != "half of rabbitmq";
    let held: Vec<Row> = all().rows.into_iter().filter(held).collect();
    assert_eq!(text(&held).matches(" \\* |").count(), 0);
    assert_eq!(text(&with(slow, |row| row.rate *= 0.9)).matches(" \\* |").count(), 1 + 2);
}
