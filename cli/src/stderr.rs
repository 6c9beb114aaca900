//! Output of a command on stderr. It is queued and written by a thread: a closed, full or blocked stderr neither ends
//! nor delays a command, and does not change its exit code.

#![allow(clippy::disallowed_methods, reason = "this is the place for it")]

use std::{fmt::Display, io::IsTerminal as _, sync::LazyLock, time::Duration};

use posthouse_server::out::Out;
use posthouse_text::shown;

use crate::stdout;

/// How long a command waits at its end for a reader of stderr.
const LAST_WORDS: Duration = Duration::from_millis(500);

static STDERR: LazyLock<Out> = LazyLock::new(Out::stderr);

/// The process's stderr.
pub fn out() -> &'static Out {
    &STDERR
}

/// Prints lines, with characters that control a terminal escaped.
pub fn say(what: impl Display) {
    for line in shown::lines(&what.to_string()).lines() {
        STDERR.line(line);
    }
}

/// Prints additional information.
pub fn notice(what: impl Display) {
    say(format_args!("posthouse: {what}"));
}

/// Prints a warning about something that does not stop the command.
pub fn warn(what: impl Display) {
    say(format_args!("posthouse: warning: {what}"));
}

/// Waits a short time until everything is written.
pub fn flush() {
    STDERR.flush(LAST_WORDS);
}

/// Whether stderr is a terminal.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether the output may be coloured.
pub fn has_colours() -> bool {
    is_terminal() && stdout::coloured()
}
