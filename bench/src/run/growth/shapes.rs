//! Growth of the consumers, and of the messages in flight.

use anyhow::Result;

use super::{
    super::{Run, own},
    point,
};
use crate::{
    load::{Load, both},
    plan::{Best, PAYLOAD_BYTES},
    system::Server as _,
};

const CONSUMERS: [usize; 5] = [1, 4, 16, 64, 256];
const IN_FLIGHT: [usize; 6] = [64, 256, 1_024, 4_096, 16_384, 65_536];

pub async fn run(run: &mut Run) -> Result<()> {
    for consumers in CONSUMERS {
        let load = Best::of("posthouse").load_over(consumers, PAYLOAD_BYTES, run.lengths.point);
        measure(run, load, "consumers", consumers).await?;
    }
    for in_flight in IN_FLIGHT {
        let load =
            Best { max_in_flight: in_flight, ..Best::of("posthouse") }.load(PAYLOAD_BYTES, run.lengths.point);
        measure(run, load, "in-flight", in_flight).await?;
    }
    Ok(())
}

async fn measure(run: &mut Run, load: Load, axis: &str, x: usize) -> Result<()> {
    let (running, _folder) = own::start(run).await?;
    running.create("both").await?;
    let measured = both::run(&running, "both", load).await?;
    run.record(&point(measured.row("", "posthouse", "both", &load), axis, x as u64))?;
    Box::new(running).stop().await
}
