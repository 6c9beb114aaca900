//! `make bench`: Posthouse side by side with its peers and with the limits of the machine.

mod limit;
mod load;
mod measure;
mod plan;
mod report;
mod row;
mod run;
mod system;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use limit::ServeArgs;
use measure::allocations::Counting;
use plan::{Best, Lengths};
use report::Recorder;
use run::{Run, profile::Scenario};

/// Counts allocations only in the part `inside`.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Measures Posthouse, its peers and the limits of this machine, and writes the report.
#[derive(Debug, Parser)]
#[command(name = "posthouse-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server of the limit `echo`.
    #[command(hide = true)]
    LimitEcho(ServeArgs),
    /// Run the server of the limit `bare`.
    #[command(hide = true)]
    LimitBare(ServeArgs),
    /// Measure. The results mean something only on a machine that does nothing else.
    Run(Asked),
    /// Load Posthouse while perf samples its process.
    Profile {
        /// What the server does meanwhile.
        #[arg(long, value_enum, default_value = "both")]
        scenario: Scenario,
        /// Messages that stay in the queue, before those that are published (`both` only).
        #[arg(long, default_value_t = 0)]
        backlog: u64,
        /// The file of the samples.
        #[arg(long)]
        perf: PathBuf,
        /// The folder below which the server keeps its data.
        #[arg(long, default_value = "/tmp")]
        disk: PathBuf,
    },
    /// Write the report from existing raw data.
    Report {
        /// The folder of the raw data and of the report.
        #[arg(long, default_value = "docs/benchmarks")]
        out: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Asked {
    /// A short run of under two minutes: one round, and no growth.
    #[arg(long)]
    quick: bool,
    /// Parts to measure, in this order. All unless given; with --quick compare, naive and fila.
    #[arg(long, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Systems to measure, by name. All unless given.
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,
    /// A shape of load for all systems instead of the best of each: CONNECTIONSxBATCH, as in 2x256.
    #[arg(long, value_parser = Best::parse)]
    shape: Option<Best>,
    /// Rounds of the parts that are repeated.
    #[arg(long)]
    rounds: Option<u32>,
    /// The folder of the raw data and of the report. New rows are added to existing ones.
    #[arg(long, default_value = "docs/benchmarks")]
    out: PathBuf,
    /// The folder below which all systems keep their data.
    #[arg(long, default_value = "/tmp")]
    disk: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Compare,
    Naive,
    Fila,
    Latency,
    Memory,
    Inside,
    Payload,
    Connections,
    Growth,
    Backlog,
    Soak,
}

const QUICK: [Part; 3] = [Part::Compare, Part::Naive, Part::Fila];

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        // An interrupt ends the servers that the run has started.
        Command::Run(asked) => tokio::select! {
            measured = measure(&asked) => measured,
            interrupted = interrupted() => interrupted,
        },
        Command::Report { out } => report::write(&out),
        Command::Profile { scenario, backlog, perf, disk } => {
            run::profile::run(scenario, backlog, &perf, &disk).await
        }
        Command::LimitEcho(args) => limit::serve_echo(&args).await,
        Command::LimitBare(args) => limit::serve_bare(&args).await,
    }
}

async fn interrupted() -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        signalled = tokio::signal::ctrl_c() => signalled?,
        _ = terminated.recv() => {}
    }
    bail!("interrupted; the rows so far are written")
}

async fn measure(asked: &Asked) -> Result<()> {
    let mut lengths = if asked.quick { Lengths::quick() } else { Lengths::full() };
    lengths.rounds = asked.rounds.unwrap_or(lengths.rounds);
    let systems = chosen(&asked.systems)?;
    if let Some(shape) = asked.shape {
        // Set here only.
        let _ = plan::TRIED.set(shape);
    }
    let mut run = Run {
        recorder: Recorder::open(&asked.out)?,
        out: asked.out.clone(),
        disk: asked.disk.clone(),
        lengths,
        systems,
    };
    let command: Vec<String> = std::env::args().skip(1).collect();
    let begun = report::Run::begin(&format!("posthouse-bench {}", command.join(" ")), &asked.disk)?;
    run.recorder.run(begun)?;
    let all = if asked.quick { &QUICK[..] } else { Part::value_variants() };
    for part in if asked.parts.is_empty() { all } else { &asked.parts } {
        match part {
            Part::Compare => run::compare::run(&mut run).await?,
            Part::Naive => run::shapes::naive(&mut run).await?,
            Part::Fila => run::own::fila(&mut run).await?,
            Part::Latency => run::latency::run(&mut run).await?,
            Part::Memory => run::own::memory(&mut run).await?,
            Part::Inside => run::inside::run(&mut run).await?,
            Part::Payload => run::shapes::payloads(&mut run).await?,
            Part::Connections => run::shapes::connections(&mut run).await?,
            Part::Growth => run::growth::run(&mut run).await?,
            Part::Backlog => run::growth::backlog::run(&mut run).await?,
            Part::Soak => run::own::soak(&mut run).await?,
        }
    }
    report::write(&asked.out)
}

fn chosen(names: &[String]) -> Result<Vec<Box<dyn system::System>>> {
    let mut systems = plan::systems();
    for name in names {
        if !systems.iter().any(|system| system.name() == name) {
            let known: Vec<_> = systems.iter().map(|system| system.name()).collect();
            bail!("there is no system {name}; there are {}", known.join(", "));
        }
    }
    systems.retain(|system| names.is_empty() || names.iter().any(|name| name == system.name()));
    Ok(systems)
}
