//! Every RPC of the wire has its entry with a kind in the table of methods: what is not recorded there by name cannot
//! be called, and what is recorded under a wrong kind would not be audited.

use std::collections::BTreeMap;

use crate::{
    exceptions::assert_rule,
    source::{code, line_of},
    tree::{File, Violation, repository},
};

const TABLE: &str = "server/src/policy/methods.rs";
const KINDS: &[&str] = &["Read", "Change", "Messages", "Stream"];

/// An RPC of a schema.
struct Rpc {
    path: String,
    streams: bool,
    line: usize,
}

fn check(files: &[File]) -> Vec<Violation> {
    let mut table =
        files.iter().find(|file| file.path == TABLE).map(|file| entries(&file.text)).unwrap_or_default();
    let mut violations = Vec::new();
    for file in
        files.iter().filter(|file| file.path.starts_with("proto/posthouse/") && file.path.ends_with(".proto"))
    {
        for rpc in rpcs(&file.text) {
            let text = match table.remove(&rpc.path) {
                Some((kind, _)) if !KINDS.contains(&kind.as_str()) => format!("{}: no kind {kind}", rpc.path),
                Some((kind, _)) if rpc.streams != (kind == "Stream") => {
                    format!(
                        "{} is of kind {kind} in {TABLE}; a call is of kind Stream if it streams",
                        rpc.path
                    )
                }
                Some(_) => continue,
                None => format!("{} has no kind; add it to {TABLE} with its kind and checks", rpc.path),
            };
            violations.push(Violation::new(&file.path, rpc.line, text));
        }
    }
    let of_ours = table.into_iter().filter(|(path, _)| path.starts_with("/posthouse."));
    let text = |path| format!("{path} is not in the schema; delete the entry");
    violations.extend(of_ours.map(|(path, (_, line))| Violation::new(TABLE, line, text(path))));
    violations
}

/// The table's entries `Kind Name = "path"`: by path, the kind and the line.
fn entries(text: &str) -> BTreeMap<String, (String, usize)> {
    let start = text.find("\nmethods! {").unwrap_or(text.len());
    let entry = |at: usize| {
        let path = text[at + 1..].split('"').next().unwrap_or_default();
        let head = text[start..at].rsplit([';', '{']).next().unwrap_or_default();
        let kind = head.split_whitespace().next().unwrap_or_default();
        (path.to_owned(), (kind.to_owned(), line_of(text, at)))
    };
    text.match_indices("\"/").map(|(at, _)| at).filter(|at| *at > start).map(entry).collect()
}

/// The RPCs of a schema; its comments are like those of Rust.
fn rpcs(text: &str) -> Vec<Rpc> {
    let code = code(text);
    let package =
        code.split("package ").nth(1).and_then(|rest| rest.split(';').next()).unwrap_or_default().trim();
    let (mut service, mut rpcs) = ("", Vec::new());
    for (index, line) in code.lines().enumerate() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("service ") {
            service = rest.split([' ', '{']).next().unwrap_or_default();
        } else if let Some((name, rest)) = line.strip_prefix("rpc ").and_then(|rest| rest.split_once('(')) {
            let path = format!("/{package}.{service}/{}", name.trim());
            let streams = rest.starts_with("stream ") || rest.contains("(stream ");
            rpcs.push(Rpc { path, streams, line: index + 1 });
        }
    }
    rpcs
}

#[test]
fn every_rpc_has_a_kind() {
    let files = repository();
    let count: usize = files
        .iter()
        .filter(|f| f.path.starts_with("proto/posthouse/"))
        .map(|file| rpcs(&file.text).len())
        .sum();
    assert!(count >= 15, "only {count} RPCs were found; this test reads the wrong folder");
    assert_rule("rpc-kind", check(&files));
}

#[cfg(test)]
mod tests {
    use super::{TABLE, check};
    use crate::tree::files;

    const SCHEMA: &str = "package posthouse.v1;\nservice A {\n  // rpc No(X)\n\
        rpc Get(X) returns (Y) {\n  rpc Watch(X) returns (stream Y);\n}";

    fn lines(entries: &str) -> Vec<usize> {
        let table = format!("macro_rules! methods {{}}\nmethods! {{\n{entries}}}");
        let files = files(&[("proto/posthouse/v1/a.proto", SCHEMA), (TABLE, &table)]);
        check(&files).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn an_rpc_without_a_kind_is_found() {
        let get = "Read Get = \"/posthouse.v1.A/Get\", [];\n";
        let watch = "Stream Watch =\n \"/posthouse.v1.A/Watch\", [B];\n\
            Read Check = \"/grpc.health.v1.Health/Check\", [];\n";
        assert_eq!(lines(&format!("{get}{watch}")), []);
        assert_eq!(lines(watch), [4]);
        assert_eq!(lines(&format!("{get}Read Watch = \"/posthouse.v1.A/Watch\", [];\n")), [5]);
        assert_eq!(lines(&format!("Some Get = \"/posthouse.v1.A/Get\", [];\n{watch}")), [4]);
    }

    #[test]
    fn an_entry_without_an_rpc_is_found() {
        let known =
            "Read Get = \"/posthouse.v1.A/Get\", [];\nStream Watch = \"/posthouse.v1.A/Watch\", [];\n";
        assert_eq!(lines(&format!("{known}Read Gone = \"/posthouse.v1.A/Gone\", [];\n")), [5]);
    }
}
