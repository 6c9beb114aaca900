//! The sessions of one subscription. An event of one session costs nothing for the others, however many they are: a
//! session is found by its stream or its holder, and those with credit are queued in the order of their rounds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use posthouse_engine::schema::Holder;

use super::super::session::{Session, SessionEvent, SessionKey};

#[derive(Default)]
pub(crate) struct Sessions {
    all: BTreeMap<SessionKey, Scheduled>,
    by_holder: HashMap<Holder, SessionKey>,
    /// Those with credit, by the number they drew: the least is next.
    queue: BTreeMap<u64, SessionKey>,
    drawn: u64,
    /// Those that have credit, and too few bytes of it for the message that was next, by the largest message that they
    /// have enough for.
    short: BTreeSet<(u32, SessionKey)>,
}

struct Scheduled {
    session: Session,
    schedule: Schedule,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Schedule {
    /// It has no credit.
    Idle,
    /// In the queue, with this number.
    Queued(u64),
    /// It has too few bytes for any message larger than this.
    Short(u32),
}

impl Sessions {
    /// Adds a session; the older one of the same holder, which it replaces.
    pub(super) fn add(&mut self, session: Session) -> Option<Session> {
        let (key, holder) = (session.key, session.holder.clone());
        let older = self.by_holder.insert(holder, key).and_then(|older| self.detach(older));
        self.all.insert(key, Scheduled { session, schedule: Schedule::Idle });
        self.reschedule(key);
        older
    }

    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Session> {
        let session = self.detach(key)?;
        self.by_holder.remove(&session.holder);
        Some(session)
    }

    fn detach(&mut self, key: SessionKey) -> Option<Session> {
        let Scheduled { session, schedule } = self.all.remove(&key)?;
        self.leave(key, schedule);
        Some(session)
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.all.get(&key).map(|scheduled| &scheduled.session)
    }

    /// The stream itself, or the one that has its session now.
    pub(super) fn newest(&self, key: SessionKey, holder: &Holder) -> Option<SessionKey> {
        if self.all.contains_key(&key) { Some(key) } else { self.by_holder.get(holder).copied() }
    }

    /// Changes a session, which may have more or less credit then.
    pub(super) fn change<T>(&mut self, key: SessionKey, act: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let done = act(&mut self.all.get_mut(&key)?.session);
        self.reschedule(key);
        Some(done)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.all.values().map(|scheduled| &scheduled.session)
    }

    /// The next after a session by its key, and round again from the first.
    pub(super) fn after(&mut self, key: SessionKey) -> Option<&mut Session> {
        let next = self.all.range(SessionKey(key.0 + 1)..).next().or_else(|| self.all.iter().next());
        let next = *next?.0;
        self.all.get_mut(&next).map(|scheduled| &mut scheduled.session)
    }

    pub(super) fn clear(&mut self) {
        *self = Self { drawn: self.drawn, ..Self::default() };
    }

    /// How many wait for messages, and have credit for the next as far as that is known.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The session that is served next.
    pub(super) fn next(&mut self) -> Option<&mut Session> {
        let (_, key) = self.queue.first_key_value()?;
        self.all.get_mut(key).map(|scheduled| &mut scheduled.session)
    }

    /// Its round is over: it moves to the end of the queue. `short`: it has too few bytes of credit for the next
    /// message.
    pub(super) fn end_round(&mut self, key: SessionKey, short: bool) {
        let Some(Scheduled { session, schedule }) = self.all.get_mut(&key) else { return };
        let (old, reach) = (std::mem::replace(schedule, Schedule::Idle), session.reach());
        if short && session.messages() > 0 {
            *schedule = Schedule::Short(reach);
            self.short.insert((reach, key));
        }
        self.leave(key, old);
        if !short {
            self.reschedule(key);
        }
    }

    pub(super) fn any_short(&self) -> bool {
        !self.short.is_empty()
    }

    /// The next message has this size: sessions with enough credit for it are queued again.
    pub(super) fn enough_for(&mut self, size: u32) {
        while let Some((reach, key)) = self.short.last().copied().filter(|(reach, _)| *reach >= size) {
            self.short.remove(&(reach, key));
            if let Some(scheduled) = self.all.get_mut(&key) {
                scheduled.schedule = Schedule::Idle;
            }
            self.reschedule(key);
        }
    }

    fn leave(&mut self, key: SessionKey, schedule: Schedule) {
        match schedule {
            Schedule::Idle => {}
            Schedule::Queued(number) => drop(self.queue.remove(&number)),
            Schedule::Short(reach) => drop(self.short.remove(&(reach, key))),
        }
    }

    /// Queues or unqueues a session; one that is in the queue already keeps its number.
    fn reschedule(&mut self, key: SessionKey) {
        let Some(Scheduled { session, schedule }) = self.all.get_mut(&key) else { return };
        let (old, has_credit) = (*schedule, session.messages() > 0);
        let stays = match old {
            Schedule::Idle => !has_credit,
            Schedule::Queued(_) => has_credit,
            Schedule::Short(reach) => has_credit && session.reach() == reach,
        };
        if stays {
            return;
        }
        *schedule = Schedule::Idle;
        if has_credit {
            self.drawn += 1;
            *schedule = Schedule::Queued(self.drawn);
            self.queue.insert(self.drawn, key);
        }
        self.leave(key, old);
    }

    /// Tells every stream.
    pub(super) fn notify_all(&self, event: &SessionEvent) {
        for session in self.iter() {
            session.notify(event.clone());
        }
    }
}
