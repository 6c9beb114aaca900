//! `posthouse apply`: makes the queues of a file exist with the settings of the file.
//!
//! [`mod@file`] parses and checks the file, [`plan`] compares it with the server, and this module makes the changes.
//! Queues without a dead-letter queue are first: the server refuses a target that does not exist yet or has a target
//! itself.

use std::{io::ErrorKind, path::Path};

use posthouse_client::{Client, Error, Queue};

use crate::{
    args,
    connect::connect,
    exit::Exit,
    failure::{Failure, of_client},
    stdio, stdout,
};
use file::{QueueFile, WantedQueue};
use plan::{Step, Verdict};

pub mod file;
pub mod plan;

/// Largest file; it is read into memory.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Runs the command.
pub async fn apply(context: Option<&Path>, args: &args::Apply) -> Result<Exit, Failure> {
    let text = read(&args.file)?;
    let shown = args.file.display().to_string();
    let file = file::parse(&text).map_err(|errors| {
        let lines: String = errors.iter().map(|error| format!("\n  {error}")).collect();
        let noun = if errors.len() == 1 { "error" } else { "errors" };
        let what = format!("{shown} has {} {noun}; nothing was asked or changed:{lines}", errors.len());
        Failure::new(Exit::BadData, what, "correct all of them")
    })?;
    let client = connect(context).await?;
    let steps = compare(&client, &file, &shown).await?;
    if args.dry_run {
        for step in &steps {
            stdout::text(step.to_string())?;
        }
    } else {
        carry_out(&client, &steps).await?;
    }
    stdout::text(plan::summary(&steps, args.dry_run))?;
    let differs = steps.iter().any(|step| step.verdict != Verdict::Same);
    Ok(if args.exit_code && differs { Exit::Differs } else { Exit::Ok })
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        stdio::stdin().and_then(|stdin| posthouse_text::read_from(stdin, MAX_FILE_BYTES))
    } else {
        posthouse_text::read(path, MAX_FILE_BYTES)
    };
    let what = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", path.display());
    let bytes = read.map_err(|error| {
        let (exit, next) = match error.kind() {
            ErrorKind::FileTooLarge => (Exit::BadData, "cut it into several files"),
            ErrorKind::NotFound => (Exit::NoInput, "name a TOML file that exists, or - for stdin"),
            _ => (Exit::Io, "name a TOML file that can be read, or - for stdin"),
        };
        Failure::new(exit, what(&error), next)
    })?;
    let text = posthouse_text::text(&bytes);
    text.map(str::to_owned)
        .map_err(|error| Failure::new(Exit::BadData, what(&error), "name a TOML file, or - for stdin"))
}

/// Compares the file with the server. The steps are in an order in which they can be made.
async fn compare(client: &Client, file: &QueueFile, shown: &str) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::with_capacity(file.queues.len());
    for wanted in &file.queues {
        let name = full_name(client, file, wanted)?;
        let there = find_queue(client, &name).await.map_err(|error| at(&of_client(&error), shown, wanted))?;
        if let Some(target) = &wanted.dead_letter_queue
            && !file
                .queues
                .iter()
                .any(|queue| queue.department == wanted.department && queue.queue == *target)
        {
            check_target(client, file, wanted, target, shown).await?;
        }
        steps.push(Step::new(name, wanted.clone(), there));
    }
    steps.sort_by_key(|step| step.wanted.dead_letter_queue.is_some());
    Ok(steps)
}

/// Checks that a dead-letter queue that is not in the file exists on the server.
async fn check_target(
    client: &Client,
    file: &QueueFile,
    wanted: &WantedQueue,
    target: &str,
    shown: &str,
) -> Result<(), Failure> {
    let name = full_name(client, file, &WantedQueue { queue: target.to_owned(), ..wanted.clone() })?;
    let found = find_queue(client, &name).await.map_err(|error| at(&of_client(&error), shown, wanted))?;
    let what = match found {
        None => "is neither in this file nor on the server",
        Some(queue) if queue.dead_letter_queue.is_some() => "has a dead-letter queue itself, and may not",
        Some(_) => return Ok(()),
    };
    let failure = Failure::new(
        Exit::BadData,
        format!("its dead_letter_queue {target:?} {what}"),
        "name another, or add that queue to the file; nothing was changed",
    );
    Err(at(&failure, shown, wanted))
}

async fn find_queue(client: &Client, name: &str) -> Result<Option<Queue>, Error> {
    match client.queues().get(name).await {
        Ok(queue) => Ok(Some(queue)),
        Err(error) if error.reason() == Some("QUEUE_NOT_FOUND") => Ok(None),
        Err(error) => Err(error),
    }
}

fn full_name(client: &Client, file: &QueueFile, wanted: &WantedQueue) -> Result<String, Failure> {
    let WantedQueue { department, queue, .. } = wanted;
    let name = match &file.tenant {
        Some(tenant) => format!("tenants/{tenant}/departments/{department}/queues/{queue}"),
        None => format!("{department}/{queue}"),
    };
    client.queue_name(&name).map_err(|error| of_client(&error))
}

/// Makes each change and prints it once it is made.
async fn carry_out(client: &Client, steps: &[Step]) -> Result<(), Failure> {
    let mut made = 0;
    for step in steps {
        let queues = client.queues();
        let done = match &step.verdict {
            Verdict::Create => queues.create(&step.name, &step.settings()).await.map(drop),
            Verdict::Change(_) => queues.update(&step.name, &step.settings()).await.map(drop),
            Verdict::Same => Ok(()),
        };
        done.map_err(|error| {
            let failure = of_client(&error);
            let what = format!("{}: {} ({made} changes were made before)", step.name, failure.what);
            Failure::new(
                failure.exit,
                what,
                "when that is corrected, apply the file again: it goes on from there",
            )
        })?;
        made += usize::from(step.verdict != Verdict::Same);
        stdout::text(step.to_string())?;
    }
    Ok(())
}

fn at(failure: &Failure, shown: &str, wanted: &WantedQueue) -> Failure {
    let what = format!("{shown}: line {}: {}: {}", wanted.line, wanted.key(), failure.what);
    Failure { exit: failure.exit, what, next: failure.next.clone() }
}
