//! One word for one thing: words that meant several things, or that no reader in this field would look for, are no part
//! of an identifier. `banned_words.txt` has them, with what to say instead, and the crates in which they are banned.

use std::collections::BTreeMap;

use crate::{
    source::{Source, line_of, sources},
    tokens::{Token, tokens},
    tree::{File, Violation, prints, repository},
};

const LIST: &str = include_str!("banned_words.txt");
const PATH: &str = "tests/tests/tidy/banned_words.txt";

/// A name of so many words in a test is a sentence, which may use any word.
const SENTENCE: usize = 4;

/// What the list says.
#[derive(Debug, Default)]
struct List<'a> {
    /// Crates in which the words are banned.
    enforced: Vec<&'a str>,
    /// By word: the folder it is banned in (`*` for all), and what to say instead.
    words: BTreeMap<&'a str, (&'a str, &'a str)>,
    /// Names of other libraries, which pass where they are called or imported: behind `.` or `::`, or within braces of
    /// `use`.
    called: Vec<&'a str>,
    /// Names, and parts of names, that pass everywhere: public, on the wire, or terms of the product.
    allowed: Vec<Vec<String>>,
}

/// The violations in all crates, and whether the list enforces each.
fn check(files: &[File], list: &List<'_>) -> Vec<(Violation, bool)> {
    let mut violations = Vec::new();
    for source in sources(files) {
        let krate = source.path.split('/').next().unwrap_or_default();
        let is_enforced = list.enforced.contains(&krate);
        violations.extend(check_file(&source, list).into_iter().map(|violation| (violation, is_enforced)));
    }
    violations
}

fn check_file(source: &Source<'_>, list: &List<'_>) -> Vec<Violation> {
    let tokens = tokens(&source.code);
    let mut violations = Vec::new();
    let mut deprecated_until = 0;
    for at in (0..tokens.len()).filter(|at| tokens[*at].is_word()) {
        if tokens[at].text == "deprecated" && at > 0 && ["[", "("].contains(&tokens[at - 1].text) {
            deprecated_until = at + former_len(&tokens[at..]);
        }
        if at < deprecated_until {
            continue;
        }
        let name = tokens[at].text;
        let words = without(humps(name), &list.allowed);
        let is_test = source.shipped.get(tokens[at].at..).is_none_or(|rest| rest.starts_with(' '));
        if is_test && words.len() >= SENTENCE || passes(&tokens, at, list) {
            continue;
        }
        let banned = words.iter().find_map(|word| list.words.get_key_value(word.as_str()));
        if let Some((word, (folder, instead))) =
            banned.filter(|(_, (folder, _))| *folder == "*" || source.path.starts_with(folder))
        {
            let text = format!("`{name}` says `{word}`, which is banned in {folder}; say {instead}");
            violations.push(Violation::new(source.path, line_of(source.text, tokens[at].at), text));
        }
    }
    violations
}

