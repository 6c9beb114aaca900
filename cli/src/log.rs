//! The program's log: on stderr, formatted as `[log]` says, and filtered first by `$POSTHOUSE_LOG`. Lines are queued,
//! and nobody waits for them to be written.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic::PanicHookInfo,
    thread,
    time::SystemTime,
};

use posthouse_server::{
    config::{LogConfig, LogFormat},
    limits::MAX_LINE_BYTES,
};
use posthouse_text::shown;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{stderr, stdout, time::rfc3339};
use fields::Fields;

mod fields;

/// The default filter.
const DEFAULT: &str = "info";
/// Environment variable with a filter.
const VARIABLE: &str = "POSTHOUSE_LOG";

/// The filter of a configured level. Under a plain level the HTTP/2 library logs only errors: its warnings are about
/// single frames, as often as a client sends them.
fn directives(asked: &str) -> String {
    match asked.trim() {
        level @ ("info" | "warn") => format!("{level},h2=error"),
        asked => asked.to_owned(),
    }
}

/// Starts the log of a server. A second call changes nothing.
pub fn start(config: &LogConfig) {
    // An empty filter would pass errors only.
    let asked = std::env::var(VARIABLE)
        .ok()
        .filter(|asked| !asked.trim().is_empty())
        .map(|asked| EnvFilter::try_new(directives(&asked)));
    let usual = || EnvFilter::new(directives(config.level.as_deref().unwrap_or(DEFAULT)));
    let (filter, problem) = match asked {
        Some(Ok(filter)) => (filter, None),
        Some(Err(problem)) => (usual(), Some(problem)),
        None => (usual(), None),
    };
    let lines = Lines { json: config.format == LogFormat::Json, colours: stderr::has_colours() };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // The subscriber would print its errors to stderr.
        .log_internal_errors(false)
        .with_ansi(lines.colours)
        .with_writer(lines);
    let started = match config.format {
        LogFormat::Text => subscriber.fmt_fields(Fields).with_target(false).try_init(),
        // One JSON object per line: timestamp, level, target, message, and the fields of the event.
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    if let Some(problem) = problem {
        tracing::warn!(%problem, "{VARIABLE} is no filter and is passed over; write for example info,hyper=warn");
    }
}

/// Logs panics from now on, so that a panicking thread does not wait for a reader of stderr.
pub fn log_panics() {
    std::panic::set_hook(Box::new(panicked));
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let what = shown::one_line(panic.payload_as_str().unwrap_or("it does not say why"));
    let trace = Backtrace::capture();
    if tracing::enabled!(tracing::Level::ERROR) {
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&trace));
        tracing::error!(thread = name, "place" = location, trace, "panicked: {what}");
    } else {
        stderr::say(format_args!("posthouse: thread {name} panicked at {location}: {what}"));
        if trace.status() == BacktraceStatus::Captured {
            stderr::say(trace);
        }
    }
    // Only a panic of this thread ends the process.
    if name == "main" {
        stderr::flush();
    }
}

/// Writes formatted events as whole lines, without characters that control a terminal.
#[derive(Clone, Copy)]
struct Lines {
    json: bool,
    colours: bool,
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Lines {
    /// Writes one line; the formatter calls it once for each event.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr::out().line(self.shown(&String::from_utf8_lossy(line)));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn shown(self, line: &str) -> String {
        let line = line.strip_suffix('\n').unwrap_or(line);
        if self.json {
            return json(line);
        }
        if !self.colours {
            return shown::one_line(line).into_owned();
        }
        // Fields escape their values when they are formatted, so that only our own colours are left. Any other escape
        // character is escaped here.
        let mut parts = line.split('\u{1b}');
        let mut text = shown::one_line(parts.next().unwrap_or_default()).into_owned();
        for part in parts {
            text.push_str(if is_colour(part) { "\u{1b}" } else { "\\u{1b}" });
            text.push_str(&shown::one_line(part));
        }
        text
    }
}

