//! Parts with other shapes of load: `payload`, `connections` and `naive`.

use std::time::Duration;

use anyhow::Result;

use super::{Run, compare::scenarios};
use crate::{
    limit::{self, Limit},
    load::{Load, publish},
    plan::{Best, PAYLOAD_BYTES},
    row::Row,
    system::{Shape, System},
};

const PAYLOADS: [usize; 4] = [100, 1_024, 16 << 10, 256 << 10];
const CONNECTIONS: [usize; 4] = [1, 8, 64, 512];
/// Connections of the part `naive`.
const NAIVE_CONNECTIONS: usize = 64;

/// Payloads from 100 bytes to 256 KiB.
pub async fn payloads(run: &mut Run) -> Result<()> {
    for payload_bytes in PAYLOADS {
        each(run, "payload", |name, run| Best::of(name).load(payload_bytes, run.lengths.point)).await?;
    }
    Ok(())
}

/// From 1 to 512 connections, with the same messages in flight over all of them.
pub async fn connections(run: &mut Run) -> Result<()> {
    for connections in CONNECTIONS {
        each(run, "connections", |name, run| {
            Best::of(name).load_over(connections, PAYLOAD_BYTES, run.lengths.point)
        })
        .await?;
    }
    Ok(())
}

async fn each(run: &mut Run, part: &str, load: impl Fn(&str, &Run) -> Load) -> Result<()> {
    let systems = std::mem::take(&mut run.systems);
    for system in &systems {
        let load = load(system.name(), run);
        if let Err(why) = scenarios(run, part, system.as_ref(), load, 0).await {
            run.failed(part, system.name(), "all", 0, &why)?;
        }
    }
    run.systems = systems;
    Ok(())
}

/// Each connection sends one message and waits for its answer before the next.
pub async fn naive(run: &mut Run) -> Result<()> {
    let systems = std::mem::take(&mut run.systems);
    for round in 1..=run.lengths.rounds {
        for system in &systems {
            match one_by_one(run, system.as_ref()).await {
                Ok(row) => run.record(&Row { round, ..row })?,
                Err(why) => run.failed("naive", system.name(), "publish", round, &why)?,
            }
        }
        limits(run, round).await?;
    }
    run.systems = systems;
    Ok(())
}

/// The limits for single messages: the transport alone, and with one synced store.
async fn limits(run: &mut Run, round: u32) -> Result<()> {
    for which in [Limit::Echo, Limit::Bare] {
        match limit::measure(&[which], &run.disk, single(run.lengths.point).into()).await {
            Ok(rows) => {
                for row in rows {
                    run.record(&Row { part: "naive".to_owned(), round, ..row })?;
                }
            }
            Err(why) => run.failed("naive", which.name(), "publish", round, &why)?,
        }
    }
    Ok(())
}

/// A load with one message in flight on each connection.
pub fn single(length: Duration) -> Load {
    Load::closed(Shape { batch: 1, window: 1, payload_bytes: PAYLOAD_BYTES }, NAIVE_CONNECTIONS, length)
}

async fn one_by_one(run: &Run, system: &dyn System) -> Result<Row> {
    let load = single(run.lengths.point);
    let started = run.start(system).await?;
    started.server.create("published").await?;
    let published = publish::run(started.server.as_ref(), "published", load).await?;
    started.stop().await?;
    Ok(published.measured.row("naive", system.name(), "publish", &load))
}
