//! Decisions in `docs/adr` have a number, a status and a date, and stand in the index with the same words.

use std::collections::BTreeMap;

use crate::{
    exceptions::assert_rule,
    tree::{File, Violation, repository},
};

const FOLDER: &str = "docs/adr/";
const INDEX: &str = "docs/adr/README.md";

/// What the head of an ADR says.
#[derive(Debug, Default)]
struct Adr {
    path: String,
    title: String,
    accepted: String,
    revised_by: Vec<u32>,
    revises: Vec<u32>,
}

fn check(files: &[File]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut adrs = BTreeMap::new();
    let is_adr =
        |file: &&File| file.path.starts_with(FOLDER) && file.path.ends_with(".md") && file.path != INDEX;
    for file in files.iter().filter(is_adr) {
        match read(file) {
            Ok((number, adr)) => {
                adrs.insert(number, adr);
            }
            Err(violation) => violations.push(violation),
        }
    }
    violations.extend(adrs.iter().flat_map(|(number, adr)| one_sided(*number, adr, &adrs)));
    let index = files.iter().find(|file| file.path == INDEX).map_or("", |file| &file.text);
    violations.extend(adrs.iter().filter_map(|(number, adr)| unlisted(*number, adr, index)));
    violations
}

/// The number and head of an ADR, or what is wrong with them.
fn read(file: &File) -> Result<(u32, Adr), Violation> {
    let fault = |line, text: &str| Violation::new(&file.path, line, text);
    let name = file.path.trim_start_matches(FOLDER);
    let number = name.split_once('-').filter(|(digits, _)| digits.len() == 4);
    let number: u32 = number
        .and_then(|(digits, _)| digits.parse().ok())
        .ok_or_else(|| fault(1, "the file's name has no number; call it NNNN-what-it-is.md"))?;
    let mut lines = file.text.lines();
    let title = lines.next().and_then(|line| line.strip_prefix(&format!("# ADR {number}: ")));
    let title = title
        .ok_or_else(|| fault(1, &format!("the first line is not `# ADR {number}: ` and the decision")))?;
    // The line between is empty; the status may go on in the next ones.
    let status: Vec<_> = lines.skip(1).take_while(|line| !line.is_empty()).collect();
    let status = status.join(" ");
    let clauses = status.strip_prefix("Status: ").and_then(|rest| rest.strip_suffix('.'));
    let clauses = clauses.ok_or_else(|| fault(3, "the third line is not `Status: ` up to a full stop"))?;
    let mut adr = Adr { path: file.path.clone(), title: title.to_owned(), ..Adr::default() };
    for (nth, clause) in clauses.split("; ").enumerate() {
        let known = match clause.split_once(' ') {
            Some(("accepted,", date)) if nth == 0 => accept(&mut adr, date),
            Some(("accepted", date)) if !adr.revised_by.is_empty() => accept(&mut adr, date),
            Some(("revised", rest)) if nth == 0 && rest.starts_with("by ") && is_date(last_word(rest)) => {
                adr.revised_by = numbers(rest);
                !adr.revised_by.is_empty()
            }
            Some(("revises", rest)) => {
                adr.revises = numbers(rest);
                !adr.revises.is_empty()
            }
            // For example `written down 2026-12-01`.
            _ => nth > 0 && is_date(last_word(clause)),
        };
        if !known {
            let forms = "`accepted, DATE`, `revised by ADR N, DATE`, `accepted DATE`, `revises ADR M`";
            return Err(fault(3, &format!("status `{clause}` is none of {forms} in this order")));
        }
    }
    if adr.accepted.is_empty() {
        Err(fault(3, "no date of acceptance; add `accepted DATE`"))
    } else {
        Ok((number, adr))
    }
}

fn accept(adr: &mut Adr, date: &str) -> bool {
    date.clone_into(&mut adr.accepted);
    is_date(date)
}

/// The numbers of `ADR N`, whatever line breaks and links stand between.
fn numbers(text: &str) -> Vec<u32> {
    let digits = |rest: &str| rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    text.split("ADR").skip(1).filter_map(digits).collect()
}

fn last_word(text: &str) -> &str {
    text.rsplit(' ').next().unwrap_or_default()
}

fn is_date(text: &str) -> bool {
    let is_mark = |at| at == 4 || at == 7;
    text.len() == 10
        && text.bytes().enumerate().all(|(at, c)| if is_mark(at) { c == b'-' } else { c.is_ascii_digit() })
}

