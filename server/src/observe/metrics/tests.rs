use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use super::Metrics;
use crate::observe::table::{Kind, TABLE};

/// The metrics by name, as their exposition names them.
fn families(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn names_and_help_are_as_prometheus_wants_them() {
    let mut names = BTreeSet::new();
    for metric in TABLE {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert!(name.starts_with("posthouse_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        for suffix in ["_count", "_sum", "_bucket", "_milliseconds", "_ms", "_kb", "_mb"] {
            assert!(!name.ends_with(suffix), "{name}");
        }
        assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{name}: {}", metric.help);
        if let Kind::Histogram(buckets) = metric.kind {
            assert!(buckets.is_sorted() && !buckets.is_empty(), "{name}");
        }
        for label in metric.labels {
            assert!(!["queue", "department", "subscription", "subject", "client"].contains(label), "{name}");
            assert_eq!(*label == "tenant", name.starts_with("posthouse_tenant_"), "{name}");
        }
    }
}

#[test]
fn what_is_shown_is_in_the_table() {
    let metrics = Metrics::new(&["taxation".parse().unwrap()]).unwrap();
    let known: BTreeSet<String> = TABLE.iter().map(|metric| metric.name.to_owned()).collect();
    let shown = families(&metrics.text().unwrap());
    assert!(shown.is_subset(&known), "{:?}", shown.difference(&known));
    let plain = TABLE.iter().filter(|metric| metric.labels.is_empty()).map(|metric| metric.name.to_owned());
    for name in plain {
        assert!(shown.contains(&name), "{name} is in the table and not made");
    }
}

#[test]
fn without_their_names_in_the_configuration_tenants_have_no_series() {
    let metrics = Metrics::new(&[]).unwrap();
    assert!(!metrics.text().unwrap().contains("tenant="));
    assert!(metrics.tenant(&"taxation".parse().unwrap()).is_none());
}

#[test]
fn the_page_in_docs_is_made_of_the_table() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = page();
    if std::env::var_os("POSTHOUSE_WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/metrics.md differs from server/src/observe/table.rs; run this test with \
         POSTHOUSE_WRITE_DOCS=1, which writes it, and commit it"
    );
}

fn page() -> String {
    let mut page = "\
# Metrics

`GET /metrics` on the management listener (`[management] listen`, unless configured `127.0.0.1:9464`) answers in
Prometheus' text format. Times are in seconds, sizes in bytes; counters begin at 0 with the process. No series holds a
queue's name, a subject or anything of a message; tenants have series of their own only with `tenants = true` under
`[metrics]`, and only the configured ones. A series with labels appears once it has something to say.

This page is made of the table in `server/src/observe/table.rs`; a test compares them.

| metric | kind | labels | what it says |
|---|---|---|---|
"
    .to_owned();
    for metric in TABLE {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help).unwrap();
    }
    page
}
