//! What a command says beside its answer.

use std::io::Write as _;

/// Writes a line. Nobody's work fails because nobody reads it.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "posthouse: {text}");
}