/// Whether an escape character that is followed by this sets a colour.
fn is_colour(rest: &str) -> bool {
    let Some(numbers) = rest.strip_prefix('[') else { return false };
    numbers
        .trim_start_matches(|character: char| character.is_ascii_digit() || character == ';')
        .starts_with('m')
}

/// A line that is too long is replaced by a valid JSON line.
fn json(line: &str) -> String {
    let line = shown::json(line);
    if line.len() < MAX_LINE_BYTES {
        return line.into_owned();
    }
    let begins: String = line.chars().take(MAX_LINE_BYTES / 16).collect();
    stdout::json(&serde_json::json!({
        "timestamp": rfc3339(SystemTime::now()),
        "level": "WARN",
        "target": "posthouse::log",
        "message": format!("a line of {} bytes is too long", line.len()),
        "begins": begins,
    }))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Seek as _},
        sync::Arc,
    };

    use super::*;

    #[test]
    fn a_line_is_one_line_and_moves_no_terminal() {
        let (text, colours) = (Lines { json: false, colours: false }, Lines { json: false, colours: true });
        assert_eq!(text.shown("a\u{9b}\n\u{202e}b\u{1b}[2J\n"), "a\\u{9b}\\n\\u{202e}b\\u{1b}[2J");
        assert_eq!(colours.shown("\u{1b}[32m INFO\u{1b}[0m a\u{9b}\n"), "\u{1b}[32m INFO\u{1b}[0m a\\u{9b}");
        for other in ["[2J", "]0;title", "[31", "[1A", "c", ""] {
            assert_eq!(colours.shown(&format!("a\u{1b}{other}\n")), format!("a\\u{{1b}}{other}"));
        }
    }

    /// The text that is written for these events.
    fn written(colours: bool, events: impl FnOnce()) -> String {
        let mut file = tempfile::tempfile().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(colours)
            .fmt_fields(Fields)
            .with_target(false)
            .without_time()
            .with_writer(Arc::new(file.try_clone().unwrap()))
            .finish();
        tracing::subscriber::with_default(subscriber, events);
        let mut written = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut written).unwrap();
        written
    }

    #[test]
    fn no_field_colours_or_moves_a_terminal() {
        let hostile = "\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\n";
        let escaped = "\\u{1b}[31mred\\u{1b}]0;title\\u{7}\\u{9b}2J\\n";
        let error = io::Error::other(hostile);
        let events = || {
            let span = tracing::info_span!("call", peer = %hostile);
            let _entered = span.enter();
            let error = &error as &dyn std::error::Error;
            tracing::info!(name = %hostile, text = hostile, r#type = 7, error, "said {hostile}");
        };
        let plain = written(false, events);
        let expected = format!(
            " INFO call{{peer={escaped}}}: said {escaped} name={escaped} text={hostile:?} type=7 error={escaped}\n"
        );
        assert_eq!(plain, expected);
        let coloured = written(true, events);
        let lines = Lines { json: false, colours: true };
        assert_eq!(lines.shown(&coloured) + "\n", coloured, "nothing is left to be escaped");
        let mut rest = coloured.as_str();
        let mut without = String::new();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            without.push_str(before);
            assert!(is_colour(after) && !after.starts_with("[31m"), "{after:?}");
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(without + rest, expected);
    }

    #[test]
    fn a_line_of_json_stays_json_however_long() {
        let json = Lines { json: true, colours: true };
        assert_eq!(json.shown("{\"a\":\"\u{9b}\"}\n"), "{\"a\":\"\\u009b\"}");
        let long = format!("{{\"a\":\"{}\"}}\n", "签\u{9b}".repeat(MAX_LINE_BYTES));
        let shown = json.shown(&long);
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert!(
            shown.len() < MAX_LINE_BYTES && read["begins"].as_str().unwrap().starts_with("{\"a\":"),
            "{shown}"
        );
    }
}
