//! The demo: ten thousand citizen applications through three departments of two agencies, with a server that is killed
//! halfway.
//!
//! The closing table counts what the producers and consumers of this program saw. See `demo/README.md`.

#![allow(clippy::disallowed_methods, reason = "it is no part of the program")]

use std::{
    io::{IsTerminal as _, Write as _, stdout},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use posthouse_client::{Client, Context};
use tokio::{task::JoinSet, time::sleep};

use office::Office;
use server::Server;
use table::Row;

mod applications;
mod measured;
mod office;
mod server;
mod other_tenant;
mod table;
mod tally;

/// An error that ends the demo.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Consumers of each queue.
const CONSUMERS: usize = 3;
/// The demo ends when nothing moves for this long; leases of the killed server expire earlier.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    let file = std::env::args_os().nth(1).unwrap_or_else(|| "demo/applications.ndjson".into());
    match run(Path::new(&file)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; `true` if nothing was lost or duplicated and every application was processed or is a dead letter.
async fn run(file: &Path) -> Result<bool, Failed> {
    let by_office = applications::read(file)?;
    let folder = tempfile::tempdir()?;
    say(&format!("a throwaway server in {}", folder.path().display()));
    let mut server = Server::start(&folder.path().join("posthouse")).await?;

    let mut tasks = JoinSet::new();
    let mut offices = Vec::new();
    let mut total = 0;
    for (destination, mut applications) in by_office {
        applications.insert(0, applications::without_identity(&destination));
        total += applications.len() as u64;
        let (tenant, department) = destination;
        let client = Client::connect(Context::load(server.context(&tenant))?).await?;
        let office = Arc::new(Office::open(&tenant, &department, &client.queues()).await?);
        say(&format!(
            "{}: {} applications, one of them incomplete; 1 producer, {CONSUMERS} consumers",
            office.name,
            applications.len(),
        ));
        if offices.is_empty() {
            show_refusals(&server, &tenant, office.queue()).await?;
        }
        tasks.spawn(Arc::clone(&office).produce(client.clone(), applications));
        for _ in 0..CONSUMERS {
            tasks.spawn(Arc::clone(&office).consume(client.clone()));
        }
        tasks.spawn(Arc::clone(&office).supervise(client.clone()));
        offices.push((office, client));
    }

    watch(&offices, &mut tasks, total, |settled| settled >= total / 2).await?;
    say("SIGKILL to the server, in mid-flow, and the same command again");
    let down = server.kill_and_restart().await?;
    say(&format!(
        "it answers again after {:.1} s; producers and consumers go on by themselves",
        down.as_secs_f64()
    ));
    watch(&offices, &mut tasks, total, |settled| settled >= total).await?;
    tasks.shutdown().await;
    let mut rows = Vec::new();
    for (office, client) in &offices {
        office.drain_leftovers(client).await?;
        for (number, attempts) in office.dead_letters() {
            say(&format!("{}: \"{number}\" was tried {attempts} times, then set aside", office.name));
        }
        let (figures, measured) = (office.figures(), office.measured(client).await?);
        rows.push(Row { name: office.name.clone(), figures, measured });
    }
    server.stop().await?;
    Ok(report(&rows, total))
}

/// Shows that another tenant is refused.
async fn show_refusals(server: &Server, tenant: &str, queue: &str) -> Result<(), Failed> {
    for (what, reason) in other_tenant::refused(server, tenant, queue).await? {
        say(&format!("another tenant may not {what} {tenant}/{queue}: {reason}"));
    }
    Ok(())
}

/// Shows the progress until enough messages are settled, or nothing moves for too long.
async fn watch(
    offices: &[(Arc<Office>, Client)],
    tasks: &mut JoinSet<Result<(), Failed>>,
    total: u64,
    enough: impl Fn(u64) -> bool,
) -> Result<(), Failed> {
    let mut last = (0, Instant::now());
    loop {
        let (mut published, mut settled) = (0, 0);
        for (office, _) in offices {
            let figures = office.figures();
            published += figures.published;
            settled += figures.processed + figures.dead_lettered;
        }
        progress(published, settled, total);
        if published + settled > last.0 {
            last = (published + settled, Instant::now());
        }
        if enough(settled) || last.1.elapsed() > PATIENCE {
            progress_done();
            return Ok(());
        }
        tokio::select! {
            () = sleep(Duration::from_millis(20)) => {}
            Some(ended) = tasks.join_next() => ended??,
        }
    }
}

fn report(rows: &[Row], total: u64) -> bool {
    let mut sum = tally::Figures::default();
    rows.iter().for_each(|row| sum += row.figures);
    let clean = sum.lost == 0 && sum.duplicated == 0;
    let complete = sum.processed + sum.dead_lettered == total;
    print!("\n{}", table::table(rows, stdout().is_terminal()));
    println!(
        "queue: applications, of each tenant/department\n\
         waiting: publish to first lease; processing: lease to ack; both with the time the server was dead\n\
         redelivered: {}; they came again, but nobody had been told that they were settled\n",
        sum.redelivered
    );
    match (clean, complete) {
        (true, true) => println!(
            "All {total} applications came to an end: {} processed, {} set aside as dead letters; none was lost, none \
             came twice.",
            sum.processed, sum.dead_lettered
        ),
        (true, false) => println!("Not all of the {total} applications were published and came to an end."),
        (false, _) => println!("Something was lost or came twice."),
    }
    clean && complete
}

fn say(what: &str) {
    println!("─ {what}");
}

/// Overwrites one line of progress, on a terminal only.
fn progress(published: u64, settled: u64, total: u64) {
    if stdout().is_terminal() {
        print!("\r\x1b[K  {} {published:>6} published {settled:>6} settled", bar(settled, total));
        stdout().flush().ok();
    }
}

fn progress_done() {
    if stdout().is_terminal() {
        println!();
    }
}

fn bar(done: u64, total: u64) -> String {
    const WIDTH: usize = 40;
    let full = usize::try_from(done * WIDTH as u64 / total.max(1)).unwrap_or(WIDTH).min(WIDTH);
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full))
}
