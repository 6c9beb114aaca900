//! Parser of the file of `posthouse apply`. It reports all errors at once, each with its line and key.

use std::{
    fmt,
    ops::{Range, RangeInclusive},
};

use posthouse_server::names::{DepartmentName, NameError, QueueName, TenantName};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Bounds and defaults of a queue's settings, from the engine.
mod settings {
    use std::ops::RangeInclusive;

    use posthouse_server::limits::engine;

    pub(super) const MAX_MESSAGE_BYTES: RangeInclusive<u64> = 1..=engine::MAX_MAX_MESSAGE_BYTES as u64;
    pub(super) const LEASE_SECONDS: RangeInclusive<u64> =
        *engine::LEASE_DURATION_MS.start() / 1000..=*engine::LEASE_DURATION_MS.end() / 1000;
    pub(super) const MAX_ATTEMPTS: RangeInclusive<u64> = 1..=engine::MAX_MAX_ATTEMPTS as u64;
    pub(super) const DEFAULT_MAX_MESSAGE_BYTES: u64 = engine::DEFAULT_MAX_MESSAGE_BYTES as u64;
    pub(super) const DEFAULT_LEASE_SECONDS: u64 = engine::DEFAULT_LEASE_DURATION_MS / 1000;
    pub(super) const DEFAULT_MAX_ATTEMPTS: u64 = engine::DEFAULT_MAX_ATTEMPTS as u64;
}

/// A file without errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueFile {
    /// The tenant of the queues, if the file names one.
    pub tenant: Option<String>,
    /// The queues in the order of the file.
    pub queues: Vec<WantedQueue>,
}

/// A queue with its settings, as the file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedQueue {
    /// The line of the queue's table.
    pub line: usize,
    /// Name of the department.
    pub department: String,
    /// Name of the queue.
    pub queue: String,
    /// Largest payload, in bytes.
    pub max_message_bytes: u64,
    /// Length of a lease, in seconds.
    pub lease_seconds: u64,
    /// Failed deliveries before a message becomes a dead letter.
    pub max_attempts: u64,
    /// The queue for dead letters, in the same department.
    pub dead_letter_queue: Option<String>,
}

/// An error in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// Line number, from 1.
    pub line: usize,
    /// The key, as in `departments.d.queues.q.max_attempts`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl WantedQueue {
    /// Key of the queue in the file.
    pub fn key(&self) -> String {
        format!("departments.{}.queues.{}", self.department, self.queue)
    }
}

/// Parses the text of a file.
pub fn parse(text: &str) -> Result<QueueFile, Vec<FileError>> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, errors: Vec::new() };
    for error in &syntax {
        let line = error.span().map_or(1, |span| reader.line(&span));
        reader.errors.push(FileError { line, key: String::new(), problem: error.message().to_owned() });
    }
    if !syntax.is_empty() {
        // The tables recovered from broken syntax would cause false errors.
        return Err(reader.errors);
    }
    let mut file = reader.document(document.get_ref());
    file.queues.sort_by_key(|queue| queue.line);
    reader.judge_targets(&file.queues, text);
    if reader.errors.is_empty() {
        return Ok(file);
    }
    reader.errors.sort_by_key(|error| error.line);
    Err(reader.errors)
}

struct Reader<'a> {
    text: &'a str,
    errors: Vec<FileError>,
}

type Member<'a> = (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>);

