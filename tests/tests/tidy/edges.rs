//! Which module may use which. `edges.txt` lists, for a crate or a folder, what each of its modules imports: an edge
//! that is not on the list fails, and so does one that no longer exists. In every folder of every crate, modules beside
//! each other import in one direction, but for the edges that the list marks with `circle` and a reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    modules::{Edges, crates, folders},
    source::{Source, sources},
    tree::{File, Violation, prints, repository},
};

const LIST: &str = include_str!("edges.txt");
const PATH: &str = "tests/tests/tidy/edges.txt";

/// What the list says of a folder.
#[derive(Debug, Default)]
struct Section<'a> {
    /// Lines `module: others`, with their numbers.
    modules: BTreeMap<&'a str, (usize, Vec<&'a str>)>,
    /// Lines `circle: from -> to: reason`: by edge, the reason and the number.
    circles: BTreeMap<(&'a str, &'a str), (&'a str, usize)>,
}

fn check(files: &[File], list: &str) -> Vec<Violation> {
    let sources = sources(files);
    let found = edges(files, &sources);
    let sections = match read(list) {
        Ok(sections) => sections,
        Err(line) => {
            return vec![Violation::new(
                PATH,
                line,
                "none of `[folder]`, `a: b c`, `circle: a -> b: reason`",
            )];
        }
    };
    let mut violations = Vec::new();
    for (folder, edges) in &found {
        let none = Section::default();
        let section = sections.get(folder.as_str());
        // A section of circles alone leaves the other edges free.
        if let Some(section) =
            section.filter(|section| !section.modules.is_empty() || section.circles.is_empty())
        {
            violations.extend(unlisted(folder, edges, section));
        }
        violations.extend(circles(folder, edges, section.unwrap_or(&none)));
    }
    let unknown = sections.iter().filter(|(folder, _)| !found.contains_key(**folder));
    violations.extend(unknown.map(|(folder, section)| {
        let line = section.modules.values().map(|(line, _)| *line).min();
        let line = line.or_else(|| section.circles.values().map(|(_, line)| *line).min()).unwrap_or(1);
        Violation::new(PATH, line, format!("there is no folder {folder} with modules; delete the section"))
    }));
    violations
}

/// The edges between crates, under `crates`, and those inside each folder.
fn edges<'a>(files: &'a [File], sources: &'a [Source<'a>]) -> BTreeMap<String, Edges<'a>> {
    let mut edges = folders(sources);
    edges.insert("crates".to_owned(), crates(files));
    edges
}

/// The sections of the list, or the line that cannot be read.
fn read(list: &str) -> Result<BTreeMap<&str, Section<'_>>, usize> {
    let mut sections: BTreeMap<&str, Section<'_>> = BTreeMap::new();
    let mut folder = "";
    for (line, text) in (1..).zip(list.lines()) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(name) = text.strip_prefix('[') {
            folder = name.trim_end_matches(']');
            sections.entry(folder).or_default();
            continue;
        }
        let section = sections.entry(folder).or_default();
        if let Some(circle) = text.strip_prefix("circle: ") {
            let (edge, reason) = circle.split_once(": ").filter(|(_, reason)| *reason != "?").ok_or(line)?;
            let edge = edge.split_once(" -> ").ok_or(line)?;
            section.circles.insert(edge, (reason, line));
        } else {
            let (module, others) = text.split_once(':').ok_or(line)?;
            section.modules.insert(module, (line, others.split_whitespace().collect()));
        }
    }
    Ok(sections)
}

/// The edges that are not on the list, and those on the list that do not exist.
fn unlisted(folder: &str, edges: &Edges<'_>, section: &Section<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let listed =
        |from: &str, to: &str| section.modules.get(from).is_some_and(|(_, others)| others.contains(&to));
    for ((from, to), uses) in edges {
        if !listed(from, to) {
            let text = format!(
                "{from} imports {to}, an edge that {PATH} does not list for {folder}; do without, or list it there"
            );
            violations.push(Violation::new(uses[0].0, uses[0].1, text));
        }
    }
    for (from, (line, others)) in &section.modules {
        for to in others.iter().filter(|to| !edges.contains_key(&((*from).to_owned(), (**to).to_owned()))) {
            let text = format!("in {folder}, {from} no longer imports {to}; delete it from the list");
            violations.push(Violation::new(PATH, *line, text));
        }
    }
    violations
}

/// The circles that the list does not break, and the marks that break none.
fn circles(folder: &str, edges: &Edges<'_>, section: &Section<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let is_marked = |from: &str, to: &str| section.circles.contains_key(&(from, to));
    for ((from, to), uses) in edges.iter().filter(|((from, to), _)| !is_marked(from, to)) {
        if let Some(path) = path(edges, to, from, &is_marked) {
            let text = format!(
                "a circle in {folder}: {from} -> {}; turn one edge round, or mark it in {PATH} with a reason",
                path.join(" -> ")
            );
            violations.push(Violation::new(uses[0].0, uses[0].1, text));
        }
    }
    for ((from, to), (_, line)) in &section.circles {
        let exists = edges.contains_key(&((*from).to_owned(), (*to).to_owned()));
        if !exists || path(edges, to, from, &|_, _| false).is_none() {
            let text = format!("in {folder}, {from} -> {to} is in no circle; delete the mark");
            violations.push(Violation::new(PATH, *line, text));
        }
    }
    violations
}

