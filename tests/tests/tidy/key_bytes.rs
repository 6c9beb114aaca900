//! The bytes of keys and rows are the engine's: the server takes no part of them by position. What it needs to know,
//! the engine answers.

use crate::{
    exceptions::assert_rule,
    source::{line_of, sources},
    tokens::{Token, tokens},
    tree::{File, Violation, repository},
};

/// What keys, rows and their prefixes are called.
const NAMES: &[&str] = &["key", "keys", "line", "prefix", "row", "rows"];

/// Methods that cut bytes by position.
const CUTS: &[&str] = &[
    "chunks",
    "chunks_exact",
    "first_chunk",
    "last_chunk",
    "split_at",
    "split_at_checked",
    "split_at_mut",
    "split_first_chunk",
    "split_last_chunk",
];

fn check(files: &[File]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources(files).iter().filter(|source| source.path.starts_with("server/src/")) {
        let tokens = tokens(&source.shipped);
        for at in 0..tokens.len() {
            if is_named(&tokens[at]) && is_cut(&tokens[at + 1..]) {
                let text = format!("a slice of `{}`; ask the engine, which owns the layout", tokens[at].text);
                violations.push(Violation::new(source.path, line_of(source.text, tokens[at].at), text));
            }
        }
    }
    violations
}

/// Whether a name ends in one of the words.
fn is_named(token: &Token<'_>) -> bool {
    token.is_word() && token.text.rsplit('_').next().is_some_and(|word| NAMES.contains(&word))
}

/// Whether what follows a name takes some of its bytes: `[a..b]`, `.get(a..b)` or a method that cuts.
fn is_cut(rest: &[Token<'_>]) -> bool {
    let text = |at: usize| rest.get(at).map_or("", |token| token.text);
    match (text(0), text(1), text(2)) {
        ("[", ..) => has_range(&rest[1..], "]"),
        (".", "get" | "get_mut", "(") => has_range(&rest[3..], ")"),
        // `.first_chunk::<4>()`
        (".", method, "(" | "::") => CUTS.contains(&method),
        _ => false,
    }
}

/// Whether there is a `..` before the bracket closes, with a number on either side of it.
fn has_range(rest: &[Token<'_>], close: &str) -> bool {
    let inside: Vec<_> =
        rest.iter().take_while(|token| token.text != close).map(|token| token.text).collect();
    inside.windows(2).any(|pair| pair == [".", "."]) && inside.len() > 2
}

#[test]
fn the_server_slices_no_keys() {
    assert_rule("key-bytes", check(&repository()));
}

#[test]
fn a_slice_of_a_key_is_found() {
    let lines = |text: &str| check(&crate::tree::files(&[("server/src/a.rs", text)])).len();
    assert_eq!(lines("key.get(2..10)"), 1);
    assert_eq!(lines("&timer_key[..LINE_BYTES]"), 1);
    assert_eq!(lines("row.first_chunk::<8>(); line.split_at(4)"), 2);
    assert_eq!(lines("keys.get(2); key[1]; &key[..]; rest.get(2..10); key.len()"), 0);
    assert_eq!(lines("// key[..4]\n#[cfg(test)]\nmod tests { fn a() { key[..4] } }"), 0);
}
