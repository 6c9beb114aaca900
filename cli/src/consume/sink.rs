//! Stdout, and the leases of what waits to be written to it.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use posthouse_client::Delivery;
use posthouse_text::shown;
use rustix::fs::{OFlags, fcntl_getfl, fstat, major, minor};
use tokio::time::sleep;

use crate::args::Output;
use crate::exit::{Exit, Failure};
use crate::failure::of_stdout;
use crate::ndjson::write::line;
use crate::stdio::{self, Stdout};
use crate::stdout;

/// How long leases are extended while a reader of stdout takes its time.
const EXTENSION: Duration = Duration::from_secs(30);
/// The device number of `/dev/null`.
const NULL: (u32, u32) = (1, 3);

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
    ///
    /// The standard library's own stdout takes every write for done when there is nobody to write to, and puts
    /// `/dev/null`, open for reading too, in the place of a stdout that was not open when the program began.
    pub fn stdout(output: Output, raw: bool) -> Result<Self, Failure> {
        let stdout = stdio::stdout().map_err(|error| of_stdout(&error))?;
        let flags = fcntl_getfl(&stdout).map_err(|error| of_stdout(&error.into()))?;
        let device = fstat(&stdout).map_err(|error| of_stdout(&error.into()))?.st_rdev;
        let access = flags & OFlags::ACCMODE;
        if access == OFlags::RDONLY || (access == OFlags::RDWR && (major(device), minor(device)) == NULL) {
            return Err(Failure::new(
                Exit::Io,
                "stdout is not open for writing, so messages would be acknowledged that nobody has seen",
                "give it a file or a pipe; to throw messages away use `> /dev/null` or `posthouse queue purge`",
            ));
        }
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
            written = write_all(stdout, text) => {
                self.text = written.map_err(|error| of_stdout(&error))?;
                Ok(())
            }
            never = keep_leases(batch) => match never {},
        }
    }
}

/// Writes on a thread that may be held up, and gives the memory back.
async fn write_all(stdout: Arc<Stdout>, text: Vec<u8>) -> io::Result<Vec<u8>> {
    let writing = move || (&*stdout).write_all(&text).map(|()| text);
    tokio::task::spawn_blocking(writing).await.map_err(io::Error::other)?
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
