//! README.md and docs/*.md, as text.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A page.
pub struct Page {
    /// Its path below the root, for example `docs/concepts.md`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A fenced block.
pub struct Block<'a> {
    /// The line of its opening fence, from 1.
    pub line: usize,
    /// The word behind the fence.
    pub language: &'a str,
    /// The lines between the fences.
    pub lines: Vec<&'a str>,
}

impl Page {
    /// A page by its path below the root.
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    /// README.md and every page in docs/, without the decisions, which are history.
    pub fn all() -> Vec<Self> {
        let mut names = vec!["README.md".to_owned()];
        for entry in fs::read_dir(root().join("docs")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            names.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
        }
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    /// Its fenced blocks, in order.
    pub fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        for (index, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(""), Some(_)) => blocks.extend(open.take()),
                (Some(language), None) => {
                    open = Some(Block { line: index + 1, language, lines: Vec::new() });
                }
                (_, Some(block)) => block.lines.push(line),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a fenced block is not closed", self.name);
        blocks
    }
}

/// The folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn every_block_says_what_it_is() {
    for page in Page::all() {
        for block in page.blocks() {
            // `sh` is run; `console` is what a command writes; Rust is compiled by `cargo test --doc`.
            let known =
                ["sh", "console", "text", "toml", "json", "promql", "rust,no_run"].contains(&block.language);
            assert!(known, "{}:{}: a block of {:?}", page.name, block.line, block.language);
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut pages = Page::all();
    let others = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "demo/README.md",
        "docs/benchmarks/misses.md",
        "tests/clients/README.md",
    ];
    pages.extend(others.map(Page::read));
    for page in pages {
        let folder = root().join(&page.name).parent().unwrap().to_owned();
        for target in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { root().join(&page.name) } else { folder.join(path) };
            assert!(file.exists(), "{}: there is no {target}", page.name);
            let text = || fs::read_to_string(&file).unwrap();
            assert!(
                anchor.is_empty() || anchors(&text()).contains(&anchor.to_owned()),
                "{}: {target}",
                page.name
            );
        }
    }
}

/// The anchors of a page's headings.
fn anchors(text: &str) -> Vec<String> {
    let heading = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let letters = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        letters.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(heading).collect()
}
