//! Words and marks of Rust code, and the paths that it names.

/// An identifier, `::`, or one other character, with its byte position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub at: usize,
}

impl Token<'_> {
    pub fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of code that has no comments and no contents of literals.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = code[at..].chars().next() {
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = match first {
            _ if in_word(first) => code[at..].find(|c| !in_word(c)).unwrap_or(code.len() - at),
            ':' if code[at..].starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(Token { text: &code[at..at + len], at });
        }
        at += len;
    }
    tokens
}

/// A path that code names, or one leaf of a tree of `use`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// Its words; `*` for all that is in a module.
    pub path: Vec<&'a str>,
    /// What it is called here: its last word, or what follows `as`.
    pub name: &'a str,
    /// Where it stands.
    pub at: usize,
}

/// Reads the path that begins at `tokens[start]`, with its braces, and returns the position behind it.
pub fn read_path<'a>(
    tokens: &[Token<'a>],
    start: usize,
    prefix: &[&'a str],
    found: &mut Vec<Named<'a>>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut next = start;
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    loop {
        match text(next) {
            "{" => return read_group(tokens, next, &path, found),
            "*" => {
                let at = tokens[next].at;
                found.push(Named { path: [path, vec!["*"]].concat(), name: "*", at });
                return next + 1;
            }
            // In a group it stands for the group's own prefix.
            "self" if !prefix.is_empty() => {}
            word => path.push(word),
        }
        next += 1;
        let goes_on = text(next) == "::"
            && (["{", "*"].contains(&text(next + 1)) || tokens.get(next + 1).is_some_and(Token::is_word));
        if !goes_on {
            break;
        }
        next += 1;
    }
    let renamed = text(next) == "as";
    let name = if renamed { text(next + 1) } else { path.last().copied().unwrap_or_default() };
    found.push(Named { path, name, at: tokens[start].at });
    if renamed { next + 2 } else { next }
}

fn read_group<'a>(
    tokens: &[Token<'a>],
    open: usize,
    prefix: &[&'a str],
    found: &mut Vec<Named<'a>>,
) -> usize {
    let mut next = open + 1;
    while let Some(token) = tokens.get(next) {
        next = match token.text {
            "}" => return next + 1,
            "{" | "*" => read_path(tokens, next, prefix, found),
            _ if token.is_word() => read_path(tokens, next, prefix, found),
            _ => next + 1,
        };
    }
    next
}

#[cfg(test)]
mod tests {
    use super::{read_path, tokens};

    fn paths(code: &str) -> Vec<String> {
        let (tokens, mut found) = (tokens(code), Vec::new());
        read_path(&tokens, 0, &[], &mut found);
        found.iter().map(|named| format!("{} = {}", named.name, named.path.join("::"))).collect()
    }

    #[test]
    fn a_tree_of_use_is_read_with_its_braces() {
        assert_eq!(
            paths("crate::{a, b::{self, c as d, e::*}, f::g};"),
            ["a = crate::a", "b = crate::b", "d = crate::b::c", "* = crate::b::e::*", "g = crate::f::g"]
        );
    }

    #[test]
    fn a_path_in_code_ends_where_its_words_end() {
        assert_eq!(paths("crate::a::b::<C>::d()"), ["b = crate::a::b"]);
        assert_eq!(paths("super::a(x)"), ["a = super::a"]);
    }
}
