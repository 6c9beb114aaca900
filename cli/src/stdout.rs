//! Output of a command on stdout.

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

/// How long [`mention`] waits for a reader.
const MENTION: Duration = Duration::from_millis(500);

/// Fails if stdout is closed. To be called before a change that has to be reported.
pub fn check() -> Result<(), Failure> {
    stdio::stdout().map(drop).map_err(|error| of_stdout(&error))
}

/// Writes bytes unchanged, and may block. For commands that signals kill.
pub fn write(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let bytes = bytes.as_ref();
    if bytes.is_empty() {
        return Ok(());
    }
    let written = stdio::stdout().and_then(|mut stdout| stdout.write_all(bytes));
    written.map_err(|error| of_stdout(&error))
}

/// Writes bytes unchanged in a thread, for commands that handle signals.
pub async fn write_apart(bytes: impl Into<Vec<u8>>) -> Result<(), Failure> {
    let stdout = stdio::stdout().map_err(|error| of_stdout(&error))?;
    let written = Arc::new(stdout).write_apart(bytes.into()).await;
    written.map(drop).map_err(|error| of_stdout(&error))
}

/// Writes text for people, with characters that control a terminal escaped.
pub fn text(text: impl AsRef<str>) -> Result<(), Failure> {
    write(shown::lines(text.as_ref()).as_bytes())
}

/// A line of JSON, with characters that control a terminal escaped as in JSON.
pub fn json(value: &Value) -> String {
    shown::json(&value.to_string()).into_owned() + "\n"
}

/// Prints lines for whoever reads stdout, and waits half a second at most.
pub fn mention(what: impl Display) {
    let stdout = Out::stdout();
    stdout.line(shown::lines(&what.to_string()).into_owned());
    stdout.flush(MENTION);
}

/// Whether stdout is a terminal.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether the output may be coloured.
pub fn has_colours() -> bool {
    is_terminal() && coloured()
}

/// Whether `$NO_COLOR` permits colours.
pub(crate) fn coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
