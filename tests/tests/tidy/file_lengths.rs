//! Rust files have at most 400 lines.

use crate::{
    exceptions::assert_rule,
    tree::{File, Violation, repository},
};

const MAX_LINES: usize = 400;

fn check(files: &[File]) -> Vec<Violation> {
    let too_long = |file: &File| {
        let lines = file.text.lines().count();
        let text =
            || format!("{lines} lines, the limit is {MAX_LINES}; cut the file where its subject changes");
        (file.path.ends_with(".rs") && lines > MAX_LINES).then(|| Violation::new(&file.path, lines, text()))
    };
    files.iter().filter_map(too_long).collect()
}

#[test]
fn files_are_short() {
    assert_rule("file-length", check(&repository()));
}

#[test]
fn a_file_of_one_line_too_many_is_found() {
    let (long, full) = ("\n".repeat(MAX_LINES + 1), "\n".repeat(MAX_LINES));
    let files = crate::tree::files(&[("a.rs", &long), ("b.rs", &full), ("c.md", &long)]);
    let found = check(&files);
    assert_eq!(found.iter().map(|violation| &violation.path).collect::<Vec<_>>(), ["a.rs"]);
}
