//! Lines of Rust have at most 110 columns of code, and 120 with their comment or up to the end of a text in quotes;
//! lines of Markdown have 120. Tables, code blocks and what holds an address cannot be broken and are left alone.

use crate::{
    exceptions::assert_rule,
    source::sources,
    tree::{File, Violation, repository},
};

const MAX_CODE: usize = 110;
const MAX_TEXT: usize = 120;

fn check(files: &[File]) -> Vec<Violation> {
    let mut violations = rust(files);
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        violations.extend(markdown(file));
    }
    violations
}

fn rust(files: &[File]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources(files) {
        let lines = source.text.lines().zip(source.code.lines());
        for (index, (line, code)) in lines.enumerate().filter(|(_, (line, _))| !line.contains("://")) {
            let code = columns(code.trim_end_matches(|c: char| !c.is_alphanumeric()));
            let text = if code > MAX_CODE {
                format!("{code} columns of code, the limit is {MAX_CODE}; break the line")
            } else if columns(line) > MAX_TEXT {
                format!(
                    "{} columns, the limit is {MAX_TEXT}; shorten the sentence or break the line",
                    columns(line)
                )
            } else {
                continue;
            };
            violations.push(Violation::new(source.path, index + 1, text));
        }
    }
    violations
}

fn markdown(file: &File) -> Vec<Violation> {
    let mut in_block = false;
    let mut violations = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        let is_code = in_block || line.starts_with("    ");
        let stays = is_code || line.starts_with('|') || line.contains("://");
        if columns(line) > MAX_TEXT && !stays {
            let text = format!("{} columns, the limit is {MAX_TEXT}; break the line", columns(line));
            violations.push(Violation::new(&file.path, index + 1, text));
        }
    }
    violations
}

fn columns(line: &str) -> usize {
    line.chars().count()
}

#[test]
fn lines_are_short() {
    assert_rule("line-length", check(&repository()));
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tree::files;

    fn count(path: &str, text: &str) -> usize {
        check(&files(&[(path, text)])).len()
    }

    #[test]
    fn code_and_comments_have_their_own_limits() {
        let letters = |count| "x".repeat(count);
        assert_eq!(count("a.rs", &letters(110)), 0);
        assert_eq!(count("a.rs", &letters(111)), 1);
        assert_eq!(count("a.rs", &format!("{} // {}", letters(50), letters(66))), 0);
        assert_eq!(count("a.rs", &format!("{} // {}", letters(50), letters(67))), 1);
        assert_eq!(count("a.rs", &format!("a(\"{}\");", letters(114))), 0);
        assert_eq!(count("a.rs", &format!("a(\"{}\");", letters(115))), 1);
        assert_eq!(count("a.rs", &format!("/// {}", "ä".repeat(116))), 0);
        assert_eq!(count("a.rs", &format!("/// {}", letters(117))), 1);
    }

    #[test]
    fn tables_blocks_and_addresses_of_a_page_may_be_long() {
        let long = "x".repeat(121);
        assert_eq!(count("a.md", &long), 1);
        assert_eq!(count("a.md", &long[1..]), 0);
        assert_eq!(count("a.md", &format!("| {long} |\nhttps://{long}\n```sh\n{long}\n```\n    {long}")), 0);
        assert_eq!(count("a.md", &format!("```\n```\n{long}")), 1);
    }
}
