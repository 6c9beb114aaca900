//! `posthouse queue`: definitions of queues.

use std::time::Duration;

use posthouse_client::{Client, Error, Queue, QueueSettings};
use posthouse_text::shown;

use crate::{
    args,
    exit::Exit,
    failure::{Failure, of_client},
    stats::{json, stats},
    stdout,
    time::rfc3339,
};

/// Runs the command, and prints what it created, changed or found.
pub async fn queue(client: &Client, command: &args::QueueCommand) -> Result<(), Failure> {
    let queues = client.queues();
    let text = match command {
        args::QueueCommand::Create { queue, settings } => {
            queues.create(queue, &wanted(queue, settings)).await.map(|created| format!("{}\n", created.name))
        }
        args::QueueCommand::Update { queue, changes } => return update(client, queue, changes).await,
        args::QueueCommand::List { department } => list(client, department).await,
        args::QueueCommand::Describe { queue } => queues.get(queue).await.map(|found| description(&found)),
        args::QueueCommand::Stats(args) => return stats(client, args).await,
        args::QueueCommand::Delete { queue } => queues.delete(queue).await.map(|()| String::new()),
        args::QueueCommand::Purge { queue } => {
            queues.purge(queue).await.map(|purged| format!("{{\"purged\": {purged}}}\n"))
        }
    };
    stdout::text(text.map_err(|error| of_client(&error))?)
}

/// Changes the given settings, and prints the new definition.
async fn update(client: &Client, queue: &str, changes: &args::QueueChanges) -> Result<(), Failure> {
    let mut settings = wanted(queue, &changes.settings);
    if changes.no_dead_letter_queue {
        settings = settings.dead_letter_queue("");
    }
    if settings == QueueSettings::new() {
        return Err(Failure::new(
            Exit::Usage,
            "nothing to change was given",
            "give at least one setting; `posthouse queue update --help` lists them",
        ));
    }
    if let Some(etag) = &changes.etag {
        settings = settings.etag(etag);
    }
    let updated = client.queues().update(queue, &settings).await.map_err(|error| of_client(&error))?;
    stdout::text(description(&updated))
}

/// Names of a department's queues; if a queue was named instead, only its name.
async fn list(client: &Client, typed: &str) -> Result<String, Error> {
    let only = client.queue_name(typed).ok();
    let department = only.as_deref().and_then(|queue| queue.split_once("/queues/")).map(|(parent, _)| parent);
    let queues = client.queues().list(department.unwrap_or(typed)).await?;
    let names = queues.into_iter().map(|queue| queue.name);
    Ok(names.filter(|name| only.as_ref().is_none_or(|only| only == name)).map(|name| name + "\n").collect())
}

/// The given settings.
fn wanted(queue: &str, settings: &args::QueueSettings) -> QueueSettings {
    let mut wanted = QueueSettings::new();
    if let Some(bytes) = settings.max_message_bytes {
        wanted = wanted.max_message_bytes(bytes);
    }
    if let Some(seconds) = settings.lease_seconds {
        wanted = wanted.lease_duration(Duration::from_secs(seconds));
    }
    if let Some(attempts) = settings.max_attempts {
        wanted = wanted.max_attempts(attempts);
    }
    if let Some(target) = &settings.dead_letter_queue {
        wanted = wanted.dead_letter_queue(beside(queue, target));
    }
    wanted
}

/// The name of a queue that was typed beside another's; without a department it is of the same one.
pub fn beside(queue: &str, typed: &str) -> String {
    match queue.rsplit_once('/') {
        Some((department, _)) if !typed.is_empty() && !typed.contains('/') => format!("{department}/{typed}"),
        _ => typed.to_owned(),
    }
}

/// The definition as indented JSON.
fn description(queue: &Queue) -> String {
    let mut description = serde_json::json!({
        "name": queue.name,
        "uid": queue.uid,
        "etag": queue.etag,
        "create_time": rfc3339(queue.create_time),
        "update_time": rfc3339(queue.update_time),
        "max_message_bytes": queue.max_message_bytes,
        "lease_seconds": queue.lease_duration.map(|duration| duration.as_secs_f64()),
        "max_attempts": queue.max_attempts,
        "dead_letter_queue": queue.dead_letter_queue,
    });
    if let Some(stats) = &queue.stats {
        description["stats"] = json::object(stats);
    }
    shown::json(&format!("{description:#}\n")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_alone_is_of_the_same_department() {
        assert_eq!(beside("d/q", "failed"), "d/failed");
        let full = "tenants/t/departments/d/queues/";
        assert_eq!(beside(&format!("{full}q"), "failed"), format!("{full}failed"));
        assert_eq!(beside("d/q", "e/failed"), "e/failed");
        assert_eq!(beside("d/q", ""), "");
        assert_eq!(beside("q", "failed"), "failed");
    }
}
