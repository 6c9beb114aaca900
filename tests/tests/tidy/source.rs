//! Rust without what is not code: comments and the contents of literals become spaces, of the same length.

use crate::tree::File;

/// A Rust file, in three readings with the same line and byte positions.
pub struct Source<'a> {
    pub path: &'a str,
    pub text: &'a str,
    /// Without comments and the contents of literals.
    pub code: String,
    /// Without the items under `#[cfg(test)]` as well; empty if the whole file is of tests.
    pub shipped: String,
    /// Whether the file is more than tests.
    pub is_shipped: bool,
}

/// The Rust files among these.
pub fn sources(files: &[File]) -> Vec<Source<'_>> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    let mut sources: Vec<_> = rust
        .map(|file| {
            let code = code(&file.text);
            let shipped = without_tests(&code);
            Source { path: &file.path, text: &file.text, code, shipped, is_shipped: true }
        })
        .collect();
    let of_tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let declared = |module: &String| stem == module || stem.starts_with(&format!("{module}/"));
        if is_of_tests(source.path) || of_tests.iter().any(declared) {
            source.shipped.clear();
            source.is_shipped = false;
        }
    }
    sources
}

/// The line of a byte position, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Whether a path is one of tests, benchmarks or examples. The folder `tests` at the root holds crates like any other.
pub fn is_of_tests(path: &str) -> bool {
    let path = path.strip_prefix("tests/").unwrap_or(path);
    let mut parts = path.trim_end_matches(".rs").split('/');
    parts.any(|part| ["tests", "benches", "examples"].contains(&part) || part.ends_with("_tests"))
}

/// The files (without `.rs` and `/mod`) of modules that are declared under `#[cfg(test)]`.
fn test_modules(source: &Source<'_>) -> Vec<String> {
    let (folder, name) = source.path.rsplit_once('/').unwrap_or(("", source.path));
    let own = match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    let mut modules = Vec::new();
    for rest in source.code.split("#[cfg(test)]").skip(1) {
        let rest = skip_attributes(rest).trim_start();
        let rest = rest.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        let Some(rest) = rest.strip_prefix("mod ") else { continue };
        let Some((name, _)) = rest.split_once(';') else { continue };
        if !name.contains('{') {
            modules.push(format!("{own}/{}", name.trim()));
        }
    }
    modules
}

/// What follows the attributes that a text begins with.
fn skip_attributes(mut text: &str) -> &str {
    while let Some(rest) = text.trim_start().strip_prefix("#[") {
        text = rest.split_once(']').map_or("", |(_, rest)| rest);
    }
    text
}

/// Code without the items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut bytes = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(at) = code[from..].find(MARK).map(|at| from + at) {
        let item = code.len() - skip_attributes(&code[at..]).len();
        let end = item + item_len(&code[item..]);
        blank(&mut bytes[at..end]);
        from = end;
    }
    String::from_utf8(bytes).unwrap()
}

/// The length of the item, field or statement that a text begins with.
fn item_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let is_item =
        ["mod", "use", "fn", "impl", "struct", "enum", "const", "static", "type", "trait", "macro_rules"];
    let head = text.split(['{', ';']).next().unwrap_or_default();
    let ends_at_comma =
        !head.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| is_item.contains(&word));
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            b',' if depth == 0 && ends_at_comma => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A Rust text without comments and without the contents of its literals.
pub fn code(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let (skipped, len, tail) = match rest {
            [b'/', b'/', ..] => (0, line_len(rest), 0),
            [b'/', b'*', ..] => (0, comment_len(rest), 0),
            [b'"', ..] => (1, string_len(rest), 1),
            [b'r', b'"' | b'#', ..] if starts_word(text, at) => match raw_len(rest) {
                Some(len) => (1, len, 0),
                None => (0, 0, 0),
            },
            [b'\'', ..] => (1, char_len(rest), 1),
            _ => (0, 0, 0),
        };
        if len > skipped + tail {
            blank(&mut bytes[at + skipped..at + len - tail]);
        }
        at += len.max(1);
    }
    String::from_utf8(bytes).unwrap()
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// Whether no identifier goes on here; the `b` and `c` of byte and C strings belong to the literal.
fn starts_word(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches(['b', 'c']);
    before.len() + 1 >= at && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn line_len(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len())
}

fn comment_len(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_len(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// The length of a raw string, if it is one: `r#type` is an identifier.
fn raw_len(text: &[u8]) -> Option<usize> {
    let hashes = text[1..].iter().take_while(|byte| **byte == b'#').count();
    let open = hashes + 2;
    if text.get(open - 1) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let at = text[open..].windows(close.len()).position(|window| window == close)?;
    Some(open + at + close.len())
}

/// The length of a character, or one if it is a lifetime.
fn char_len(text: &[u8]) -> usize {
    match text {
        [_, b'\\', _, rest @ ..] => rest.iter().position(|byte| *byte == b'\'').map_or(1, |at| at + 4),
        [_, first, ..] => {
            let len = match first {
                0..0xc0 => 1,
                0xc0..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            if text.get(1 + len) == Some(&b'\'') { len + 2 } else { 1 }
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{code, is_of_tests, sources};
    use crate::tree::files;

    #[test]
    fn comments_and_literals_become_spaces() {
        let spaces = |count| " ".repeat(count);
        assert_eq!(code("a // b\nc"), format!("a {}\nc", spaces(4)));
        assert_eq!(code("a /* b /* c */ \n d */ e"), format!("a {}\n{} e", spaces(13), spaces(5)));
        assert_eq!(code(r#"f("a\"b", 'c', '\'', &'d x)"#), r#"f("    ", ' ', '  ', &'d x)"#);
        assert_eq!(code("r#type = br#\"a\"b\"#;"), format!("r#type = br{};", spaces(7)));
        assert_eq!(code("'ä' '\\u{1f}' ''a"), format!("'{}' '{}' ''a", spaces(2), spaces(6)));
    }

    #[test]
    fn what_is_under_cfg_test_is_not_shipped() {
        let text = "use a;\n#[cfg(test)]\nuse {b, c};\n\
            #[cfg(test)]\n#[path = \"x.rs\"]\nmod tests { fn d() {} }\nfn e() {}";
        let files = files(&[("a/src/lib.rs", text)]);
        let shipped = &sources(&files)[0].shipped;
        assert_eq!(shipped.split_whitespace().collect::<Vec<_>>(), ["use", "a;", ";", "fn", "e()", "{}"]);
    }

    #[test]
    fn files_of_test_modules_are_not_shipped() {
        let files = files(&[
            ("a/src/b.rs", "#[cfg(test)]\nmod samples;\nmod kept;"),
            ("a/src/b/kept.rs", "x"),
            ("a/src/b/samples.rs", "x"),
            ("a/src/b/samples/one.rs", "x"),
        ]);
        let shipped: Vec<_> = sources(&files).iter().map(|source| source.is_shipped).collect();
        assert_eq!(shipped, [true, true, false, false]);
    }

    #[test]
    fn a_path_says_whether_it_is_of_tests() {
        assert!(["a/tests/b.rs", "a/src/b_tests.rs", "tests/tests/b.rs"].into_iter().all(is_of_tests));
        assert!(
            !["a/src/attests.rs", "tests/src/b.rs", "tests/powercut/src/b.rs"].into_iter().any(is_of_tests)
        );
    }
}
