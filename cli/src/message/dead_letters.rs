//! `posthouse dead-letters`: lists and redrives messages that failed too often.

use std::collections::BTreeMap;

use posthouse_client::{Client, Error, MessageState, MessageStatus, Redrive, Redriven, SkipReason};

use super::show;
use crate::{
    args,
    exit::Exit,
    failure::{Failure, of_client},
    ndjson::write::cause,
    progress::Progress,
    queue::beside,
    stderr, stdout,
    time::rfc3339,
};

/// Most dead letters of one call.
const MAX_PER_CALL: usize = 1000;
/// Most ids that are named for a reason.
const MAX_NAMED_IDS: usize = 3;

/// Runs the command.
pub async fn dead_letters(client: &Client, command: &args::DeadLetters, quiet: bool) -> Result<(), Failure> {
    match command {
        args::DeadLetters::List { queue, json, max } => list(client, queue, *json, *max).await,
        args::DeadLetters::Redrive(args) => redrive(client, args, quiet).await,
    }
}

/// Prints page by page, so that a long list begins at once and takes little memory.
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
                true => text.push_str(&stdout::json(&show::object(letter))),
                false => text.push_str(&line(letter)),
            }
        }
        stdout::text(text)?;
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
    let mut sum = Redriving::default();
    let ended = if args.message_ids.is_empty() {
        let limit = if args.all { u64::MAX } else { args.max.unwrap_or_default() };
        sum.oldest(client, args, limit, &progress).await
    } else {
        sum.named(client, args, &progress).await
    };
    drop(progress);
    stdout::write(format!("{{\"redriven\": {}, \"skipped\": {}}}\n", sum.redriven, sum.skipped))?;
    ended.map_err(|error| of_client(&error))?;
    match sum.skipped {
        0 => Ok(()),
        _ if args.max.is_some() => {
            stderr::notice(sum.describe_skipped());
            Ok(())
        }
        _ => Err(Failure::new(
            Exit::TempFail,
            sum.describe_skipped(),
            "see `posthouse dead-letters list`; when their queue is gone, name another with --to",
        )),
    }
}

/// What was redriven and skipped so far, which is printed also after a failure.
#[derive(Default)]
struct Redriving {
    redriven: u64,
    skipped: u64,
    by_reason: BTreeMap<SkipReason, Skipped>,
}

/// Dead letters that were skipped for one reason: their number, and the first ids.
#[derive(Default)]
struct Skipped {
    count: u64,
    ids: Vec<String>,
}

impl Redriving {
    async fn named(
        &mut self,
        client: &Client,
        args: &args::RedriveLetters,
        progress: &Progress,
    ) -> Result<(), Error> {
        for ids in args.message_ids.chunks(MAX_PER_CALL) {
            let mut next = Some(wanted(args).only(ids));
            while let Some(redrive) = next {
                let done = client.messages().redrive(&args.queue, &redrive).await?;
                next = redrive.after(&done);
                self.add(done, progress);
            }
        }
        Ok(())
    }

    /// Redrives from the oldest on; skipped ones are passed.
    async fn oldest(
        &mut self,
        client: &Client,
        args: &args::RedriveLetters,
        limit: u64,
        progress: &Progress,
    ) -> Result<(), Error> {
        let mut next = Some(wanted(args));
        while let Some(redrive) = next.filter(|_| self.redriven < limit) {
            let now = u32::try_from((limit - self.redriven).min(MAX_PER_CALL as u64)).unwrap_or_default();
            let done = client.messages().redrive(&args.queue, &redrive.clone().max_messages(now)).await?;
            next = redrive.after(&done);
            self.add(done, progress);
        }
        Ok(())
    }

    fn add(&mut self, done: Redriven, progress: &Progress) {
        self.redriven += done.redriven;
        self.skipped += done.skipped;
        for (reason, count) in done.skipped_by_reason {
            self.by_reason.entry(reason).or_default().count += count;
        }
        for (id, reason) in done.skipped_dead_letters {
            let ids = &mut self.by_reason.entry(reason).or_default().ids;
            if ids.len() < MAX_NAMED_IDS {
                ids.push(id);
            }
        }
        progress.add(done.redriven);
    }

    /// Describes the skipped dead letters by their reasons.
    fn describe_skipped(&self) -> String {
        let part = |(reason, skipped): (&SkipReason, &Skipped)| {
            let more = if skipped.count > skipped.ids.len() as u64 { ", ..." } else { "" };
            format!("{} {} ({}{more})", skipped.count, why(*reason), skipped.ids.join(", "))
        };
        let parts: Vec<_> =
            self.by_reason.iter().filter(|(_, skipped)| skipped.count > 0).map(part).collect();
        format!("{} stay where they are: {}", self.skipped, parts.join("; "))
    }
}

const fn why(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Leased => "with a consumer",
        SkipReason::NotDeadLetter => "no dead letters, or not any more",
        SkipReason::QueueGone => "whose queue is gone",
        SkipReason::GrantMissing => "whose queue the token has no grant for",
        _ => "for a reason that this version does not know",
    }
}

fn wanted(args: &args::RedriveLetters) -> Redrive {
    match &args.to {
        Some(to) => Redrive::new().to(beside(&args.queue, to)),
        None => Redrive::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_dead_letters_are_grouped_by_reason() {
        let mut sum = Redriving { skipped: 18, ..Redriving::default() };
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        sum.by_reason.insert(SkipReason::QueueGone, Skipped { count: 16, ids: ids(&["A", "B", "C"]) });
        sum.by_reason.insert(SkipReason::Leased, Skipped { count: 2, ids: ids(&["D", "E"]) });
        assert_eq!(
            sum.describe_skipped(),
            "18 stay where they are: 2 with a consumer (D, E); 16 whose queue is gone (A, B, C, ...)"
        );
    }
}
