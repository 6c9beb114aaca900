//! A crate uses what its `Cargo.toml` asks for. What only features, macros or generated code need is excepted.

use std::collections::BTreeSet;

use crate::{
    exceptions::assert_rule,
    source::sources,
    tokens::tokens,
    tree::{File, Violation, repository},
};

/// The sections, and the sources whose use of a name counts.
const SECTIONS: &[(&str, &[&str])] = &[
    ("dependencies", &["src/", "tests/", "examples/", "benches/"]),
    ("dev-dependencies", &["src/", "tests/", "examples/", "benches/"]),
    ("build-dependencies", &["build.rs"]),
];

fn check(files: &[File]) -> Vec<Violation> {
    let manifests = files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    let folders: Vec<_> = manifests.clone().map(|file| file.path.trim_end_matches("Cargo.toml")).collect();
    let mut violations = Vec::new();
    for (manifest, folder) in manifests.zip(&folders) {
        // A crate inside the folder of another, for example tests/powercut.
        let inner: Vec<_> =
            folders.iter().filter(|other| other.starts_with(folder) && other != &folder).collect();
        let own = files.iter().filter(|file| {
            file.path.starts_with(folder) && !inner.iter().any(|inner| file.path.starts_with(**inner))
        });
        let own: Vec<_> = own.cloned().collect();
        violations.extend(check_crate(manifest, folder, &own));
    }
    violations
}

fn check_crate(manifest: &File, folder: &str, files: &[File]) -> Vec<Violation> {
    let sources = sources(files);
    let mut violations = Vec::new();
    for (section, parts) in SECTIONS {
        let counts = |path: &str| parts.iter().any(|part| path[folder.len()..].starts_with(part));
        // What is only used under `#[cfg(test)]` is a dev-dependency.
        let is_library = *section == "dependencies" && folder != "tests/";
        let counted = sources.iter().filter(|source| counts(source.path));
        let code = counted.map(|source| if is_library { &source.shipped } else { &source.code });
        let used: BTreeSet<_> = code.flat_map(|code| tokens(code)).map(|token| token.text).collect();
        for (line, name) in names(&manifest.text, section) {
            if !used.contains(name.replace('-', "_").as_str()) {
                let text = format!("no source of the crate uses {name} of [{section}]; delete it");
                violations.push(Violation::new(&manifest.path, line, text));
            }
        }
    }
    violations
}

/// The names in a section of a manifest, with their lines.
pub fn names<'a>(manifest: &'a str, section: &str) -> Vec<(usize, &'a str)> {
    let (mut names, mut inside) = (Vec::new(), false);
    for (index, line) in manifest.lines().enumerate() {
        if let Some(rest) = line.strip_prefix('[') {
            inside = rest.strip_suffix(']') == Some(section);
        } else if inside && line.starts_with(|c: char| c.is_alphanumeric()) {
            let name = line.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_').next();
            names.push((index + 1, name.unwrap_or_default()));
        }
    }
    names
}

#[test]
fn every_dependency_is_used() {
    assert_rule("dependencies", check(&repository()));
}

#[test]
fn a_dependency_that_nothing_uses_is_found() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nhttp-body.workspace = true\nbytes = \"1\"\n\
        [dev-dependencies]\nrand = \"1\"\n";
    let lines = |source: &str| {
        let found = check(&crate::tree::files(&[
            ("a/Cargo.toml", manifest),
            ("a/src/lib.rs", source),
            ("a/inner/Cargo.toml", "[dependencies]\n"),
            ("a/inner/src/lib.rs", "use bytes;"),
        ]));
        found.iter().map(|violation| violation.line).collect::<Vec<_>>()
    };
    assert_eq!(
        lines("use http_body::Body;\nfn a() { bytes::b() }\n#[cfg(test)]\nmod tests { use rand; }"),
        []
    );
    assert_eq!(lines("// bytes\nuse http_body::Body;\n#[cfg(test)]\nmod tests { use rand; }"), [5]);
    assert_eq!(lines("use http_body::Body;\n#[cfg(test)]\nmod tests { use bytes; use rand; }"), [5]);
}