/// The ADRs that this one names and that do not name it in return.
fn one_sided(number: u32, adr: &Adr, all: &BTreeMap<u32, Adr>) -> Vec<Violation> {
    let says = |other: &u32, list: fn(&Adr) -> &Vec<u32>| {
        all.get(other).is_some_and(|adr| list(adr).contains(&number))
    };
    let mut violations = Vec::new();
    for other in adr.revises.iter().filter(|other| !says(other, |adr| &adr.revised_by)) {
        let text = format!("it revises ADR {other}, which does not say `revised by ADR {number}`");
        violations.push(Violation::new(&adr.path, 3, text));
    }
    for other in adr.revised_by.iter().filter(|other| !says(other, |adr| &adr.revises)) {
        let text = format!("it is revised by ADR {other}, which does not say `revises ADR {number}`");
        violations.push(Violation::new(&adr.path, 3, text));
    }
    violations
}

/// What is wrong with an ADR's row and link in the index.
fn unlisted(number: u32, adr: &Adr, index: &str) -> Option<Violation> {
    let status = match adr.revised_by.last() {
        Some(other) => format!("revised by {other}"),
        None => "accepted".to_owned(),
    };
    let row = format!("| [{number}] | {} | {status} | {} |", adr.title, adr.accepted);
    let link = format!("[{number}]: {}", adr.path.trim_start_matches(FOLDER));
    let missing = [row, link].into_iter().find(|wanted| !index.lines().any(|line| line == wanted))?;
    Some(Violation::new(INDEX, 1, format!("there is no line `{missing}`; add it")))
}

#[test]
fn decisions_have_status_and_date_and_are_listed() {
    assert_rule("adr", check(&repository()));
}

#[cfg(test)]
mod tests {
    use super::{INDEX, check};
    use crate::tree::files;

    const FIRST: &str =
        "# ADR 1: A\n\nStatus: revised by [ADR\n2](0002-b.md), 2026-01-02; accepted 2026-01-01.\n\n## x";
    const SECOND: &str = "# ADR 2: B\n\n\
        Status: accepted, 2026-01-02; revises [ADR 1](0001-a.md); written down 2026-01-03.\n\n";
    const LIST: &str = "| [1] | A | revised by 2 | 2026-01-01 |\n| [2] | B | accepted | 2026-01-02 |\n\
        [1]: 0001-a.md\n[2]: 0002-b.md\n";

    fn found(first: &str, second: &str, index: &str) -> Vec<String> {
        let files = files(&[("docs/adr/0001-a.md", first), ("docs/adr/0002-b.md", second), (INDEX, index)]);
        check(&files).iter().map(|violation| format!("{}:{}", violation.path, violation.line)).collect()
    }

    #[test]
    fn heads_of_the_agreed_form_pass() {
        assert_eq!(found(FIRST, SECOND, LIST), [""; 0]);
    }

    #[test]
    fn a_head_without_title_status_or_date_is_found() {
        let second = |from, to| found(FIRST, &SECOND.replacen(from, to, 1), LIST);
        let one_sided = "docs/adr/0001-a.md:3";
        assert_eq!(second("ADR 2", "ADR 3"), ["docs/adr/0002-b.md:1", one_sided]);
        assert_eq!(second("Status: ", ""), ["docs/adr/0002-b.md:3", one_sided]);
        assert_eq!(second("accepted, 2026", "accepted, 26"), ["docs/adr/0002-b.md:3", one_sided]);
        assert_eq!(
            second("accepted, 2026-01-02", "proposed, 2026-01-02"),
            ["docs/adr/0002-b.md:3", one_sided]
        );
    }

    #[test]
    fn a_revision_that_one_side_leaves_out_is_found() {
        let second = SECOND.replace("revises [ADR 1](0001-a.md); ", "");
        assert_eq!(found(FIRST, &second, LIST), ["docs/adr/0001-a.md:3"]);
    }

    #[test]
    fn a_decision_that_is_not_in_the_index_is_found() {
        assert_eq!(found(FIRST, SECOND, &LIST.replace("revised by 2", "accepted")), [format!("{INDEX}:1")]);
        assert_eq!(found(FIRST, SECOND, &LIST.replace("[2]: ", "")), [format!("{INDEX}:1")]);
    }
}
