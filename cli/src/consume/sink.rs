//! Writes deliveries to stdout, and keeps their leases meanwhile.

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

/// Extension of the leases while a write to stdout is blocked.
const EXTENSION: Duration = Duration::from_secs(30);

/// Writes deliveries.
pub struct Sink {
    stdout: Arc<Stdout>,
    output: Output,
    /// Payloads are escaped, because stdout is a terminal and --raw was not given.
    shows: bool,
    text: Vec<u8>,
}

impl Sink {
    /// Opens stdout. It must be open, since what is written to it is acknowledged.
    pub fn stdout(output: Output, raw: bool) -> Result<Self, Failure> {
        let stdout = stdio::stdout().map_err(|error| of_stdout(&error))?;
        let shows = !raw && Self::is_terminal();
        Ok(Self { stdout: Arc::new(stdout), output, shows, text: Vec::new() })
    }

    /// Whether stdout is a terminal.
    pub fn is_terminal() -> bool {
        stdout::is_terminal()
    }

    /// Returns when the batch is written and flushed. After an error none of it may be acknowledged.
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

/// Extends the leases for as long as it is polled: a slow reader is not a failed delivery.
async fn keep_leases(batch: &mut [Delivery]) -> std::convert::Infallible {
    let mut wait = batch.iter().map(Delivery::lease_time_left).min().unwrap_or_default() / 2;
    loop {
        sleep(wait).await;
        // A lease that cannot be extended is lost; its acknowledgement reports that.
        join_all(batch.iter_mut().map(|delivery| delivery.extend(EXTENSION))).await;
        wait = EXTENSION / 3;
    }
}
