//! The tests and metrics that pages name exist.

use std::{fs, path::PathBuf};

use super::pages::{Page, root};

/// The folders of the suites, by the word before the first `::`.
const SUITES: &[(&str, &str)] = &[
    ("it", "tests/tests/it"),
    ("crash", "tests/tests/crash"),
    ("docs", "tests/tests/docs"),
    ("scenarios", "engine/tests/scenarios"),
    ("proofs", "engine/tests/proofs"),
    ("server", "server/src"),
    ("client", "client/tests/it"),
    ("commands", "cli/tests/commands"),
];

/// The tests that a page names, as `suite::module::function` in backticks.
fn named(page: &Page) -> Vec<&str> {
    let quoted = page.text.split('`').skip(1).step_by(2);
    quoted.filter(|text| SUITES.iter().any(|(suite, _)| text.starts_with(&format!("{suite}::")))).collect()
}

/// The files in which a test of that path can be.
fn files(path: &[&str]) -> Vec<PathBuf> {
    let folder =
        SUITES.iter().find(|(suite, _)| *suite == path[0]).map(|(_, folder)| root().join(folder)).unwrap();
    let modules: PathBuf = path[1..path.len() - 1].iter().collect();
    let inside = folder.join(&modules);
    // A `tests` module stands in the file of its parent, or in one of its own.
    let parent = inside.parent().map(|parent| parent.with_extension("rs")).into_iter();
    [inside.with_extension("rs"), inside.join("mod.rs"), inside.join("main.rs")]
        .into_iter()
        .chain(parent)
        .collect()
}

#[test]
fn every_named_test_exists() {
    for page in Page::all() {
        for name in named(&page) {
            let path: Vec<_> = name.split("::").collect();
            let function = format!("fn {}(", path[path.len() - 1]);
            let found = files(&path).iter().any(|file| {
                let text = fs::read_to_string(file).unwrap_or_default();
                let before = text.find(&function).map(|at| &text[..at]);
                before.is_some_and(|before| before.lines().rev().take(4).any(|line| line.contains("test")))
            });
            assert!(found, "{}: there is no test {name}", page.name);
        }
    }
}

#[test]
fn every_promise_has_its_test() {
    let page = Page::read("docs/delivery-guarantees.md");
    assert!(named(&page).len() >= 20, "{:?}", named(&page));
    let promises =
        page.text.split("## What is promised").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    for row in promises.lines().filter(|line| line.starts_with("| ")).skip(1) {
        assert!(row.contains("::"), "no test in: {row}");
    }
}

#[test]
fn every_named_metric_exists() {
    let table = fs::read_to_string(root().join("server/src/observe/table.rs")).unwrap();
    for page in Page::all() {
        for rest in page.text.split("posthouse_").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
            let name = format!("posthouse_{}", &rest[..end]);
            // The crate is no metric.
            let known = name == "posthouse_client" || table.contains(&format!("\"{name}\""));
            assert!(known, "{}: there is no metric {name}", page.name);
        }
    }
}
