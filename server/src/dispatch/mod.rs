//! Which session gets which message: sessions, credits, and the picking of messages to lease.
//!
//! Dispatch runs on the leader only and keeps nothing that must survive. It proposes explicit sequences; the machine
//! grants those that are still free. Messages that were picked and are not granted yet are behind its cursor, or are
//! not stored before they are granted: so no message is picked twice.

mod pick;
mod returns;
mod session;
mod subscription;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use posthouse_engine::{
    effect::Effect,
    halt::Halt,
    ids::{DepartmentId, QueueRef, SubscriptionId, SubscriptionRef},
    kv::Kv,
    machine::ShardMachine,
    outcome::{LiveDelivery, Outcome},
    schema::Command,
};

use self::subscription::Subscription;
use crate::shard::{Reply, ShardError};

pub(crate) use returns::ReturnTag;
pub(crate) use session::{Credit, Leased, SessionEvent, SessionHandle, SessionKey, SessionOpen, Unsent};
pub(crate) use subscription::{Coming, GrantTag};

/// One shard's dispatch.
#[derive(Default)]
pub(crate) struct Dispatch {
    subscriptions: BTreeMap<SubscriptionRef, Subscription>,
    dirty: BTreeSet<SubscriptionRef>,
    /// Subscriptions of which some streams are not yet notified that they are idle.
    untold: BTreeSet<SubscriptionRef>,
    /// Subscriptions whose picks the log refused: they are tried again after a while.
    stalled: BTreeSet<SubscriptionRef>,
    draining: bool,
    /// Deliveries could not be recorded, so nothing is leased.
    paused: bool,
}

impl Dispatch {
    /// A stream opens: an older stream of the same session ends, and the session gets its live leases again.
    pub(crate) fn open(
        &mut self,
        open: SessionOpen,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
    ) -> Result<(), Halt> {
        let at = open.subscription;
        let why = match machine.counts(kv, at) {
            Ok(Some(_)) => None,
            // The queue was deleted after the stream's handler found it; no event of it would ever arrive here.
            Ok(None) => Some(SessionEvent::QueueDeleted),
            Err(Halt::SetAside(_)) => Some(SessionEvent::DepartmentSetAside),
            Err(halt) => return Err(halt),
        };
        if let Some(why) = why {
            open.events.send(why).ok();
            return Ok(());
        }
        self.subscriptions.entry(at).or_default().open(open, self.draining, machine, kv)?;
        self.dirty.insert(at);
        Ok(())
    }

    /// More credit for a stream.
    pub(crate) fn add_credit(&mut self, at: SubscriptionRef, key: SessionKey, credit: Credit) {
        if let Some(subscription) = self.subscriptions.get_mut(&at) {
            subscription.add_credit(key, credit);
            self.dirty.insert(at);
        }
    }

    /// A stream is at its end: nothing more is leased to it. Returns the commands that return its unsent leases, unless
    /// a newer stream has its session.
    pub(crate) fn stop(
        &mut self,
        at: SubscriptionRef,
        key: SessionKey,
        unsent: &[LiveDelivery],
    ) -> Vec<(Command, Reply)> {
        if let Some(subscription) = self.subscriptions.get_mut(&at) {
            subscription.stop(key);
        }
        self.return_leases(at, key, unsent)
    }

    /// Returns the commands that return the unsent leases of a stream, unless a newer stream has its session.
    pub(crate) fn return_leases(
        &mut self,
        at: SubscriptionRef,
        key: SessionKey,
        unsent: &[LiveDelivery],
    ) -> Vec<(Command, Reply)> {
        let subscription = self.subscriptions.get_mut(&at);
        let held = subscription.and_then(|subscription| Some((subscription.holder(key)?, subscription)));
        held.map_or_else(Vec::new, |(holder, subscription)| {
            subscription.returns().return_leases(at, &holder, unsent)
        })
    }

    /// A stream has ended. After a clean end, the command that releases its leases.
    pub(crate) fn close(
        &mut self,
        at: SubscriptionRef,
        key: SessionKey,
        clean: bool,
    ) -> Option<(Command, Reply)> {
        let subscription = self.subscriptions.get_mut(&at)?;
        let closed = subscription.close(key).filter(|_| clean);
        let command = closed.map(|holder| subscription.returns().return_all(at, holder));
        self.tidy(at);
        command
    }

    /// A grant was applied or refused: its messages are delivered or returned.
    pub(crate) fn granted(
        &mut self,
        tag: &GrantTag,
        outcome: Result<Outcome, ShardError>,
    ) -> Vec<(Command, Reply)> {
        let at = tag.subscription;
        let granted = match outcome {
            Ok(Outcome::Grant(Ok(granted))) => Some(granted),
            Ok(_) => None,
            Err(_) => {
                if let Some(subscription) = self.subscriptions.get_mut(&at) {
                    subscription.not_logged(tag);
                    self.stalled.insert(at);
                }
                return Vec::new();
            }
        };
        self.dirty.insert(at);
        let undelivered = match self.subscriptions.get_mut(&at) {
            Some(subscription) => subscription.granted(tag, granted),
            None => granted,
        };
        let Some(undelivered) = undelivered else { return Vec::new() };
        let returns = self.subscriptions.entry(at).or_default().returns();
        let leases: Vec<_> = undelivered.deliveries().collect();
        let commands = returns.return_leases(at, &tag.holder, &leases);
        self.tidy(at);
        commands
    }

