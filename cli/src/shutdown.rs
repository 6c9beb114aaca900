//! The signals that ask a program to end, and SIGHUP, which asks a server to read its files again.

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

/// How long a command that was asked to end waits for what it has sent, and for a reader of its last words.
pub const GRACE: Duration = Duration::from_secs(10);

/// The signals that ask a program to end.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Hangups,
    received: bool,
}

/// SIGHUP. Where it was ignored when the program began (`nohup`), it stays ignored.
#[derive(Debug)]
pub struct Hangups(Option<Signal>);

impl Interrupts {
    /// SIGINT, SIGTERM and SIGHUP: from here on they no longer end the process by themselves.
    pub fn watch() -> Result<Self, Failure> {
        Ok(Self { hangup: Hangups::watch()?, ..Self::without_hangups()? })
    }

    /// SIGINT and SIGTERM.
    pub fn without_hangups() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: Hangups(None),
            received: false,
        })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = self.hangup.next() => {}
        }
        self.received = true;
    }

    /// Whether one of them was waited for and came.
    pub const fn received(&self) -> bool {
        self.received
    }
}

/// From here on a file that has come to its size limit (`ulimit -f`) is an error of the write, and does not end the process.
///
/// # Errors
/// Where the kernel does not take a handler.
pub fn outlive_file_limits() -> std::io::Result<()> {
    // Nobody looks at the flag: that there is a handler is enough.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// From here on a terminal does not stop this process for what it writes in the background (`stty tostop`). Only for a server:
/// all it writes goes through [`posthouse_server::out`], which does not write where it would be stopped.
pub fn outlive_terminals() -> Result<(), Failure> {
    if is_ignored(SignalKind::from_raw(SIGTTOU)) {
        // The kernel lets everything through.
        posthouse_server::out::let_terminals_stop(false);
        return Ok(());
    }
    flag::register(SIGTTOU, Arc::new(AtomicBool::new(false))).map(drop).map_err(|error| cannot_watch(&error))
}

impl Hangups {
    /// From here on SIGHUP no longer ends the process by itself.
    pub fn watch() -> Result<Self, Failure> {
        if is_ignored(SignalKind::hangup()) {
            return Ok(Self(None));
        }
        watch(SignalKind::hangup()).map(|signal| Self(Some(signal)))
    }

    /// Waits for the next; for ever if it is ignored.
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

/// Whether this process ignores a signal, as the kernel tells. Asked before a handler takes its place.
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
