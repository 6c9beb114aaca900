//! Imports are nested: one `use` for each crate, `crate`, `super` or `self` included. The standard library comes first,
//! then other crates, then the crate's own, each in a block of its own with an empty line between.

use crate::{
    exceptions::assert_rule,
    source::{Source, line_of, sources},
    tokens::tokens,
    tree::{File, Violation, prints, repository},
};

/// A `use` at the top level of a file.
struct Import<'a> {
    line: usize,
    last_line: usize,
    /// What stands before `use`, for example `pub(crate)`.
    visibility: &'a str,
    /// The first word of the path.
    root: &'a str,
}

/// Where a `use` belongs: blocks stand in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Std,
    Crates,
    Own,
}

fn check(files: &[File]) -> Vec<Violation> {
    sources(files).iter().flat_map(check_file).collect()
}

fn check_file(source: &Source<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let imports = imports(source);
    let modules = modules(source);
    let group = |import: &Import<'_>| match import.root {
        "std" | "core" | "alloc" => Group::Std,
        "crate" | "super" | "self" => Group::Own,
        root if modules.contains(&root) => Group::Own,
        _ => Group::Crates,
    };
    for block in imports.chunk_by(|a, b| a.last_line + 1 == b.line) {
        for (nth, import) in block.iter().enumerate() {
            let mut earlier = block[..nth].iter();
            if earlier.any(|other| other.root == import.root && other.visibility == import.visibility) {
                let text = format!("a second `use {}` in one block; nest them", import.root);
                violations.push(Violation::new(source.path, import.line, text));
            }
        }
    }
    let private: Vec<_> = imports.iter().filter(|import| import.visibility.is_empty()).collect();
    for pair in private.windows(2) {
        let (before, after) = (group(pair[0]), group(pair[1]));
        let is_apart = pair[0].last_line + 1 < pair[1].line;
        if after < before || after > before && !is_apart {
            let text = format!(
                "`use {}` ({after:?}) behind {before:?}; std, crates, own, an empty line between",
                pair[1].root
            );
            violations.push(Violation::new(source.path, pair[1].line, text));
        }
    }
    violations
}

/// The imports at the top level of a file; those under `#[cfg(...)]` cannot be nested with others and are left out.
fn imports<'a>(source: &'a Source<'_>) -> Vec<Import<'a>> {
    let mut imports = Vec::new();
    let mut at = 0;
    let mut after_attribute = false;
    for line in source.code.split_inclusive('\n') {
        let is_import = line.starts_with("use ") || line.starts_with("pub") && line.contains(" use ");
        if is_import && !after_attribute {
            let len = source.code[at..].find(';').unwrap_or(0);
            let (visibility, path) = line.split_once("use ").unwrap();
            let root = tokens(path).into_iter().find(|token| token.is_word()).map_or("", |token| token.text);
            let (line, last_line) = (line_of(&source.code, at), line_of(&source.code, at + len));
            imports.push(Import { line, last_line, visibility: visibility.trim(), root });
        }
        after_attribute = line.starts_with("#[");
        at += line.len();
    }
    imports
}

/// The modules that a file declares: a `use` of them is of the crate's own.
fn modules<'a>(source: &'a Source<'_>) -> Vec<&'a str> {
    let tokens = tokens(&source.code);
    let declared = tokens.windows(2).filter(|pair| pair[0].text == "mod" && pair[1].is_word());
    declared.map(|pair| pair[1].text).collect()
}

#[test]
fn imports_are_nested_and_in_order() {
    let violations = check(&repository());
    if prints() {
        let mut files: Vec<_> = violations.iter().map(|violation| &violation.path).collect();
        files.dedup();
        println!("imports: {} violations in {} files", violations.len(), files.len());
    }
    assert_rule("imports", violations);
}

#[test]
fn two_imports_of_one_crate_in_a_block_are_found() {
    let lines = |text: &str| {
        let found = check(&crate::tree::files(&[("a.rs", text)]));
        found.iter().map(|violation| violation.line).collect::<Vec<_>>()
    };
    assert_eq!(lines("use std::fs;\nuse std::io;\n"), [2]);
    assert_eq!(
        lines("use std::{\n    fs,\n    io,\n};\n\nuse bytes::Bytes;\n\nuse super::a;\nuse crate::b;\n"),
        []
    );
    assert_eq!(lines("use bytes::Bytes;\n\nuse std::fs;\n"), [3]);
    assert_eq!(lines("use std::fs;\nuse bytes::Bytes;\n"), [2]);
    assert_eq!(lines("mod a;\nuse bytes::Bytes;\nuse a::B;\n"), [3]);
    assert_eq!(lines("pub use a::B;\nuse a::C;\n"), []);
    assert_eq!(lines("fn a() {\n    use std::fs;\n    use std::io;\n}\n"), []);
}
