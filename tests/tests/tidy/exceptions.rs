//! `exceptions.txt`: what breaks a rule and may, with the reason.

use crate::tree::Violation;

const LIST: &str = include_str!("exceptions.txt");
const PATH: &str = "tests/tests/tidy/exceptions.txt";

/// A line `path: reason` or `path word: reason`; a path that ends with `/` is a folder.
#[derive(Debug)]
struct Exception<'a> {
    path: &'a str,
    /// What the violation has to name, if not empty.
    word: &'a str,
    reason: &'a str,
    line: usize,
}

/// Fails unless every violation of a rule is excepted and every exception of the rule is needed.
pub fn assert_rule(rule: &str, violations: Vec<Violation>) {
    let left = sift(rule, violations, LIST);
    let lines: Vec<_> = left.iter().map(Violation::to_string).collect();
    assert!(left.is_empty(), "{} violations of {rule}:\n{}", left.len(), lines.join("\n"));
}

/// The violations that no exception covers, and one for each exception that covers none.
fn sift(rule: &str, violations: Vec<Violation>, list: &str) -> Vec<Violation> {
    let exceptions = read(rule, list);
    let covers = |exception: &Exception<'_>, violation: &Violation| {
        let (path, word) = (&violation.path, exception.word);
        let is_named = word.is_empty() || violation.text.split_whitespace().any(|other| other == word);
        let is_inside = exception.path.ends_with('/') && path.starts_with(exception.path);
        is_named && (path == exception.path || is_inside)
    };
    let (excepted, mut left): (Vec<_>, Vec<_>) = violations
        .into_iter()
        .partition(|violation| exceptions.iter().any(|exception| covers(exception, violation)));
    for exception in &exceptions {
        if exception.reason.is_empty() {
            left.push(Violation::new(PATH, exception.line, "an exception without a reason; write one"));
        }
        if !excepted.iter().any(|violation| covers(exception, violation)) {
            let what = format!("{} {}", exception.path, exception.word);
            let text = format!("{} breaks [{rule}] no longer; delete the line", what.trim_end());
            left.push(Violation::new(PATH, exception.line, text));
        }
    }
    left
}

/// The exceptions in the section of a rule.
fn read<'a>(rule: &str, list: &'a str) -> Vec<Exception<'a>> {
    let mut section = "";
    let mut exceptions = Vec::new();
    for (index, line) in list.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section == rule && !line.is_empty() && !line.starts_with('#') {
            let (key, reason) = line.split_once(':').unwrap_or((line, ""));
            let (path, word) = key.split_once(' ').unwrap_or((key, ""));
            exceptions.push(Exception { path, word, reason: reason.trim(), line: index + 1 });
        }
    }
    exceptions
}

#[test]
fn an_exception_covers_its_rule_and_its_path_alone() {
    let violation = |path: &str| Violation::new(path, 1, "too long");
    let list = "[other]\na/b.rs: why\n[length]\n# A folder.\na/: why\n";
    assert_eq!(
        sift("length", vec![violation("a/b.rs"), violation("b/a/c.rs")], list),
        [violation("b/a/c.rs")]
    );
    assert_eq!(sift("other", vec![violation("a/b.rs")], list), []);
    let by_word = |word| sift("w", vec![violation("a.rs")], &format!("[w]\na.rs {word}: why\n")).len();
    assert_eq!((by_word("long"), by_word("lon")), (0, 2));
}

#[test]
fn an_exception_that_is_not_needed_or_has_no_reason_fails() {
    let lines = |list| sift("length", vec![Violation::new("a.rs", 1, "too long")], list).len();
    assert_eq!(lines("[length]\na.rs: why\nb.rs: why\n"), 1);
    assert_eq!(lines("[length]\na.rs:\n"), 1);
    assert_eq!(lines("[length]\na.rs: why\n"), 0);
}
