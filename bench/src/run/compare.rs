//! The parts `compare` and `limit`: publish, consume and both, for all systems and limits.

use anyhow::Result;
use rand::seq::SliceRandom as _;

use super::Run;
use crate::{
    limit::{self, Limit},
    load::{Load, both, consume, publish},
    plan::{Best, PAYLOAD_BYTES},
    row::Row,
    system::{Server, System},
};

/// Measures every system and the limits, in a random order each round.
pub async fn run(run: &mut Run) -> Result<()> {
    let systems = std::mem::take(&mut run.systems);
    for round in 1..=run.lengths.rounds {
        // The index after the last system stands for the limits.
        let mut order: Vec<usize> = (0..=systems.len()).collect();
        order.shuffle(&mut rand::rng());
        for number in order {
            match systems.get(number) {
                Some(system) => one(run, system.as_ref(), round).await?,
                None => limits(run, round).await?,
            }
        }
    }
    run.systems = systems;
    Ok(())
}

async fn one(run: &mut Run, system: &dyn System, round: u32) -> Result<()> {
    let load = Best::of(system.name()).load(PAYLOAD_BYTES, run.lengths.scenario);
    let measured = scenarios(run, "compare", system, load, round).await;
    match measured {
        Ok(()) => Ok(()),
        Err(why) => run.failed("compare", system.name(), "all", round, &why),
    }
}

/// Starts a server, publishes, consumes what was published, and then does both at once.
pub async fn scenarios(run: &mut Run, part: &str, system: &dyn System, load: Load, round: u32) -> Result<()> {
    let started = run.start(system).await?;
    if round <= 1 {
        run.recorder.system(started.server.facts())?;
    }
    for row in measure(started.server.as_ref(), part, system.name(), load).await? {
        run.record(&Row { round, ..row })?;
    }
    started.stop().await
}

async fn measure(server: &dyn Server, part: &str, system: &str, load: Load) -> Result<Vec<Row>> {
    server.create("published").await?;
    server.create("both").await?;
    let published = publish::run(server, "published", load).await?;
    let consumed = consume::run(server, "published", load, &published).await?;
    let through = both::run(server, "both", load).await?;
    Ok(vec![
        published.measured.row(part, system, "publish", &load),
        consumed.row(part, system, "consume", &load),
        through.row(part, system, "both", &load),
    ])
}

async fn limits(run: &mut Run, round: u32) -> Result<()> {
    let load = Best::of("posthouse").load(PAYLOAD_BYTES, run.lengths.scenario);
    match limit::measure(&Limit::ALL, &run.disk, load.into()).await {
        Ok(rows) => {
            for row in rows {
                run.record(&Row { round, ..row })?;
            }
            Ok(())
        }
        Err(why) => run.failed("limit", "all", "publish", round, &why),
    }
}
