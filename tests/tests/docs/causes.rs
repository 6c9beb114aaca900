//! Every error with a cause has the cause in its text, since many callers show an error and not its source.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::pages::root;

/// Every source file of the shipped crates.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for part in ["text", "proto", "engine", "server", "client", "cli"] {
        collect(&root().join(part).join("src"), &mut files);
    }
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The messages of errors (the text between `#[error(` and `)]`), each with the text up to the next.
fn messages(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    code.split("#[error(").skip(1).filter_map(|rest| {
        let (message, body) = rest.split_once(")]")?;
        Some((message, body.split("\n}\n").next().unwrap_or(body)))
    })
}

#[test]
fn every_error_says_its_cause() {
    let (mut wrapping, mut silent) = (0, Vec::new());
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        for (message, body) in messages(&text) {
            let wraps = ["source:", "#[source]", "#[from]"].iter().any(|mark| body.contains(mark));
            let says = ["{0}", "{source}", "{cause}", "transparent", ".0", "source)"];
            wrapping += usize::from(wraps);
            if wraps && !says.iter().any(|word| message.contains(word)) {
                silent.push(format!("{}: {}", file.display(), message.trim()));
            }
        }
    }
    assert!(
        wrapping > 20,
        "only {wrapping} errors with causes were found; this test reads the wrong folders"
    );
    assert!(silent.is_empty(), "these have a cause and do not say it: {silent:#?}");
}
