//! The fence: what publishes may have on their way to the disk, shared by the tenants and their connections.
//!
//! Behind it is one line for all: a shard's next batches, the log, the disk. Whoever comes behind so many bytes waits as long as the
//! disk takes for them. So there is never more than keeps the disk busy, and little while several tenants publish; and a tenant
//! that has little there goes in at once. Who waits gets in by what it has had: first the tenant with the fewest bytes, then of that
//! tenant the connection with the fewest, then whoever came first.

mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use posthouse_engine::ids::TenantId;
use tokio::sync::oneshot;

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
}

impl Default for FenceLimits {
    fn default() -> Self {
        Self {
            alone: limits::PUBLISH_BYTES_ALONE,
            shared: limits::PUBLISH_BYTES_SHARED,
            each: limits::PUBLISH_BYTES_OF_EACH,
            all: limits::PUBLISH_BYTES_OF_ALL,
        }
    }
}

/// See the head of the module.
#[derive(Debug)]
pub(crate) struct Fence {
    state: Mutex<State>,
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
        Arc::new(Self { state: Mutex::new(State::new(limits)) })
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

    /// Gives back, and lets in whose turn it is then.
    fn leave(self: &Arc<Self>, entered: Entered) {
        let mut left = vec![entered];
        while let Some(entered) = left.pop() {
            let turns = {
                let mut state = self.state();
                state.leave(entered);
                state.let_in(Instant::now())
            };
            for (tell, entered) in turns {
                if let Err(mut pass) = tell.send(Pass { fence: Arc::clone(self), entered }) {
                    // It has just gone: its turn is the next one's.
                    left.push(std::mem::replace(&mut pass.entered, Entered::nothing(entered.tenant)));
                }
            }
        }
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
