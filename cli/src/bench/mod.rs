//! `posthouse bench`: throughput and latencies of a server.
//!
//! It measures what a service sees that uses the client crate.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use posthouse_client::Client;
use posthouse_text::shown;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    args::Bench,
    connect::connect,
    exit::Exit,
    failure::{Failure, of_client},
    shutdown::{GRACE, Interrupts},
    stdout,
};
use consumers::Consumers;
use meter::StepTally;
use phase::Phase;
use plan::Plan;
use producers::Producers;
use report::Report;

mod consumers;
pub mod latency;
mod meter;
mod payload;
mod phase;
mod plan;
mod producers;
mod report;
mod schedule;

/// Runs the command. It prints what was measured, however the run ends.
pub async fn bench(context: Option<&Path>, command: &Bench) -> Result<(), Failure> {
    let mut interrupts = Interrupts::watch()?;
    let (client, plan) = tokio::select! {
        prepared = prepare(context, command) => prepared?,
        () = interrupts.next() => return Err(interrupted()),
    };
    let measured = OnceLock::new();
    let ran = tokio::select! {
        ran = run(&client, &plan, &measured) => ran,
        () = interrupts.next() => Err(interrupted()),
    };
    let is_interrupted = interrupts.received();
    let reported = match measured.get() {
        Some(phase) => tokio::select! {
            reported = report(&plan, phase) => reported,
            () = interrupts.next() => Err(interrupted()),
            () = sleep(GRACE), if is_interrupted => Err(interrupted()),
        },
        None => Ok(()),
    };
    let cleared = if plan.must_clear(ran.is_ok()) {
        let cleared = tokio::select! {
            cleared = consumers::clear(&client, &plan.queue, plan.run.id) => cleared,
            () = interrupts.next() => Err(interrupted()),
        };
        cleared.map_err(|why| not_cleared(&why))
    } else {
        Ok(())
    };
    ran.and(reported).and(cleared)
}

async fn prepare(context: Option<&Path>, command: &Bench) -> Result<(Client, Plan), Failure> {
    let load = command.load();
    let client = connect(context).await?;
    let queue = client.queue_name(&load.queue).map_err(|error| of_client(&error))?;
    let held = match client.queues().get(&queue).await {
        Ok(found) => found.stats.map(|stats| stats.ready + stats.in_flight + stats.waiting),
        // With --force the count does not matter, so the right to see it is not needed.
        Err(_) if load.force && !matches!(command, Bench::Consume { no_fill: true, .. }) => None,
        Err(error) => return Err(of_client(&error)),
    };
    let plan = Plan::of(command, queue, held)?;
    Ok((client, plan))
}

/// Runs the phases one after the other. `measured` is set to the measured phase while it runs.
async fn run(client: &Client, plan: &Plan, measured: &OnceLock<Arc<Phase>>) -> Result<(), Failure> {
    if plan.fills {
        fill(client, plan).await?;
    }
    let mut producers = None;
    if plan.publishes {
        producers = Some(Producers::open(client, &plan.load).await?);
    }
    let mut consumers = None;
    if plan.consumes.is_some() {
        consumers = Some(Consumers::open(client, &plan.queue, plan.load.streams, plan.credit).await?);
    }
    for (count, is_measured) in [(plan.warm_up, false), (plan.count, true)] {
        let phase = Arc::new(Phase::begin(plan.run, plan.extent(count))?);
        if is_measured {
            // Set once, since one phase is measured.
            let _ = measured.set(Arc::clone(&phase));
        }
        let mut tasks = JoinSet::new();
        if let Some(producers) = &producers {
            producers.start(&phase, &mut tasks);
        }
        if let (Some(consumers), Some(mode)) = (&consumers, plan.consumes) {
            consumers.start(mode, &phase, &mut tasks);
        }
        let joined = join(tasks).await;
        if joined.is_err()
            && let Some(consumers) = consumers.take()
        {
            // The process ends next: unsettled deliveries are released first. The first error is the one to report.
            let _ = consumers.close().await;
        }
        joined?;
    }
    if let Some(consumers) = consumers {
        consumers.close().await?;
    }
    match producers {
        Some(producers) => producers.close().await,
        None => Ok(()),
    }
}

/// Publishes the messages that will be consumed.
async fn fill(client: &Client, plan: &Plan) -> Result<(), Failure> {
    let producers = Producers::open(client, &plan.load).await?;
    let phase = Arc::new(Phase::begin(plan.run, plan.extent(plan.warm_up + plan.count))?);
    let mut tasks = JoinSet::new();
    producers.start(&phase, &mut tasks);
    join(tasks).await?;
    producers.close().await?;
    failures(&phase.tally()?, "the queue could not be filled")
}

/// Waits for all tasks, and aborts all when one fails.
async fn join(mut tasks: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Failure::advised(Exit::Unavailable, format!("a task failed: {error}")))??;
    }
    Ok(())
}

async fn report(plan: &Plan, phase: &Phase) -> Result<(), Failure> {
    let tally = phase.tally()?;
    let report = Report::new(plan.asked(), &tally, phase.duration(&tally));
    let text = if plan.load.json {
        let json = report.json().map_err(|error| Failure::advised(Exit::Io, error))?;
        format!("{json}\n")
    } else {
        report.to_string()
    };
    stdout::write_apart(shown::lines(&text).into_owned()).await?;
    failures(&tally, "not everything went through")
}

fn failures(tally: &StepTally, what: &str) -> Result<(), Failure> {
    match &tally.first_error {
        None => Ok(()),
        Some(first) => {
            let what = format!("{what}: {} messages failed; the first: {first}", tally.errors);
            Err(Failure::advised(Exit::TempFail, what))
        }
    }
}

fn interrupted() -> Failure {
    Failure::new(Exit::TempFail, "interrupted", "run it again for the whole measurement")
}

fn not_cleared(why: &Failure) -> Failure {
    let what = format!("messages of this run are left in the queue: {}", why.what);
    Failure::new(
        why.exit,
        what,
        "remove them with `posthouse queue purge QUEUE` if nobody else uses the queue",
    )
}
