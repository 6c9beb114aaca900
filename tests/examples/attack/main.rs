//! Attacks on a server of its own, on loopback: `make attack`, and `docs/attacks.md`.
//!
//! * `memory`: how much more memory a server uses under each attack than under full load, and whether it frees it
//! * `neighbour`: how long another tenant's messages take under each attack, and without
//! * `slots` (`places` on the command line): whether others connect while attackers hold connections
//!
//! Without an argument it measures all of them, in less than twenty minutes. The exit code is 1 if a limit was passed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on has to say where"
)]

mod arena;
mod memory;
mod neighbour;
mod options;
mod slots;
mod results;

use std::{process::ExitCode, time::Duration};

use posthouse_tests::{
    attack::{self, Attack, Kind},
    harness::process,
};

use options::{Measure, Options};
use results::Results;

/// The longest that all measurements may take.
const ALL: Duration = Duration::from_secs(20 * 60);

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            println!("{wrong}\n\n{}", options::HELP);
            return ExitCode::from(64);
        }
    };
    if options.list {
        attack::all().for_each(|attack| println!("{:<28} {:?}", attack.name, attack.kind));
        return ExitCode::SUCCESS;
    }
    // The attackers open 19,000 connections from forty hosts, if the system allows it. The server keeps the limits of
    // this program.
    process::limit_files(std::process::id(), &format!("{}:", options.files.1));
    println!("seed {}", options.seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let results = runtime.block_on(run(&options));
    // Tasks of attackers that are still on their way end with the process.
    runtime.shutdown_background();
    if results.passed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(options: &Options) -> Results {
    let mut results = Results::new(options.out.as_deref());
    match options.measure {
        Measure::Memory => {
            memory::measure(options, &mut results, &options.attacks(&[Kind::Flood, Kind::Hold])).await
        }
        Measure::Neighbour => {
            neighbour::measure(options, &mut results, &options.attacks(&[Kind::Flood])).await
        }
        Measure::Slots => slots::measure(options, &mut results).await,
        Measure::All => {
            let kinds = |kind| -> Vec<&Attack> { options.attacks(&[kind]) };
            slots::measure(options, &mut results).await;
            memory::measure(options, &mut results, &kinds(Kind::Hold)).await;
            neighbour::measure(options, &mut results, &kinds(Kind::Flood)).await;
        }
    }
    results.close();
    results
}
