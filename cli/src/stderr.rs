//! What a command says on stderr. It goes through a queue and a thread of its own: a stderr that is gone, full, or that nobody
//! reads neither ends a command, nor holds it up, nor changes its exit code.

#![allow(clippy::disallowed_methods, reason = "this is the place for it")]

use std::{fmt::Display, io::IsTerminal as _, sync::LazyLock, time::Duration};

use posthouse_server::out::Out;
use posthouse_text::shown;

use crate::stdout;

/// How long the end of a command waits for a reader of its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

static STDERR: LazyLock<Out> = LazyLock::new(Out::stderr);

/// The process's stderr.
pub fn out() -> &'static Out {
    &STDERR
}

/// Says something, in one line or several, with nothing in it that moves a terminal.
pub fn say(what: impl Display) {
    for line in shown::lines(&what.to_string()).lines() {
        STDERR.line(line);
    }
}

/// Says what is to be known beside the answer.
pub fn notice(what: impl Display) {
    say(format_args!("posthouse: {what}"));
}

/// Says what is not as it should be, but keeps nothing from being done.
pub fn warn(what: impl Display) {
    say(format_args!("posthouse: warning: {what}"));
}

/// Waits a little until all is said.
pub fn flush() {
    STDERR.flush(LAST_WORDS);
}

/// Whether a person reads along.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether what is said may be coloured.
pub fn has_colours() -> bool {
    is_terminal() && stdout::coloured()
}
