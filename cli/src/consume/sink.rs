//! Stdout, and the leases of what waits to be written to it.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use posthouse_client::Delivery;
use tokio::io::{AsyncWriteExt as _, Stdout, stdout};
use tokio::time::sleep;

use super::output::append;
use crate::args::Output;
use crate::exit::Failure;
use crate::failure::of_stdout;

/// How long leases are extended while a reader of stdout takes its time.
const EXTENSION: Duration = Duration::from_secs(30);

/// Writes deliveries.
pub struct Sink {
    stdout: Stdout,
    output: Output,
    text: Vec<u8>,
}

impl Sink {
    /// A sink on stdout.
    pub fn stdout(output: Output) -> Self {
        Self { stdout: stdout(), output, text: Vec::new() }
    }

    /// Returns when all of it is written and flushed. After an error nothing of it may be acknowledged.
    pub async fn write(&mut self, batch: &mut [Delivery]) -> Result<(), Failure> {
        self.text.clear();
        for delivery in batch.iter() {
            append(&mut self.text, delivery, self.output);
        }
        let stdout = &mut self.stdout;
        let text = &self.text;
        let writing = async {
            stdout.write_all(text).await?;
            stdout.flush().await
        };
        tokio::select! {
            written = writing => written.map_err(|error| of_stdout(&error)),
            never = keep_leases(batch) => match never {},
        }
    }
}

/// Extends the leases for as long as this is awaited: a reader that pauses is no failed delivery.
async fn keep_leases(batch: &mut [Delivery]) -> std::convert::Infallible {
    let now = SystemTime::now();
    let left = batch.iter().filter_map(|delivery| delivery.lease_deadline().duration_since(now).ok());
    let mut wait = left.min().unwrap_or_default() / 2;
    loop {
        sleep(wait).await;
        // A lease that cannot be extended is lost, which its acknowledgement will tell.
        join_all(batch.iter_mut().map(|delivery| delivery.extend(EXTENSION))).await;
        wait = EXTENSION / 3;
    }
}
