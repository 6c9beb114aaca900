//! What a command says on stdout.

#![allow(clippy::disallowed_methods, reason = "this is the place for it")]

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _},
    sync::Arc,
    time::Duration,
};

use posthouse_server::out::Out;
use posthouse_text::shown;
use serde_json::Value;

use crate::{
    failure::{Failure, of_stdout},
    stdio,
};

/// How long a reader is given for what is only mentioned.
const MENTION: Duration = Duration::from_millis(500);

/// Whether there is a stdout: for who must not do something first, and then be unable to say so.
pub fn check() -> Result<(), Failure> {
    stdio::stdout().map(drop).map_err(|error| of_stdout(&error))
}

/// Writes all of it, as it is. For commands that every signal ends by itself: it may wait for a reader.
pub fn write(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let bytes = bytes.as_ref();
    if bytes.is_empty() {
        return Ok(());
    }
    let written = stdio::stdout().and_then(|mut stdout| stdout.write_all(bytes));
    written.map_err(|error| of_stdout(&error))
}

/// The same for commands that watch signals: while nobody reads, they still hear of one.
pub async fn write_apart(bytes: impl Into<Vec<u8>>) -> Result<(), Failure> {
    let stdout = stdio::stdout().map_err(|error| of_stdout(&error))?;
    let written = Arc::new(stdout).write_apart(bytes.into()).await;
    written.map(drop).map_err(|error| of_stdout(&error))
}

/// Writes text for people, with nothing in it that moves a terminal.
pub fn text(text: impl AsRef<str>) -> Result<(), Failure> {
    write(shown::lines(text.as_ref()).as_bytes())
}

/// A line of JSON, with nothing in it that moves a terminal: such characters are escaped as JSON does it.
pub fn json(value: &Value) -> String {
    shown::json(&value.to_string()).into_owned() + "\n"
}

/// Says something to whoever may read it, and waits for nobody: only a little, so that it is said before what comes next.
pub fn mention(what: impl Display) {
    let stdout = Out::stdout();
    stdout.line(shown::lines(&what.to_string()).into_owned());
    stdout.flush(MENTION);
}

/// Whether a person reads along.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether what is written may be coloured.
pub fn has_colours() -> bool {
    is_terminal() && coloured()
}

/// Nobody asks for plain text in `$NO_COLOR`.
pub(crate) fn coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
