//! The files of the repository, and what a rule says of them.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
};

/// Folders that hold nothing that is written by hand.
const SKIPPED: &[&str] = &[".git", "target", "node_modules", "bin"];

/// The kinds of files that rules read.
const KINDS: &[&str] = &["md", "proto", "rs", "toml"];

/// A file: its path below the root of the repository, with `/`, and its text.
#[derive(Clone, Debug)]
pub struct File {
    pub path: String,
    pub text: String,
}

/// A line that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub path: String,
    /// From 1.
    pub line: usize,
    /// What is wrong, the limit, and what to do.
    pub text: String,
}

impl Violation {
    pub fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// Whether edges, circles and counts are asked for.
pub fn prints() -> bool {
    env::var_os("POSTHOUSE_TIDY_PRINT").is_some()
}

/// The folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files of the repository that a rule may read, by path.
pub fn repository() -> Vec<File> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 500, "only {} files were found; this test reads the wrong folder", files.len());
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        if entry.file_type().unwrap().is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(&entry.path(), &format!("{path}/"), files);
            }
        } else if KINDS.contains(&extension(&name)) {
            files.push(File { path, text: fs::read_to_string(entry.path()).unwrap() });
        }
    }
}

/// What stands behind the last dot of a name.
pub fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// Files for a rule's own test.
#[cfg(test)]
pub fn files(pairs: &[(&str, &str)]) -> Vec<File> {
    pairs.iter().map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() }).collect()
}
