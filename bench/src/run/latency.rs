//! The part `latency`: end to end in an open loop, at shares of each system's own rate and at one rate for all.

use anyhow::Result;

use super::Run;
use crate::{
    load::{Load, both},
    plan::{Best, PAYLOAD_BYTES},
    report::Raw,
    row::Row,
    system::System,
};

const PARTS: [(&str, f64); 3] = [("10%", 0.1), ("50%", 0.5), ("90%", 0.9)];
/// The system whose rate sets the common one.
const PEER: &str = "rabbitmq";
/// Connections of each kind at the common rate, which is far below the highest rates.
const EQUAL_CONNECTIONS: usize = 2;

/// Measures the latencies; needs the rates of `compare` in the same raw data.
pub async fn run(run: &mut Run) -> Result<()> {
    let raw = Raw::load(&run.out)?;
    let systems = std::mem::take(&mut run.systems);
    for system in &systems {
        let Some(max_rate) = rate(&raw, system.name(), median) else { continue };
        for (name, part) in PARTS {
            let load = Best::of(system.name()).load(PAYLOAD_BYTES, run.lengths.latency);
            at(run, system.as_ref(), load.at(max_rate * part), name, 1).await?;
        }
    }
    if let Some(best) = rate(&raw, PEER, best) {
        for round in 1..=run.lengths.rounds {
            for system in &systems {
                let keeps_up =
                    rate(&raw, system.name(), median).is_some_and(|max_rate| max_rate > best * 0.5);
                if keeps_up {
                    let all = Best::of(system.name());
                    let load = all.load_over(EQUAL_CONNECTIONS, PAYLOAD_BYTES, run.lengths.latency);
                    at(run, system.as_ref(), load.at(best * 0.5), "half of rabbitmq", round).await?;
                }
            }
        }
    }
    run.systems = systems;
    Ok(())
}

async fn at(run: &mut Run, system: &dyn System, load: Load, name: &str, round: u32) -> Result<()> {
    match measure(run, system, load).await {
        Ok(row) => run.record(&Row { round, remark: name.to_owned(), ..row }),
        Err(why) => run.failed("latency", system.name(), "both", round, &why),
    }
}

async fn measure(run: &Run, system: &dyn System, load: Load) -> Result<Row> {
    let started = run.start(system).await?;
    started.server.create("both").await?;
    let measured = both::run(started.server.as_ref(), "both", load).await?;
    started.stop().await?;
    Ok(measured.row("latency", system.name(), "both", &load))
}

fn rate(raw: &Raw, system: &str, of: impl Fn(Vec<f64>) -> f64) -> Option<f64> {
    let is_it = |row: &&Row| {
        row.part == "compare" && row.system == system && row.scenario == "both" && row.rate > 0.0
    };
    let rates: Vec<f64> = raw.rows.iter().filter(is_it).map(|row| row.rate).collect();
    (!rates.is_empty()).then(|| of(rates))
}

fn best(rates: Vec<f64>) -> f64 {
    rates.into_iter().fold(0.0, f64::max)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}
