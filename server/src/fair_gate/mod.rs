//! The fair gate: which publishes are on their way to the disk, shared by the tenants and their connections.
//!
//! Behind the gate all publishes share one queue: a shard's next batches, the log, the disk. A publish behind many
//! bytes waits as long as the disk takes for them. So only as many bytes are let through as keep the disk busy, and few
//! while several tenants publish; a tenant that has few bytes there passes at once. While several tenants publish,
//! there is a pause after a large batch (ADR 24). Waiting batches pass by what their senders have used: first the
//! tenant with the fewest bytes, then its connection with the fewest, then the oldest.

mod state;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use posthouse_engine::ids::TenantId;
use tokio::{runtime::Handle, sync::oneshot};

use self::state::{Entered, State};
use crate::limits;

/// One connection, as far as fairness goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionKey(pub(crate) usize);

/// How many bytes may be through the gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FairGateLimits {
    /// While one tenant publishes.
    pub(crate) alone: usize,
    /// While several do; of all of them. One larger batch still goes in alone.
    pub(crate) shared: usize,
    /// Of every tenant, whatever others have.
    pub(crate) each: usize,
    /// All of these tenants in sum.
    pub(crate) all: usize,
    /// While several publish: how many times as long as a batch beyond that took the next one waits.
    pub(crate) pauses: u32,
}

impl Default for FairGateLimits {
    fn default() -> Self {
        Self {
            alone: limits::PUBLISH_BYTES_ALONE,
            shared: limits::PUBLISH_BYTES_SHARED,
            each: limits::PUBLISH_BYTES_OF_EACH,
            all: limits::PUBLISH_BYTES_OF_ALL,
            pauses: limits::PUBLISH_PAUSES,
        }
    }
}

/// See the head of the module.
#[derive(Debug)]
pub(crate) struct FairGate {
    state: Mutex<State>,
    /// A task is scheduled that checks the queue when a pause has passed.
    recheck_scheduled: AtomicBool,
    /// The runtime of a waiting call: a pause may begin on a thread that has none.
    runtime: OnceLock<Handle>,
}

/// The right of a batch to be through the gate until it is decided, released when it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    fair_gate: Arc<FairGate>,
    entered: Entered,
}

/// A waiting batch; if it is dropped before it passes, it leaves the queue.
struct Waiting<'a> {
    fair_gate: &'a Arc<FairGate>,
    key: state::WaiterKey,
    admission: oneshot::Receiver<Pass>,
}

impl FairGate {
    pub(crate) fn new(limits: FairGateLimits) -> Arc<Self> {
        let (state, recheck_scheduled) = (Mutex::new(State::new(limits)), AtomicBool::new(false));
        Arc::new(Self { state, recheck_scheduled, runtime: OnceLock::new() })
    }

    /// Waits until a batch of this size may pass.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        tenant: TenantId,
        connection: ConnectionKey,
        bytes: usize,
    ) -> Pass {
        let mut waiting = {
            let mut state = self.state();
            if let Some(entered) = state.enter(tenant, bytes, Instant::now()) {
                return Pass { fair_gate: Arc::clone(self), entered };
            }
            let (sender, admission) = oneshot::channel();
            let key = state.wait(tenant, connection, bytes, sender);
            Waiting { fair_gate: self, key, admission }
        };
        if let Ok(runtime) = Handle::try_current() {
            self.runtime.get_or_init(|| runtime);
        }
        self.recheck();
        match (&mut waiting.admission).await {
            Ok(pass) => pass,
            // Nobody drops the other end while this waits.
            Err(_) => Pass { fair_gate: Arc::clone(self), entered: Entered::nothing(tenant) },
        }
    }

    /// Batches that wait, and bytes that are on their way.
    pub(crate) fn figures(&self) -> (usize, usize) {
        self.state().figures()
    }

    /// Schedules a check of the queue for the end of the pause.
    fn recheck(self: &Arc<Self>) {
        let Some(until) = self.state().recheck(Instant::now()) else { return };
        let Some(runtime) = self.runtime.get() else { return };
        if self.recheck_scheduled.swap(true, Ordering::SeqCst) {
            return;
        }
        let fair_gate = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            if let Some(fair_gate) = fair_gate.upgrade() {
                fair_gate.recheck_scheduled.store(false, Ordering::SeqCst);
                fair_gate.release(Entered::nothing(TenantId(0)));
            }
        });
    }

    /// Releases the bytes, and lets waiting batches pass.
    fn release(self: &Arc<Self>, entered: Entered) {
        let mut left = vec![entered];
        while let Some(entered) = left.pop() {
            let admitted = {
                let (mut state, now) = (self.state(), Instant::now());
                state.release(entered, now);
                state.admit_waiting(now)
            };
            for (sender, entered) in admitted {
                if let Err(mut pass) = sender.send(Pass { fair_gate: Arc::clone(self), entered }) {
                    // It has just left: the next one passes instead.
                    left.push(std::mem::replace(&mut pass.entered, Entered::nothing(entered.tenant)));
                }
            }
        }
        self.recheck();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in there panics half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.entered.is_nothing() {
            self.fair_gate.release(self.entered);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.fair_gate.state().cancel(&self.key) {
            // The next one may be smaller.
            self.fair_gate.release(Entered::nothing(self.key.tenant));
        }
    }
}

#[cfg(test)]
mod tests;
