//! Troubleshooting has a section for each error reason, with the codes that the server sends with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use posthouse_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::pages::{Page, root};

/// The sections whose heading is a reason, with their text.
fn sections(page: &Page) -> BTreeMap<String, String> {
    let mut sections = BTreeMap::new();
    let mut heading = None;
    for line in page.text.lines() {
        if line.starts_with('#') {
            let title = line.trim_start_matches('#').trim();
            let is_reason = title.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            heading = is_reason.then(|| title.to_owned());
        } else if let Some(heading) = &heading {
            let text: &mut String = sections.entry(heading.clone()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    sections
}

/// The reasons of the schema.
fn reasons() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let mut enums = files.iter().flat_map(|file| &file.enum_type);
    let reasons = enums.find(|it| it.name() == "ErrorReason").unwrap();
    let names = reasons.value.iter().map(|value| value.name().trim_start_matches("ERROR_REASON_").to_owned());
    names.filter(|name| name != "UNSPECIFIED").collect()
}

/// The code of each reason, from `Code::NotFound, ErrorReason::QueueNotFound` anywhere in the server's source.
fn codes() -> BTreeSet<(String, String)> {
    let mut pairs = BTreeSet::new();
    collect(&root().join("server/src"), &mut pairs);
    assert!(pairs.contains(&("QUEUE_NOT_FOUND".to_owned(), "NOT_FOUND".to_owned())), "{pairs:?}");
    pairs
}

fn collect(folder: &Path, pairs: &mut BTreeSet<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, pairs);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for rest in text.split("Code::").skip(1) {
                let (code, rest) = identifier(rest);
                let Some(rest) = rest.strip_prefix(',') else { continue };
                let Some(rest) = rest.trim_start().strip_prefix("ErrorReason::") else { continue };
                pairs.insert((screaming(identifier(rest).0), screaming(code)));
            }
        }
    }
}

fn identifier(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len()))
}

/// `QueueNotFound` as `QUEUE_NOT_FOUND`.
fn screaming(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

#[test]
fn each_has_a_section_and_no_other() {
    let page = Page::read("docs/troubleshooting.md");
    let sections: BTreeSet<_> = sections(&page).into_keys().collect();
    let reasons = reasons();
    let missing: Vec<_> = reasons.difference(&sections).collect();
    let unknown: Vec<_> = sections.difference(&reasons).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}, unknown: {unknown:?}");
}

#[test]
fn each_section_names_every_code_of_its_reason() {
    let page = Page::read("docs/troubleshooting.md");
    let sections = sections(&page);
    for (reason, code) in codes() {
        let text = &sections[&reason];
        assert!(text.contains(&format!("`{code}`")), "{reason} does not say that its code may be {code}");
    }
    for (reason, text) in &sections {
        assert!(text.contains("**Do:**"), "{reason} does not say what to do");
    }
}
