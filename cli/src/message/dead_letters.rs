//! `posthouse dead-letters`: what failed too often, and another chance for it.

use posthouse_client::{Client, Error, MessageState, MessageStatus, Redrive, Redriven};

use super::show;
use crate::args;
use crate::exit::{Exit, Failure};
use crate::failure::of_client;
use crate::ndjson::write::cause;
use crate::progress::Progress;
use crate::queue::beside;
use crate::stdout;
use crate::time::rfc3339;

/// The most that one call takes.
const MOST: usize = 1000;

/// Runs the command.
pub async fn dead_letters(client: &Client, command: &args::DeadLetters, quiet: bool) -> Result<(), Failure> {
    match command {
        args::DeadLetters::List { queue, json, max } => list(client, queue, *json, *max).await,
        args::DeadLetters::Redrive(args) => redrive(client, args, quiet).await,
    }
}

/// Page by page, so that a long list begins at once and takes little memory.
async fn list(client: &Client, queue: &str, json: bool, max: Option<u64>) -> Result<(), Failure> {
    let mut pages = client.messages().dead_letters(queue).map_err(|error| of_client(&error))?;
    let mut left = max.unwrap_or(u64::MAX);
    let mut heading = !json;
    while left > 0 {
        let Some(page) = pages.next().await.map_err(|error| of_client(&error))? else { return Ok(()) };
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let mut text = String::new();
        for letter in page.iter().take(wanted) {
            left -= 1;
            if heading {
                text.push_str(&row(["MESSAGE", "STATE", "DEAD SINCE", "FAILED", "REASON", "CAME FROM"]));
                heading = false;
            }
            match json {
                true => text.push_str(&format!("{}\n", show::object(letter))),
                false => text.push_str(&line(letter)),
            }
        }
        stdout::write(text)?;
    }
    Ok(())
}

fn line(letter: &MessageStatus) -> String {
    let since = letter.publish_time.map(rfc3339).unwrap_or_default();
    let origin = letter.origin.as_ref();
    let failed = origin.map_or(letter.failed_attempts, |origin| origin.attempts).to_string();
    let reason = match (letter.state, origin) {
        (_, Some(origin)) => cause(origin.reason),
        (MessageState::Parked(reason), None) => cause(reason),
        _ => "",
    };
    let from = origin.map_or("here", |origin| &origin.queue);
    row([&letter.message_id, show::word(letter.state), &since, &failed, reason, from])
}

fn row([id, state, since, failed, reason, from]: [&str; 6]) -> String {
    format!("{id:<25}{state:<9}{since:<26}{failed:<8}{reason:<14}{from}\n")
}

async fn redrive(client: &Client, args: &args::RedriveLetters, quiet: bool) -> Result<(), Failure> {
    let progress = Progress::counting(quiet, "redriven");
    let mut sum = Redriving { redriven: 0, skipped: 0 };
    let ended = if args.message_ids.is_empty() {
        let most = if args.all { u64::MAX } else { args.max.unwrap_or_default() };
        sum.oldest(client, args, most, &progress).await
    } else {
        sum.named(client, args, &progress).await
    };
    drop(progress);
    let Redriving { redriven, skipped } = sum;
    stdout::write(format!("{{\"redriven\": {redriven}, \"skipped\": {skipped}}}\n"))?;
    ended.map_err(|error| of_client(&error))?;
    if skipped > 0 && args.max.is_none() {
        return Err(Failure::new(
            Exit::TempFail,
            format!(
                "{skipped} stay where they are: with a consumer, no dead letters, or their queue is gone"
            ),
            "see `posthouse dead-letters list`; when their queue is gone, name another with --to",
        ));
    }
    Ok(())
}

/// What was done so far, which is told also when the rest failed.
struct Redriving {
    redriven: u64,
    skipped: u64,
}

impl Redriving {
    async fn named(
        &mut self,
        client: &Client,
        args: &args::RedriveLetters,
        progress: &Progress,
    ) -> Result<(), Error> {
        for ids in args.message_ids.chunks(MOST) {
            let wanted = wanted(args).only(ids);
            let done = client.messages().redrive(&args.queue, &wanted).await?;
            self.note(done, progress);
            self.skipped += done.skipped;
        }
        Ok(())
    }

    /// From the oldest on. Those that are skipped are met again by the next call, so that they are not summed.
    async fn oldest(
        &mut self,
        client: &Client,
        args: &args::RedriveLetters,
        most: u64,
        progress: &Progress,
    ) -> Result<(), Error> {
        while self.redriven < most {
            let now = u32::try_from((most - self.redriven).min(MOST as u64)).unwrap_or_default();
            let done = client.messages().redrive(&args.queue, &wanted(args).at_most(now)).await?;
            self.note(done, progress);
            self.skipped = done.skipped;
            if !done.more || done.redriven == 0 {
                break;
            }
        }
        Ok(())
    }

    fn note(&mut self, done: Redriven, progress: &Progress) {
        self.redriven += done.redriven;
        progress.add(done.redriven);
    }
}

fn wanted(args: &args::RedriveLetters) -> Redrive {
    match &args.to {
        Some(to) => Redrive::new().to(beside(&args.queue, to)),
        None => Redrive::new(),
    }
}