    /// Returned messages are free again, or unchanged.
    pub(crate) fn returned_by(&mut self, tag: ReturnTag) {
        if let Some(subscription) = self.subscriptions.get_mut(&tag.subscription) {
            subscription.returns().end(tag);
            self.tidy(tag.subscription);
        }
    }

    /// Removes a subscription that nobody uses, or schedules it again.
    fn tidy(&mut self, at: SubscriptionRef) {
        if self.subscriptions.get(&at).is_some_and(Subscription::is_unused) {
            self.subscriptions.remove(&at);
        } else {
            self.dirty.insert(at);
        }
    }

    /// Performs what a batch asks of the leader.
    pub(crate) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Appended { queue, .. } => self.touch(queue, |_| {}),
                Effect::Returned { subscription, sequences } => {
                    if let Some(known) = self.subscriptions.get_mut(&subscription) {
                        known.returned(sequences);
                        self.dirty.insert(subscription);
                    }
                }
                Effect::Settled(subscription) => {
                    self.dirty.insert(subscription);
                }
                Effect::Purged(queue) | Effect::Redefined(queue) => self.touch(queue, Subscription::rewind),
                Effect::Deleted(queue) => self.touch(queue, |s| s.end_all(&SessionEvent::QueueDeleted)),
                Effect::DepartmentClosed(department) => self.close_department(department),
            }
        }
    }

    /// Picks what to lease for every subscription something has happened to.
    pub(crate) fn pump(
        &mut self,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
    ) -> Result<Vec<(Command, Reply)>, Halt> {
        let (mut commands, leases) = (Vec::new(), self.is_leasing());
        self.dirty.append(&mut self.untold);
        for at in std::mem::take(&mut self.dirty) {
            if let Some(subscription) = self.subscriptions.get_mut(&at) {
                if leases {
                    subscription.pump(at, machine, kv, &mut commands)?;
                }
                if subscription.notify_idle(at, machine, kv)? {
                    self.untold.insert(at);
                }
            }
        }
        Ok(commands)
    }

    /// Whether [`Self::pump`] has left something for a next time, which should be soon.
    pub(crate) fn has_more(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Whether there are streams of a queue.
    pub(crate) fn knows(&self, queue: QueueRef) -> bool {
        self.subscriptions.range(all_of(queue)).next().is_some()
    }

    /// Leases messages in the batch that stores them, so that who waits for them does not wait for two commits. To be
    /// asked for every publish, after [`Self::pump`]. Which sequences they get is a guess, and the machine leases
    /// nothing if it is wrong: then they are picked when they are there.
    pub(crate) fn lease_ahead(
        &mut self,
        queue: QueueRef,
        coming: &Coming,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
    ) -> Result<Vec<(Command, Reply)>, Halt> {
        let mut commands = Vec::new();
        let next = machine.next_sequence(kv, queue)?.filter(|_| self.is_leasing());
        let Some(next) = next else { return Ok(commands) };
        for (at, subscription) in self.subscriptions.range_mut(all_of(queue)) {
            subscription.lease_ahead(*at, machine, kv, next + coming.under_way, coming, &mut commands)?;
        }
        Ok(commands)
    }

    /// Schedules the picks that the log refused; whether there were any.
    pub(crate) fn retry_stalled(&mut self) -> bool {
        let any = !self.stalled.is_empty();
        self.dirty.append(&mut self.stalled);
        any
    }

    /// Pauses leasing, or resumes it. Streams keep their leases, and proposed grants are delivered.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.dirty.extend(self.subscriptions.keys().copied());
    }

    fn is_leasing(&self) -> bool {
        !self.draining && !self.paused
    }

    /// Leases nothing more, and notifies every stream.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.subscriptions.values_mut().for_each(|s| s.notify_all(&SessionEvent::Drain));
    }

    /// The shard is halted: every stream ends.
    pub(crate) fn halted(&mut self) {
        self.subscriptions.values_mut().for_each(|s| s.end_all(&SessionEvent::Halted));
    }

    fn touch(&mut self, queue: QueueRef, act: impl Fn(&mut Subscription)) {
        for (at, subscription) in self.subscriptions.range_mut(all_of(queue)) {
            act(subscription);
            self.dirty.insert(*at);
        }
    }

    fn close_department(&mut self, department: DepartmentId) {
        for (_, s) in self.subscriptions.iter_mut().filter(|(at, _)| at.queue.department == department) {
            s.end_all(&SessionEvent::DepartmentClosed);
        }
    }
}

/// All subscriptions of a queue.
fn all_of(queue: QueueRef) -> RangeInclusive<SubscriptionRef> {
    let at = |id| SubscriptionRef { queue, subscription: SubscriptionId(id) };
    at(0)..=at(u32::MAX)
}

#[cfg(test)]
mod tests;
