//! The thread that flushes the store and then lets the log forget.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{errors::StoreError, rocks::Store};
use crate::log::{GroupId, Log, LogError};

/// When the store is flushed.
#[derive(Debug, Clone, Copy)]
pub struct FlusherOptions {
    /// Log bytes after which the store is flushed; a restart replays about this much.
    pub every_bytes: u64,
    /// How often the log is asked for its bytes, and how long after a failure a flush is tried again.
    pub poll_interval: Duration,
}

impl Default for FlusherOptions {
    fn default() -> Self {
        Self { every_bytes: 256 << 20, poll_interval: Duration::from_millis(500) }
    }
}

/// A flush did not complete. The log was not trimmed beyond what was flushed before.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The store could not be flushed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was flushed, but the log could not be trimmed.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Says, for every group, the last index whose writes are all in the store.
pub type Applied = Box<dyn Fn() -> BTreeMap<GroupId, u64> + Send + Sync>;

/// Hears of every flush.
type OnFlush = dyn Fn(Result<Duration, &FlushError>) + Send + Sync;

/// Flushes the store whenever the log has grown, or on request, and trims the log below what was flushed.
pub struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    store: Arc<Store>,
    log: Arc<dyn Log>,
    applied: Applied,
    options: FlusherOptions,
    on_flush: Box<OnFlush>,
    state: Mutex<State>,
    changed: Condvar,
    /// One flush at a time, so that the log is trimmed in order.
    flushing: Mutex<()>,
}

#[derive(Default)]
struct State {
    requested: bool,
    stopping: bool,
}

impl std::fmt::Debug for Flusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flusher")
    }
}

impl Flusher {
    /// Starts the thread. `on_flush` is called with the duration of a flush, and for one in the background that failed;
    /// that one is tried again. A full disk passes, any other failure of the store does not: end the process then.
    ///
    /// # Errors
    /// When the thread could not be made.
    pub fn start(
        store: Arc<Store>,
        log: Arc<dyn Log>,
        options: FlusherOptions,
        applied: Applied,
        on_flush: impl Fn(Result<Duration, &FlushError>) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            store,
            log,
            applied,
            options,
            on_flush: Box::new(on_flush),
            state: Mutex::default(),
            changed: Condvar::new(),
            flushing: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("flusher".into()).spawn(move || own.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks for a flush and does not wait for it.
    pub fn request(&self) {
        self.shared.lock().requested = true;
        self.shared.changed.notify_all();
    }

    /// Flushes now, on this thread.
    ///
    /// # Errors
    /// When the store could not be flushed or the log not trimmed.
    pub fn flush(&self) -> Result<(), FlushError> {
        self.shared.flush()
    }
}

impl Drop for Flusher {
    /// Waits for a flush that runs, and begins no other.
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        while self.wait() {
            if let Err(error) = self.flush() {
                (self.on_flush)(Err(&error));
                self.pause();
            }
        }
    }

    /// Waits until there is something to flush; false when it is time to stop.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return false;
            }
            if std::mem::take(&mut state.requested) || self.log.bytes_since_trim() >= self.options.every_bytes
            {
                return true;
            }
            let waited = self.changed.wait_timeout(state, self.options.poll_interval);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn pause(&self) {
        let stopping = |state: &mut State| !state.stopping;
        let _ = self.changed.wait_timeout_while(self.lock(), self.options.poll_interval, stopping);
    }

    fn flush(&self) -> Result<(), FlushError> {
        let _one = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the flush begins: what is applied meanwhile may be missing from it.
        let applied = (self.applied)();
        let begun = Instant::now();
        self.store.flush()?;
        self.log.trim(&applied)?;
        (self.on_flush)(Ok(begun.elapsed()));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