/// The shortest way from one module to another that uses no edge left out.
fn path<'a>(
    edges: &'a Edges<'_>,
    from: &'a str,
    to: &str,
    left_out: &dyn Fn(&str, &str) -> bool,
) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    while !ways.is_empty() {
        if let Some(way) = ways.iter().find(|way| way.last() == Some(&to)) {
            return Some(way.clone());
        }
        let mut longer = Vec::new();
        for way in &ways {
            for ((_, next), _) in
                edges.iter().filter(|((a, b), _)| way.last() == Some(&a.as_str()) && !left_out(a, b))
            {
                if seen.insert(next) {
                    longer.push([&way[..], &[next.as_str()]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// Prints the edges in the form of the list, and pairs of modules that import each other.
fn print(files: &[File], list: &str) {
    let sources = sources(files);
    let sections = read(list).unwrap_or_default();
    let mut pairs = 0;
    for (folder, edges) in &edges(files, &sources) {
        println!("\n[{folder}]");
        let froms: BTreeSet<_> = edges.keys().map(|(from, _)| from).collect();
        for from in froms {
            let others: Vec<_> = edges.keys().filter(|(a, _)| a == from).map(|(_, to)| to.as_str()).collect();
            println!("{from}: {}", others.join(" "));
        }
        for ((from, to), there) in edges.iter().filter(|((from, to), _)| from < to) {
            let Some(back) = edges.get(&(to.clone(), from.clone())) else { continue };
            pairs += 1;
            println!("# pair {pairs}: {from} <-> {to} ({} imports, {} back)", there.len(), back.len());
        }
        let marks = sections.get(folder.as_str()).into_iter().flat_map(|section| &section.circles);
        for ((from, to), (reason, _)) in marks {
            println!("circle: {from} -> {to}: {reason}");
        }
    }
    println!("\n{pairs} pairs of modules beside each other import each other");
}

#[test]
fn modules_import_what_the_list_allows() {
    let files = repository();
    if prints() {
        print(&files, LIST);
    }
    let violations = check(&files, LIST);
    let lines: Vec<_> = violations.iter().map(Violation::to_string).collect();
    assert!(lines.is_empty(), "{} violations of edges:\n{}", lines.len(), lines.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::{PATH, check};
    use crate::tree::files;

    const LIB: &str = "mod a;\nmod b;\nmod c;\npub use c::C;";

    fn found(a: &str, b: &str, list: &str) -> Vec<String> {
        let files = files(&[
            ("x/src/lib.rs", LIB),
            ("x/src/a.rs", a),
            ("x/src/b/mod.rs", b),
            ("x/src/b/d.rs", ""),
            ("x/src/c.rs", ""),
        ]);
        check(&files, list).iter().map(|violation| format!("{}:{}", violation.path, violation.line)).collect()
    }

    #[test]
    fn an_edge_that_is_not_listed_is_found() {
        let list = "[x/src]\na: b\n";
        assert_eq!(found("use crate::{b::{self, B}};", "mod d;\nuse d::D;", list), [""; 0]);
        assert_eq!(found("use crate::b;", "", "[x/src]\n"), ["x/src/a.rs:1"]);
        assert_eq!(found("use crate::b;\nfn f() {\n    crate::c::g()\n}", "", list), ["x/src/a.rs:3"]);
        assert_eq!(found("use super::b;\nuse super::C;", "", list), ["x/src/a.rs:2"]);
        assert_eq!(
            found("use crate::b;\n#[cfg(test)]\nmod tests {\n    use crate::c;\n}", "", list),
            [""; 0]
        );
    }

    #[test]
    fn an_edge_that_no_longer_exists_is_found() {
        assert_eq!(found("use crate::b;", "", "[x/src]\na: b c\n"), [format!("{PATH}:2")]);
        assert_eq!(found("", "", "[x/src/gone]\na: b\n"), [format!("{PATH}:2")]);
    }

    #[test]
    fn a_crate_that_is_not_listed_is_found() {
        let manifest = "[dependencies]\nposthouse-b.workspace = true\n\
            [dev-dependencies]\nposthouse-c.workspace = true\n";
        let files = files(&[("a/Cargo.toml", manifest)]);
        assert_eq!(check(&files, "[crates]\na: b\n"), []);
        assert_eq!(check(&files, "[crates]\nb: c\n").len(), 2);
    }

    #[test]
    fn a_circle_has_to_be_marked() {
        let circle = |list| found("use crate::b;", "use crate::a;", list);
        assert_eq!(circle(""), ["x/src/a.rs:1", "x/src/b/mod.rs:1"]);
        assert_eq!(circle("[x/src]\ncircle: b -> a: for now\n"), [""; 0]);
        assert_eq!(circle("[x/src]\ncircle: b -> a: ?\n"), [format!("{PATH}:2")]);
        assert_eq!(found("use crate::b;", "", "[x/src]\ncircle: b -> a: for now\n"), [format!("{PATH}:2")]);
    }
}