impl Reader<'_> {
    fn document(&mut self, table: &DeTable<'_>) -> QueueFile {
        let mut file = QueueFile { tenant: None, queues: Vec::new() };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "tenant" => file.tenant = self.name("tenant", value, &TenantName::parse),
                "departments" => {
                    for (key, value) in self.table("departments", value) {
                        self.department(key, value, &mut file.queues);
                    }
                }
                _ => self.unknown("", key, "tenant and departments"),
            }
        }
        if !table.contains_key("departments") {
            self.error(&(0..0), "departments", "is missing; write [departments.DEPARTMENT.queues.QUEUE]");
        }
        file
    }

    fn department(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        queues: &mut Vec<WantedQueue>,
    ) {
        let department = key.get_ref().as_ref();
        let path = format!("departments.{}", shown(department));
        self.check_name(&path, &key.span(), DepartmentName::parse(department).err());
        for (key, value) in self.table(&path, value) {
            if key.get_ref() != "queues" {
                self.unknown(&path, key, "queues");
                continue;
            }
            for (key, value) in self.table(&format!("{path}.queues"), value) {
                let path = format!("{path}.queues.{}", shown(key.get_ref()));
                self.check_name(&path, &key.span(), QueueName::parse(key.get_ref()).err());
                let line = self.line(&key.span());
                let (department, queue) = (department.to_owned(), key.get_ref().to_string());
                queues.push(self.queue(line, department, queue, &path, value));
            }
        }
    }

    fn queue(
        &mut self,
        line: usize,
        department: String,
        queue: String,
        path: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> WantedQueue {
        let mut wanted = WantedQueue {
            line,
            department,
            queue,
            max_message_bytes: settings::DEFAULT_MAX_MESSAGE_BYTES,
            lease_seconds: settings::DEFAULT_LEASE_SECONDS,
            max_attempts: settings::DEFAULT_MAX_ATTEMPTS,
            dead_letter_queue: None,
        };
        for (key, value) in self.table(path, value) {
            let at = format!("{path}.{}", shown(key.get_ref()));
            let (field, range) = match key.get_ref().as_ref() {
                "max_message_bytes" => (&mut wanted.max_message_bytes, settings::MAX_MESSAGE_BYTES),
                "lease_seconds" => (&mut wanted.lease_seconds, settings::LEASE_SECONDS),
                "max_attempts" => (&mut wanted.max_attempts, settings::MAX_ATTEMPTS),
                "dead_letter_queue" => {
                    wanted.dead_letter_queue = self.name(&at, value, &QueueName::parse);
                    continue;
                }
                _ => {
                    let known = "max_message_bytes, lease_seconds, max_attempts and dead_letter_queue";
                    self.unknown(path, key, known);
                    continue;
                }
            };
            if let Some(number) = self.number(&at, value, &range) {
                *field = number;
            }
        }
        wanted
    }

    /// Checks that a dead-letter queue is another queue, and has no dead-letter queue itself.
    fn judge_targets(&mut self, queues: &[WantedQueue], text: &str) {
        for queue in queues {
            let Some(target) = &queue.dead_letter_queue else { continue };
            let chained = queues.iter().any(|other| {
                other.department == queue.department
                    && other.queue == *target
                    && other.dead_letter_queue.is_some()
            });
            let problem = if *target == queue.queue {
                "is the queue itself; name another queue"
            } else if chained {
                "has a dead-letter queue itself, and may not"
            } else {
                continue;
            };
            let key = format!("{}.dead_letter_queue", queue.key());
            let line = setting_line(text, queue.line, "dead_letter_queue");
            self.errors.push(FileError { line, key, problem: format!("{target:?} {problem}") });
        }
    }

    fn table<'b>(&mut self, path: &str, value: &'b Spanned<DeValue<'b>>) -> Vec<Member<'b>> {
        match value.get_ref() {
            DeValue::Table(table) => table.iter().collect(),
            _ => {
                self.error(&value.span(), path, "has to be a table");
                Vec::new()
            }
        }
    }

    fn number(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        range: &RangeInclusive<u64>,
    ) -> Option<u64> {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let problem = format!("has to be a whole number from {} to {}", range.start(), range.end());
            self.error(&value.span(), path, &problem);
        }
        number
    }

    fn name<N>(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        parse: &dyn Fn(&str) -> Result<N, NameError>,
    ) -> Option<String> {
        let Some(text) = value.get_ref().as_str() else {
            self.error(&value.span(), path, "has to be a text");
            return None;
        };
        self.check_name(path, &value.span(), parse(text).err());
        Some(text.to_owned())
    }

    fn check_name(&mut self, path: &str, span: &Range<usize>, error: Option<NameError>) {
        if let Some(error) = error {
            self.error(span, path, &error.to_string());
        }
    }

    fn unknown(&mut self, path: &str, key: &Spanned<std::borrow::Cow<'_, str>>, known: &str) {
        let dot = if path.is_empty() { "" } else { "." };
        let name = format!("{path}{dot}{}", shown(key.get_ref()));
        self.error(&key.span(), &name, &format!("unknown key; known are {known}"));
    }

    fn error(&mut self, span: &Range<usize>, key: &str, problem: &str) {
        let line = self.line(span);
        self.errors.push(FileError { line, key: key.to_owned(), problem: problem.to_owned() });
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// The first line from `from` on that begins with the key, or else `from`.
fn setting_line(text: &str, from: usize, key: &str) -> usize {
    let found = text.lines().enumerate().skip(from - 1).find(|(_, line)| line.trim_start().starts_with(key));
    found.map_or(from, |(nth, _)| nth + 1)
}

/// An arbitrary name, shortened and escaped for an error.
fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        parse(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_is_read_with_its_defaults() {
        let file = parse(
            "tenant = \"t\"\n[departments.d.queues.failed]\n[departments.d.queues.in]\nmax_attempts = 0x5\n\
             dead_letter_queue = \"failed\"\n",
        )
        .unwrap();
        assert_eq!(file.tenant.as_deref(), Some("t"));
        let [failed, inbox] = &file.queues[..] else { panic!("{file:?}") };
        assert_eq!((failed.line, &*failed.queue, failed.max_attempts), (2, "failed", 16));
        assert_eq!((inbox.line, inbox.max_attempts, inbox.lease_seconds), (3, 5, 30));
        assert_eq!(inbox.dead_letter_queue.as_deref(), Some("failed"));
        assert_eq!(inbox.key(), "departments.d.queues.in");
    }

    #[test]
    fn every_error_has_its_line_and_key() {
        let text = "tennant = 1\n[departments.d]\nqueue = 1\n[departments.D.queues.x]\n\
                    [departments.d.queues.a]\nmax_attempts = 1001\nlease_seconds = \"30\"\ncolour = 1\n\
                    dead_letter_queue = \"a\"\n[departments.d.queues.b]\ndead_letter_queue = \"a\"\n";
        let found = errors(text);
        let expected = [
            "line 1: tennant: unknown key",
            "line 3: departments.d.queue: unknown key",
            "line 4: departments.D: the department has 'D'",
            "line 6: departments.d.queues.a.max_attempts: has to be a whole number from 1 to 1000",
            "line 7: departments.d.queues.a.lease_seconds: has to be a whole number from 1 to 43200",
            "line 8: departments.d.queues.a.colour: unknown key",
            "line 9: departments.d.queues.a.dead_letter_queue: \"a\" is the queue itself",
            "line 11: departments.d.queues.b.dead_letter_queue: \"a\" has a dead-letter queue itself",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found} in the place of {expected}");
        }
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let found = errors("[departments.d.queues.a]\nmax_attempts = = 3\n[departments.d.queues.a]\n");
        assert!(found[0].starts_with("line 2: "), "{found:?}");
        assert!(errors("")[0].contains("departments: is missing"));
        let twice = errors("[departments.d.queues.a]\n[departments.d.queues.a]\n");
        assert!(twice[0].starts_with("line 2: "), "{twice:?}");
    }
}
