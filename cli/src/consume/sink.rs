//! Stdout, and the leases of what waits to be written to it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use posthouse_client::Delivery;
use posthouse_text::shown;
use tokio::time::sleep;

use crate::{
    args::Output,
    failure::{Failure, of_stdout},
    ndjson::write::line,
    stdio::{self, Stdout},
    stdout,
};

/// How long leases are extended while a reader of stdout takes its time.
const EXTENSION: Duration = Duration::from_secs(30);

/// Writes deliveries.
pub struct Sink {
    stdout: Arc<Stdout>,
    output: Output,
    /// A person reads payloads, and asked for nothing else: they are shown, not written as they are.
    shows: bool,
    text: Vec<u8>,
}

impl Sink {
    /// A sink on stdout, if there is one. What is written to it is acknowledged: it must not vanish.
    pub fn stdout(output: Output, raw: bool) -> Result<Self, Failure> {
        let stdout = stdio::stdout().map_err(|error| of_stdout(&error))?;
        let shows = !raw && Self::is_terminal();
        Ok(Self { stdout: Arc::new(stdout), output, shows, text: Vec::new() })
    }

    /// Whether a person reads along.
    pub fn is_terminal() -> bool {
        stdout::is_terminal()
    }

    /// Returns when all of it is written and flushed. After an error nothing of it may be acknowledged.
    pub async fn write(&mut self, batch: &mut [Delivery]) -> Result<(), Failure> {
        self.text.clear();
        for delivery in batch.iter() {
            match self.output {
                Output::Payload if self.shows => {
                    self.text.extend_from_slice(shown::bytes(delivery.payload()).as_bytes());
                }
                Output::Payload => self.text.extend_from_slice(delivery.payload()),
                Output::Json => self.text.extend_from_slice(line(delivery).as_bytes()),
            }
            self.text.push(b'\n');
        }
        let (stdout, text) = (Arc::clone(&self.stdout), std::mem::take(&mut self.text));
        tokio::select! {
            written = stdout.write_apart(text) => {
                self.text = written.map_err(|error| of_stdout(&error))?;
                Ok(())
            }
            never = keep_leases(batch) => match never {},
        }
    }
}

/// Extends the leases for as long as this is awaited: a reader that pauses is no failed delivery.
async fn keep_leases(batch: &mut [Delivery]) -> std::convert::Infallible {
    let mut wait = batch.iter().map(Delivery::lease_time_left).min().unwrap_or_default() / 2;
    loop {
        sleep(wait).await;
        // A lease that cannot be extended is lost, which its acknowledgement will tell.
        join_all(batch.iter_mut().map(|delivery| delivery.extend(EXTENSION))).await;
        wait = EXTENSION / 3;
    }
}
