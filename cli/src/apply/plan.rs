//! Differences between a queue of the file and that of the server.

use std::{fmt, time::Duration};

use posthouse_client::{Queue, QueueSettings};

use super::file::WantedQueue;

/// A queue of the file and what has to be done with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Full resource name of the queue.
    pub name: String,
    /// The queue of the file.
    pub wanted: WantedQueue,
    /// What has to be done.
    pub verdict: Verdict,
    /// Etag of the server's queue.
    etag: Option<String>,
}

/// What has to be done with a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The queue does not exist.
    Create,
    /// These settings differ.
    Change(Vec<Change>),
    /// Nothing differs.
    Same,
}

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Key of the setting in the file.
    pub key: &'static str,
    /// The server's value.
    pub old: String,
    /// The file's value.
    pub new: String,
}

impl Step {
    /// Compares a queue of the file with that of the server, if there is one.
    pub fn new(name: String, wanted: WantedQueue, there: Option<Queue>) -> Self {
        let Some(there) = there else { return Self { name, wanted, verdict: Verdict::Create, etag: None } };
        let changes = changes(&wanted, &there);
        let verdict = if changes.is_empty() { Verdict::Same } else { Verdict::Change(changes) };
        Self { name, wanted, verdict, etag: Some(there.etag) }
    }

    /// All settings to send, with the etag of the compared definition.
    pub fn settings(&self) -> QueueSettings {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let wanted = &self.wanted;
        let settings = QueueSettings::new()
            .max_message_bytes(small(wanted.max_message_bytes))
            .lease_duration(Duration::from_secs(wanted.lease_seconds))
            .max_attempts(small(wanted.max_attempts))
            .dead_letter_queue(target(&self.name, wanted.dead_letter_queue.as_deref()));
        match &self.etag {
            Some(etag) => settings.etag(etag),
            None => settings,
        }
    }
}

/// Prints a line for the queue, and one for each setting that changes.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match &self.verdict {
            Verdict::Create => '+',
            Verdict::Change(_) => '~',
            Verdict::Same => '=',
        };
        writeln!(f, "{mark} {}", self.name)?;
        match &self.verdict {
            Verdict::Create => {
                for (key, value) in values(&self.wanted) {
                    writeln!(f, "    {key} = {value}")?;
                }
            }
            Verdict::Change(changes) => {
                for Change { key, old, new } in changes {
                    writeln!(f, "    {key}: {old} -> {new}")?;
                }
            }
            Verdict::Same => {}
        }
        Ok(())
    }
}

/// One line with the numbers of all steps.
pub fn summary(steps: &[Step], dry_run: bool) -> String {
    let count = |is: fn(&Verdict) -> bool| steps.iter().filter(|step| is(&step.verdict)).count();
    let created = count(|verdict| *verdict == Verdict::Create);
    let changed = count(|verdict| matches!(verdict, Verdict::Change(_)));
    let same = count(|verdict| *verdict == Verdict::Same);
    if dry_run {
        format!("{created} to create, {changed} to change, {same} unchanged; nothing was done\n")
    } else {
        format!("{created} created, {changed} changed, {same} unchanged\n")
    }
}

fn changes(wanted: &WantedQueue, there: &Queue) -> Vec<Change> {
    let is = [
        there.max_message_bytes.to_string(),
        there.lease_duration.map_or_else(|| "none".to_owned(), |lease| lease.as_secs_f64().to_string()),
        there.max_attempts.to_string(),
        match &there.dead_letter_queue {
            Some(target) => quoted(target.rsplit('/').next().unwrap_or(target)),
            None => "none".to_owned(),
        },
    ];
    let differing = values(wanted).into_iter().zip(is).filter(|((_, new), old)| new != old);
    differing.map(|((key, new), old)| Change { key, old, new }).collect()
}

fn values(wanted: &WantedQueue) -> [(&'static str, String); 4] {
    [
        ("max_message_bytes", wanted.max_message_bytes.to_string()),
        ("lease_seconds", wanted.lease_seconds.to_string()),
        ("max_attempts", wanted.max_attempts.to_string()),
        ("dead_letter_queue", wanted.dead_letter_queue.as_deref().map_or_else(|| "none".to_owned(), quoted)),
    ]
}

/// In quotes, so that a queue may be called `none`.
fn quoted(name: &str) -> String {
    format!("{name:?}")
}

/// Full name of a queue's dead-letter queue; empty if it has none.
fn target(name: &str, target: Option<&str>) -> String {
    match (name.rsplit_once('/'), target) {
        (Some((department, _)), Some(target)) => format!("{department}/{target}"),
        _ => String::new(),
    }
}
