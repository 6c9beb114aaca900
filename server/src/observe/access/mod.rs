//! Records of access: who published, was delivered, settled or changed what, and who was refused. By ids; a record
//! never holds a payload, an attribute or a token.
//!
//! A record that goes to a file is handed over before its call is answered, and none is lost while the process lives:
//! when the disk is slower than the calls, or refuses, the calls wait. A process that is killed may lose the records of
//! its last moments. In the program's log, refusals are thinned out when a caller floods them.

mod flood;
mod record;
mod writer;

use std::io;

pub(crate) use record::{Action, Caller, Ranges, Record, utc};

use self::{flood::Flood, writer::Writer};
use super::Metrics;
use crate::config::{AccessConfig, AccessSink, RecordsKept};

/// Keeps the records that are configured.
#[derive(Debug)]
pub(crate) struct Access {
    kept: RecordsKept,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Log(Flood),
    Written(Writer),
}

impl Access {
    /// As configured; a file is opened now.
    ///
    /// # Errors
    /// When the file cannot be opened, or the writer's thread not started.
    pub(super) fn open(config: &AccessConfig, metrics: &Metrics) -> io::Result<Self> {
        let sink = match (&config.sink, config.records) {
            (AccessSink::Log, _) | (_, RecordsKept::Off) => Sink::Log(Flood::default()),
            (AccessSink::Stdout, _) => Sink::Written(Writer::stdout(metrics)?),
            (AccessSink::File(path), _) => Sink::Written(Writer::file(path, metrics)?),
        };
        Ok(Self { kept: config.records, sink })
    }

    /// Whether refusals and changes are recorded.
    pub(crate) fn keeps_changes(&self) -> bool {
        self.kept >= RecordsKept::Changes
    }

    /// Whether every batch of messages is recorded.
    pub(crate) fn keeps_messages(&self) -> bool {
        self.kept >= RecordsKept::All
    }

    /// Hands a record over; waits while too many wait to be written.
    pub(crate) async fn write(&self, record: Record<'_>) {
        match &self.sink {
            Sink::Log(flood) => record.log(flood),
            Sink::Written(writer) => writer.write(record.line()).await,
        }
    }

    /// Hands a record over where nothing can wait: at the end of a call that its client has left.
    pub(crate) fn write_later(&self, record: &Record<'_>) {
        match &self.sink {
            Sink::Log(flood) => record.log(flood),
            Sink::Written(writer) => writer.write_later(record.line()),
        }
    }

    /// Writes what waits, and ends. Blocks.
    pub(super) fn close(&self) {
        if let Sink::Written(writer) = &self.sink {
            writer.close();
        }
    }
}
