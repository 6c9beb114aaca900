//! Telling the streams that nothing is ready and nothing is leased any more.

use posthouse_engine::{halt::Halt, ids::SubscriptionRef, kv::Kv, machine::ShardMachine};

use super::{super::session::SessionKey, Subscription};

/// Streams that are notified at once: a subscription may have thousands, and its shard has other work.
const NOTIFIED_AT_ONCE: usize = 256;

/// The streams that are still to be notified.
#[derive(Default)]
pub(super) struct Idle {
    /// It is so now.
    is_idle: bool,
    /// The number of the idle period.
    time: u64,
    /// How many streams were not asked yet whether they have credit, this time ...
    left: usize,
    /// ... after this one.
    last: SessionKey,
    /// Sessions that opened, or got credit, meanwhile.
    new: Vec<SessionKey>,
}

impl Idle {
    /// A stream may have credit that had none.
    pub(super) fn has_come(&mut self, key: SessionKey) {
        if self.is_idle {
            self.new.push(key);
        }
    }
}

impl Subscription {
    /// Notifies some of the streams, each time nothing is ready or leased any more; whether others are still to be
    /// notified.
    pub(crate) fn notify_idle(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
    ) -> Result<bool, Halt> {
        let Some(counts) = machine.counts(kv, at)? else { return Ok(false) };
        let Self { idle, sessions, .. } = self;
        if counts.ready > 0 || counts.in_flight > 0 {
            (idle.is_idle, idle.left) = (false, 0);
            idle.new.clear();
            return Ok(false);
        }
        if !idle.is_idle {
            (idle.is_idle, idle.time, idle.left) = (true, idle.time + 1, sessions.len());
        }
        for key in idle.new.drain(..) {
            sessions.change(key, |session| session.notify_idle(idle.time, counts.waiting, counts.parked));
        }
        for _ in 0..idle.left.min(NOTIFIED_AT_ONCE) {
            let Some(session) = sessions.after(idle.last) else { break };
            idle.last = session.key;
            session.notify_idle(idle.time, counts.waiting, counts.parked);
        }
        idle.left = idle.left.saturating_sub(NOTIFIED_AT_ONCE);
        Ok(idle.left > 0)
    }
}
