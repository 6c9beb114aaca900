//! Signals that end a program, and SIGHUP, on which a server reads its files again.

use std::{
    fs,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use signal_hook::{
    consts::{SIGTTOU, SIGXFSZ},
    flag,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{exit::Exit, failure::Failure};

/// How long an interrupted command waits for outstanding answers, and for a reader of its last line.
pub const GRACE: Duration = Duration::from_secs(10);

/// Signals that end a program.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Hangups,
    received: bool,
}

/// SIGHUP. If it was ignored at the start (`nohup`), it stays ignored.
#[derive(Debug)]
pub struct Hangups(Option<Signal>);

impl Interrupts {
    /// Watches SIGINT, SIGTERM and SIGHUP, which no longer kill the process.
    pub fn watch() -> Result<Self, Failure> {
        Ok(Self { hangup: Hangups::watch()?, ..Self::without_hangups()? })
    }

    /// Watches SIGINT and SIGTERM.
    pub fn without_hangups() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: Hangups(None),
            received: false,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = self.hangup.next() => {}
        }
        self.received = true;
    }

    /// Whether `next` has returned.
    pub const fn received(&self) -> bool {
        self.received
    }
}

/// From now on a write beyond the limit of file sizes (`ulimit -f`) fails, and does not kill the process.
///
/// # Errors
/// If the kernel refuses the handler.
pub fn outlive_file_limits() -> std::io::Result<()> {
    // Nobody reads the flag: it is enough that there is a handler.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// From now on a terminal does not stop this process for writing in the background (`stty tostop`). For servers only:
/// everything they write goes through [`posthouse_server::out`], which does not write where it would be stopped.
pub fn outlive_terminals() -> Result<(), Failure> {
    if is_ignored(SignalKind::from_raw(SIGTTOU)) {
        // With the signal ignored, the kernel permits the writes.
        posthouse_server::out::let_terminals_stop(false);
        return Ok(());
    }
    flag::register(SIGTTOU, Arc::new(AtomicBool::new(false))).map(drop).map_err(|error| cannot_watch(&error))
}

impl Hangups {
    /// Watches SIGHUP, which no longer kills the process.
    pub fn watch() -> Result<Self, Failure> {
        if is_ignored(SignalKind::hangup()) {
            return Ok(Self(None));
        }
        watch(SignalKind::hangup()).map(|signal| Self(Some(signal)))
    }

    /// Waits for the next signal; for ever if it is ignored.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

fn watch(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| cannot_watch(&error))
}

fn cannot_watch(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot watch signals: {error}"), "check the limit of open files")
}

/// Whether this process ignores a signal. To be called before a handler is installed.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_in(&status).is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}

fn ignored_in(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::ignored_in;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\tposthouse\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t00\n";
        assert_eq!(ignored_in(status), Some(0x1001));
        assert_eq!(ignored_in("Name:\tposthouse\n"), None);
    }
}