/// The length of a former name's item up to its body or end, or of a `use` of it: both stay as they are.
fn former_len(tokens: &[Token<'_>]) -> usize {
    let is_use = tokens.iter().take_while(|token| token.text != "{").any(|token| token.text == "use");
    let ends = |token: &Token<'_>| token.text == ";" || token.text == "{" && !is_use;
    tokens.iter().position(ends).unwrap_or(tokens.len())
}

/// Whether a name is one that the list lets pass here.
fn passes(tokens: &[Token<'_>], at: usize, list: &List<'_>) -> bool {
    let name = tokens[at].text;
    let is_called = at.checked_sub(1).is_some_and(|before| [".", "::"].contains(&tokens[before].text));
    is_called && list.called.contains(&name)
}

/// The words of a name without those of allowed parts.
fn without(mut words: Vec<String>, allowed: &[Vec<String>]) -> Vec<String> {
    for part in allowed {
        while let Some(at) = words.windows(part.len()).position(|window| window == part) {
            // Each leaves an empty word, so that the number of words stays.
            words[at..at + part.len()].fill(String::new());
        }
    }
    words
}

/// The words of an identifier, in small letters: it is cut at `_` and before capitals that follow a small letter.
fn humps(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for c in name.chars() {
        if c == '_' || c.is_uppercase() && was_small {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
        was_small = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Reads the list; its head says what a line may be.
fn read(text: &str) -> List<'_> {
    let mut list = List::default();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let [words, folder, instead] = line.split(" | ").collect::<Vec<_>>()[..] {
            list.words.extend(words.split_whitespace().map(|word| (word, (folder, instead))));
            continue;
        }
        let (key, names) = line.split_once(':').unwrap_or((line, ""));
        let names = names.split_whitespace();
        match key {
            "enforced" => list.enforced.extend(names),
            "called" => list.called.extend(names),
            "allowed" => list.allowed.extend(names.map(humps)),
            _ => panic!("{PATH}: this line cannot be read: {line}"),
        }
    }
    list
}

#[test]
fn no_identifier_has_a_banned_word() {
    let list = read(LIST);
    let violations = check(&repository(), &list);
    if prints() {
        let mut counts = BTreeMap::new();
        for (violation, _) in &violations {
            let krate = violation.path.split('/').next().unwrap_or_default();
            *counts.entry(krate).or_insert(0) += 1;
            println!("{violation}");
        }
        println!("banned words: {counts:?}");
    }
    let enforced =
        violations.iter().filter(|(_, enforced)| *enforced).map(|(violation, _)| violation.to_string());
    let lines: Vec<_> = enforced.collect();
    assert!(lines.is_empty(), "{} violations of banned words:\n{}", lines.len(), lines.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::{check, humps, read};
    use crate::tree::files;

    const LIST: &str = "enforced: a\ncalled: take\nallowed: set_aside\n\
        take taken | * | acquire\naside | a/src/x/ | relocated\n";

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let found = check(&files(&[(path, text)]), &read(LIST));
        found.iter().filter(|(_, enforced)| *enforced).map(|(violation, _)| violation.line).collect()
    }

    #[test]
    fn a_banned_word_in_a_name_is_found() {
        assert_eq!(lines("a/src/b.rs", "fn take_turn() {}\nstruct IsTaken;\nlet taken = 1;"), [1, 2, 3]);
        assert_eq!(lines("a/src/b.rs", "fn take() {}\nlet a = b.take();\nlet b = mem::take(c);"), [1]);
        assert_eq!(lines("a/src/b.rs", "// taken\nlet mistaken = \"taken\";"), []);
    }

    #[test]
    fn a_former_name_stays_as_it_is() {
        let former = "#[deprecated(note = \"\")]\npub fn take_it(taken: u8) { b() }\n";
        assert_eq!(lines("a/src/b.rs", former), []);
        assert_eq!(
            lines("a/src/b.rs", "#[allow(deprecated)]\npub use b::{take_it, Taken};\nuse b::Taken;"),
            [3]
        );
        assert_eq!(lines("a/src/b.rs", &format!("{former}fn take_all() {{}}")), [3]);
    }

    #[test]
    fn a_word_is_banned_where_the_list_says() {
        assert_eq!(lines("b/src/b.rs", "fn take_turn() {}"), []);
        assert_eq!(lines("a/src/x/b.rs", "fn aside() { set_aside() }\nfn set_aside() {}"), [1]);
        assert_eq!(lines("a/src/x/b.rs", "struct SetAsideKey;\nfn aside_set() {}"), [2]);
        assert_eq!(lines("a/src/b.rs", "fn aside() {}"), []);
    }

    #[test]
    fn a_test_may_have_a_sentence_for_a_name() {
        let test = "#[cfg(test)]\nmod tests {\n    fn it_is_taken_once() {}\n    fn take_it() {}\n}";
        assert_eq!(lines("a/src/b.rs", test), [4]);
        assert_eq!(lines("a/src/b.rs", "fn it_is_taken_once() {}"), [1]);
        assert_eq!(lines("a/tests/b.rs", "fn it_is_taken_once() {}\nfn take_it() {}"), [2]);
    }

    #[test]
    fn names_are_cut_into_their_words() {
        assert_eq!(humps("MAX_aB"), ["max", "a", "b"]);
        assert_eq!(humps("AnswerGroup"), ["answer", "group"]);
        assert_eq!(humps("_r2d2"), ["r2d2"]);
    }
}
