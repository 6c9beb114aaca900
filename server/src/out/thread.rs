//! The thread that writes.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    queue::{Record, Shared, Work},
    target::Target,
};

/// How often a file is checked for having been moved, and how long a failed write of a record pauses.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often failures and dropped lines are logged.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// The pause when a target that seemed ready was not.
const NOT_READY: Duration = Duration::from_millis(10);

/// Starts the thread; returns the target if it cannot.
pub(super) fn start(name: &'static str, target: Target, shared: Arc<Shared>) -> Result<(), Target> {
    // A thread that could not be started has dropped its closure.
    let (hand_over, handed_over) = std::sync::mpsc::sync_channel(1);
    let run = move || {
        if let Ok(target) = handed_over.recv() {
            Writer::new(target, shared).run();
        }
    };
    match thread::Builder::new().name(name.to_owned()).spawn(run) {
        Ok(_) => hand_over.send(target).map_err(|unsent| unsent.0),
        Err(_) => Err(target),
    }
}

/// The beginning of the line that contains this position.
fn begin_of_line(lines: &[u8], at: usize) -> usize {
    let before = lines.get(..at).unwrap_or_default();
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

struct Writer {
    shared: Arc<Shared>,
    target: Target,
    /// The bytes before the next line do not end with a line feed.
    torn: bool,
    checked: Instant,
    reported: Option<Instant>,
    dropped_reported: (u64, Option<Instant>),
}

impl Writer {
    fn new(target: Target, shared: Arc<Shared>) -> Self {
        let torn = target.is_torn();
        Self { shared, target, torn, checked: Instant::now(), reported: None, dropped_reported: (0, None) }
    }

    fn run(mut self) {
        while let Some(work) = self.shared.next_work() {
            match work {
                Work::Records(records) => self.write_records(records),
                Work::Lines(lines) => lines.iter().for_each(|line| self.write_line(line)),
                Work::Sync => self.target.sync(),
            }
            self.shared.finished();
        }
        self.target.sync();
    }

    fn write_records(&mut self, records: Vec<Record>) {
        if self.checked.elapsed() >= CHECK_INTERVAL {
            self.reopen_if_moved();
        }
        let count = records.len();
        let (mut bytes, mut slots) = (Vec::new(), Vec::with_capacity(count));
        for Record { line, slot } in records {
            bytes.extend_from_slice(&line);
            slots.push(slot);
        }
        if self.write_whole(&bytes) {
            self.reported = None;
            self.shared.wrote_records(count);
        }
    }

    /// Tries until all of it is written; false if it was abandoned. A record that was begun in a file that was moved or
    /// removed is written again to the next file, from the first line that is not whole there.
    fn write_whole(&mut self, lines: &[u8]) -> bool {
        let mut at = 0;
        while let Some(rest) = lines.get(at..).filter(|rest| !rest.is_empty()) {
            let is_lost = self.target.is_lost();
            if !is_lost && !self.target.is_ready(CHECK_INTERVAL) {
                if self.shared.is_abandoned() {
                    return false;
                }
                continue;
            }
            let written = if is_lost {
                self.open_again().map(|()| at = begin_of_line(lines, at))
            } else if self.torn {
                self.target.write(b"\n").map(|written| self.torn = written == 0)
            } else {
                self.target.write(rest).map(|written| at += written)
            };
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(NOT_READY),
                Err(error) => {
                    self.report(&error);
                    if !self.shared.pause(CHECK_INTERVAL) {
                        return false;
                    }
                    if self.reopen_if_moved() {
                        at = begin_of_line(lines, at);
                    }
                }
            }
        }
        true
    }

    /// Writes a line, or drops it.
    fn write_line(&mut self, line: &[u8]) {
        let mut rest = line;
        while !rest.is_empty() {
            if !self.target.is_ready(CHECK_INTERVAL) {
                if self.shared.is_abandoned() {
                    return self.shared.drop_lines(1);
                }
                continue;
            }
            match self.target.write(if self.torn { b"\n" } else { rest }) {
                Ok(written) if self.torn => self.torn = written == 0,
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(NOT_READY),
                Err(_) => {
                    self.torn |= rest.len() < line.len();
                    return self.shared.drop_lines(1);
                }
            }
        }
        self.report_dropped();
    }

    /// Begins a new file if the old one was moved away: true if it did.
    fn reopen_if_moved(&mut self) -> bool {
        self.checked = Instant::now();
        if !self.target.is_moved() {
            return false;
        }
        let opened = self.open_again();
        if let Err(error) = &opened
            && !self.target.is_lost()
        {
            let path = self.target_name();
            tracing::warn!(
                %error,
                path,
                "the access file cannot be opened again; the one that was moved is written on"
            );
        }
        opened.is_ok()
    }

    fn open_again(&mut self) -> io::Result<()> {
        self.target.open_again()?;
        self.torn = self.target.is_torn();
        Ok(())
    }

    /// The name of the target.
    fn target_name(&self) -> String {
        self.target.path().map_or_else(|| self.shared.name.to_owned(), |path| path.display().to_string())
    }

    fn report(&mut self, error: &io::Error) {
        self.shared.failed();
        if self.reported.is_none_or(|reported| reported.elapsed() >= REPORT_INTERVAL) {
            self.reported = Some(Instant::now());
            let to = self.target_name();
            tracing::error!(
                %error,
                to,
                "access records cannot be written; they wait, and when too many wait, changes are refused and \
                 deliveries pause: make room, or look at who reads them"
            );
        }
    }

    /// Reports dropped lines once lines are accepted again.
    fn report_dropped(&mut self) {
        let (known, reported) = self.dropped_reported;
        let dropped = self.shared.dropped();
        let may_report =
            dropped > known && reported.is_none_or(|reported| reported.elapsed() >= REPORT_INTERVAL);
        if may_report && self.shared.has_no_lines() {
            self.dropped_reported = (dropped, Some(Instant::now()));
            tracing::warn!(
                lines = dropped - known,
                "lines of the log were dropped: nobody read them, or they could not be written"
            );
        }
    }
}
