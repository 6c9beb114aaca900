//! The fence: what publishes may have on their way to the disk, shared by the tenants and their connections.
//!
//! Behind it is one line for all: a shard's next batches, the log, the disk. Whoever comes behind so many bytes waits as long as the
//! disk takes for them. So there is never more than keeps the disk busy, and little while several tenants publish; and a tenant
//! that has little there goes in at once. While several publish, there is a pause after a large batch (ADR 24). Who waits gets in by
//! what it has had: first the tenant with the fewest bytes, then of that tenant the connection with the fewest, then whoever came
//! first.

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

use crate::limits;
use state::{Entered, State};

/// One connection, as far as fairness goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionKey(pub(crate) usize);

/// How many bytes may be behind the fence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FenceLimits {
    /// While one tenant publishes.
    pub(crate) alone: usize,
    /// While several do; of all of them. One larger batch still goes in alone.
    pub(crate) shared: usize,
    /// Of every tenant, whatever others have.
    pub(crate) each: usize,
    /// Of all of these tenants together.
    pub(crate) all: usize,
    /// While several publish: how many times as long as a batch beyond that took the next one waits.
    pub(crate) pauses: u32,
}

impl Default for FenceLimits {
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
pub(crate) struct Fence {
    state: Mutex<State>,
    /// Somebody looks at the line when a pause has passed.
    looks: AtomicBool,
    /// That of whoever waits: a pause may begin on a thread that has none.
    runtime: OnceLock<Handle>,
}

/// A batch's right to be behind the fence, until it is decided: it is given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    fence: Arc<Fence>,
    entered: Entered,
}

/// Who waits; dropped before its turn has come, it leaves the line.
struct Waiting<'a> {
    fence: &'a Arc<Fence>,
    place: state::Place,
    turn: oneshot::Receiver<Pass>,
}

impl Fence {
    pub(crate) fn new(limits: FenceLimits) -> Arc<Self> {
        let (state, looks) = (Mutex::new(State::new(limits)), AtomicBool::new(false));
        Arc::new(Self { state, looks, runtime: OnceLock::new() })
    }

    /// Waits for the turn of a batch of so many bytes.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        tenant: TenantId,
        connection: ConnectionKey,
        bytes: usize,
    ) -> Pass {
        let mut waiting = {
            let mut state = self.state();
            if let Some(entered) = state.enter(tenant, bytes, Instant::now()) {
                return Pass { fence: Arc::clone(self), entered };
            }
            let (tell, turn) = oneshot::channel();
            let place = state.wait(tenant, connection, bytes, tell);
            Waiting { fence: self, place, turn }
        };
        if let Ok(runtime) = Handle::try_current() {
            self.runtime.get_or_init(|| runtime);
        }
        self.look_again();
        match (&mut waiting.turn).await {
            Ok(pass) => pass,
            // Nobody drops the other end while this waits.
            Err(_) => Pass { fence: Arc::clone(self), entered: Entered::nothing(tenant) },
        }
    }

    /// Batches that wait, and bytes that are on their way.
    pub(crate) fn figures(&self) -> (usize, usize) {
        self.state().figures()
    }

    /// Has somebody look at the line when the pause has passed for which it waits.
    fn look_again(self: &Arc<Self>) {
        let Some(until) = self.state().look_again(Instant::now()) else { return };
        let Some(runtime) = self.runtime.get() else { return };
        if self.looks.swap(true, Ordering::SeqCst) {
            return;
        }
        let fence = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            if let Some(fence) = fence.upgrade() {
                fence.looks.store(false, Ordering::SeqCst);
                fence.leave(Entered::nothing(TenantId(0)));
            }
        });
    }

    /// Gives back, and lets in whose turn it is then.
    fn leave(self: &Arc<Self>, entered: Entered) {
        let mut left = vec![entered];
        while let Some(entered) = left.pop() {
            let turns = {
                let (mut state, now) = (self.state(), Instant::now());
                state.leave(entered, now);
                state.let_in(now)
            };
            for (tell, entered) in turns {
                if let Err(mut pass) = tell.send(Pass { fence: Arc::clone(self), entered }) {
                    // It has just gone: its turn is the next one's.
                    left.push(std::mem::replace(&mut pass.entered, Entered::nothing(entered.tenant)));
                }
            }
        }
        self.look_again();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in there panics half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.entered.is_nothing() {
            self.fence.leave(self.entered);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.fence.state().give_up(&self.place) {
            // The next one may be smaller.
            self.fence.leave(Entered::nothing(self.place.tenant));
        }
    }
}

#[cfg(test)]
mod tests;
