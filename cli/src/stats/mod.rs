//! `posthouse queue stats`: counts and rates of a queue.

use std::time::Duration;

use posthouse_client::{Client, QueueStats};
use posthouse_text::shown;
use tokio::time::sleep;

use crate::{
    args,
    exit::Exit,
    failure::{Failure, of_client},
    shutdown::Interrupts,
    stdout,
};

pub mod json;
mod table;

/// Time between the two samples of a single answer.
const MEASURED: Duration = Duration::from_secs(1);
/// Moves the cursor home, and clears the screen below it.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Runs the command once, or with --watch until a signal.
pub async fn stats(client: &Client, args: &args::Stats) -> Result<(), Failure> {
    let mut interrupts = Interrupts::watch()?;
    let shown = show(client, args);
    tokio::select! {
        shown = shown => shown,
        // A signal is the regular end of --watch.
        () = interrupts.next() => match args.watch {
            Some(_) => Ok(()),
            None => Err(Failure::new(Exit::TempFail, "interrupted", "run it again")),
        },
    }
}

async fn show(client: &Client, args: &args::Stats) -> Result<(), Failure> {
    let name = client.queue_name(&args.queue).map_err(|error| of_client(&error))?;
    let pause = args.watch.map_or(MEASURED, Duration::from_secs);
    let mut before = ask(client, &name).await?;
    if args.watch.is_some() {
        print(args, &name, &before, None).await?;
    }
    loop {
        sleep(pause).await;
        let now = ask(client, &name).await?;
        print(args, &name, &now, now.rates_since(&before)).await?;
        if args.watch.is_none() {
            return Ok(());
        }
        before = now;
    }
}

async fn ask(client: &Client, name: &str) -> Result<QueueStats, Failure> {
    let queue = client.queues().get(name).await.map_err(|error| of_client(&error))?;
    queue.stats.ok_or_else(|| {
        Failure::new(
            Exit::Unavailable,
            "the server told no counts",
            "use a server and a client of matching versions",
        )
    })
}

async fn print(
    args: &args::Stats,
    name: &str,
    stats: &QueueStats,
    rates: Option<(f64, f64)>,
) -> Result<(), Failure> {
    if args.json {
        let mut line = json::object(stats);
        line["queue"] = name.into();
        if let Some((published, acked)) = rates {
            line["published_per_second"] = published.into();
            line["acked_per_second"] = acked.into();
        }
        return stdout::write_apart(stdout::json(&line)).await;
    }
    let clear = if args.watch.is_some() && stdout::is_terminal() { CLEAR } else { "" };
    let gap = if args.watch.is_some() && clear.is_empty() { "\n" } else { "" };
    let text = format!("{clear}{}\n{}{gap}", shown::one_line(name), table::text(stats, rates));
    stdout::write_apart(text).await
}
