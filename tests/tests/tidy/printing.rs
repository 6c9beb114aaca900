//! Shipped code does not print: the command line writes through `stdout` and `stderr`, the server through `out`. The
//! lints ban the same, but a module may allow a lint without being asked.

use crate::{
    exceptions::assert_rule,
    source::{line_of, sources},
    tokens::tokens,
    tree::{File, Violation, repository},
};

const MACROS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

/// The crates that are shipped.
pub const SHIPPED: &[&str] = &["text", "proto", "engine", "server", "client", "cli"];

fn check(files: &[File]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources(files) {
        let is_shipped = SHIPPED.iter().any(|name| source.path.starts_with(&format!("{name}/src/")));
        if !is_shipped {
            continue;
        }
        for pair in tokens(&source.shipped).windows(2) {
            if MACROS.contains(&pair[0].text) && pair[1].text == "!" {
                let text =
                    format!("{}! in shipped code; write through the crate's own stdout or log", pair[0].text);
                violations.push(Violation::new(source.path, line_of(source.text, pair[0].at), text));
            }
        }
    }
    violations
}

#[test]
fn shipped_code_does_not_print() {
    assert_rule("print", check(&repository()));
}

#[test]
fn a_print_in_shipped_code_is_found() {
    let text = "/// println!(1)\nfn a() { x(\"print!\"); dbg!(2) }\n#[cfg(test)]\nmod tests { fn b() { println!() } }";
    let files = crate::tree::files(&[("cli/src/a.rs", text), ("cli/examples/b.rs", "print!()")]);
    let found = check(&files);
    assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [2]);
}
