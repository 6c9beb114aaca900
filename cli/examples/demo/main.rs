//! Ten thousand citizen applications through three departments of two agencies, with a server that is killed halfway.
//!
//! The closing table counts what the producers and consumers of this program saw. See `demo/README.md`.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthouse_client::{Client, Context, QueueSettings};
use tokio::task::JoinSet;
use tokio::time::sleep;

use office::Office;
use server::Server;

mod applications;
mod office;
mod server;
mod table;
mod tally;

/// Anything that ends the demo early.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Consumers of each queue.
const CONSUMERS: usize = 3;
/// Nothing may stand still for longer: a lease of the killed server's last moments runs to its end before that.
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

/// Whether nothing was lost and nothing came twice.
async fn run(file: &Path) -> Result<bool, Failed> {
    let by_office = applications::read(file)?;
    let total = by_office.values().map(Vec::len).sum::<usize>() as u64;
    let folder = tempfile::tempdir()?;
    say(&format!("a throwaway server in {}", folder.path().display()));
    let mut server = Server::start(&folder.path().join("posthouse")).await?;

    let mut tasks = JoinSet::new();
    let mut offices = Vec::new();
    for ((tenant, department), applications) in by_office {
        let client = Client::connect(Context::load(server.context(&tenant))?).await?;
        let queue = format!("{department}/applications");
        client.queues().create(&queue, &QueueSettings::new()).await?;
        let office = Arc::new(Office::new(format!("{tenant}/{queue}"), queue));
        say(&format!(
            "{}: {} applications, 1 producer, {} consumers",
            office.name,
            applications.len(),
            CONSUMERS
        ));
        tasks.spawn(Arc::clone(&office).produce(client.clone(), applications));
        for _ in 0..CONSUMERS {
            tasks.spawn(Arc::clone(&office).consume(client.clone()));
        }
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
    for (office, client) in &offices {
        office.look_for_leftovers(client).await?;
    }
    server.stop().await?;
    Ok(report(&offices, total))
}

/// Shows the progress until enough is settled, or nothing moves any more.
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
            settled += figures.processed;
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

fn report(offices: &[(Arc<Office>, Client)], total: u64) -> bool {
    let rows: Vec<_> = offices.iter().map(|(office, _)| (office.name.clone(), office.figures())).collect();
    let clean = rows.iter().all(|(_, figures)| figures.lost == 0 && figures.duplicated == 0);
    let complete = rows.iter().map(|(_, figures)| figures.processed).sum::<u64>() == total;
    print!("\n{}", table::table(&rows, stdout().is_terminal()));
    println!("redelivered: came again, but nobody had been told that it was settled\n");
    match (clean, complete) {
        (true, true) => println!("All {total} applications were processed; none was lost, none came twice."),
        (true, false) => println!("Not all of the {total} applications were published and processed."),
        (false, _) => println!("Something was lost or came twice."),
    }
    clean && complete
}

fn say(what: &str) {
    println!("─ {what}");
}

/// One line that is written over, for a terminal only.
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
