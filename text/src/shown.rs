//! Escapes text from elsewhere before it is shown on a screen, in a log or in a record: control characters could move a
//! terminal's cursor, and reordering characters could show another text than is there. Every part of Posthouse that
//! shows names, attributes, subjects, payloads or texts of the other side uses it.

use std::{borrow::Cow, fmt::Write as _};

/// Escapes a text for one line: every control and format character becomes an escape such as `\u{9b}` or `\n`.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false, rust)
}

/// Escapes a text of several lines, as [`one_line`] does, but keeps line feeds and tabs.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, is_layout, rust)
}

/// Escapes bytes, as [`lines`] does; a byte that is not UTF-8 becomes `\xNN`.
pub fn bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&lines(chunk.valid()));
        for byte in chunk.invalid() {
            push(&mut shown, format_args!("\\x{byte:02x}"));
        }
    }
    shown
}

/// Escapes valid JSON. Such characters are only in its strings, where `\u009b` is read as the same character.
pub fn json(json: &str) -> Cow<'_, str> {
    // ASCII white space between the tokens is not part of a string.
    escaped(json, |character| character.is_ascii() && character != '\u{7f}', utf16)
}

fn escaped(text: &str, keep: fn(char) -> bool, escape: fn(&mut String, char)) -> Cow<'_, str> {
    let is_harmful = |character: char| is_harmful(character) && !keep(character);
    let Some(first) = text.find(is_harmful) else { return Cow::Borrowed(text) };
    let (before, rest) = text.split_at(first);
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(before);
    for character in rest.chars() {
        if is_harmful(character) { escape(&mut shown, character) } else { shown.push(character) }
    }
    Cow::Owned(shown)
}

fn rust(to: &mut String, character: char) {
    to.extend(character.escape_default());
}

fn utf16(to: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        push(to, format_args!("\\u{unit:04x}"));
    }
}

fn push(to: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = to.write_fmt(what);
}

fn is_layout(character: char) -> bool {
    matches!(character, '\n' | '\t')
}

/// Controls (C0, DEL and C1), characters that separate lines or reorder text, and other invisible format characters
/// (category Cf).
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{70f}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_and_reordering_characters_are_escaped() {
        for (text, shown) in [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\u{9b}31mb\u{7f}", "a\\u{9b}31mb\\u{7f}"),
            ("app\u{202e}nimda\u{2066}", "app\\u{202e}nimda\\u{2066}"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{feff}x\u{200b}\u{2028}\u{e0041}", "\\u{feff}x\\u{200b}\\u{2028}\\u{e0041}"),
        ] {
            assert_eq!(one_line(text), shown);
        }
        assert_eq!(lines("a\n\tb\r\u{85}"), "a\n\tb\\r\\u{85}");
        assert_eq!(bytes(b"a\xff\xc2b\n\x1b[2J\xc2\x9b"), "a\\xff\\xc2b\n\\u{1b}[2J\\u{9b}");
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in ["", "签发 household-registry/inbox", "naïve – “ё” עברית العربية 👍", "a\\u{9b}"]
        {
            assert!(matches!(one_line(text), Cow::Borrowed(same) if same == text));
            assert!(matches!(json(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn json_keeps_its_layout() {
        assert_eq!(json("{\n  \"a\": \"\u{9b}\u{e0041}\"\n}"), "{\n  \"a\": \"\\u009b\\udb40\\udc41\"\n}");
    }

    proptest! {
        #[test]
        fn json_reads_back_the_same_and_holds_nothing_harmful(
            text in "([\u{0}-\u{9f}]|\u{202e}|\u{e0041}|\u{1d173}|.)*"
        ) {
            let written = serde_json::to_string(&text).unwrap();
            let shown = json(&written);
            prop_assert!(!shown.chars().any(is_harmful));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }

        #[test]
        fn nothing_harmful_is_left_of_any_bytes(any in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!bytes(&any).chars().any(|character| is_harmful(character) && !is_layout(character)));
            let text = String::from_utf8_lossy(&any);
            prop_assert!(!one_line(&text).chars().any(is_harmful));
        }
    }
}
