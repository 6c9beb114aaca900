//! Limits of producer sessions, and which sessions are forgotten for new ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthouse_engine::{
    ids::{QueueRef, TenantId},
    keys::{self, Kind, Publisher},
    kv::{Family, Kv},
    limits::{
        MAX_PRODUCERS_EXAMINED, MAX_PRODUCERS_OF_OLD, MAX_PRODUCERS_OF_SUBJECT as LIMIT, PRODUCER_REORDER_MS,
        PRODUCER_RETENTION_MS, PRODUCER_SAFE_MS,
    },
    outcome::{
        EntryResult::{Duplicate, Stored},
        PublishError,
    },
    schema::{Command, DeleteQueue, Producer, Publish, QueueSettings},
};
use proptest::{collection::vec, prelude::*};

use crate::shard::{DEPARTMENT, Shard, publish};

fn with_producer(queue: QueueRef, subject: &str, id: u32, first_sequence: u64) -> Publish {
    let producer_id = Bytes::copy_from_slice(&id.to_be_bytes());
    let subject = subject.to_owned();
    let producer = Producer { producer_id, epoch: 1, first_sequence, tenant: 7, subject };
    Publish { producer: Some(producer), ..publish(queue, &["refused"]) }
}

/// Publishes with a session of a subject, of which this many batches are expected to be known.
fn send(shard: &mut Shard, queue: QueueRef, subject: &str, id: u32, known: u64) -> Result<(), PublishError> {
    shard.try_publish(with_producer(queue, subject, id, known)).map(drop)
}

fn full() -> (Shard, QueueRef) {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.checked = false;
    for id in 0..LIMIT {
        shard.now += 1;
        send(&mut shard, queue, "greedy", id, 0).unwrap();
    }
    shard.check();
    (shard, queue)
}

fn is_refused(result: Result<(), PublishError>) -> bool {
    match result {
        Ok(()) => false,
        Err(PublishError::TooManyOfSubject { limit: LIMIT, .. }) => true,
        Err(other) => panic!("{other:?}"),
    }
}

/// The next sequence that is expected of a session of the greedy subject.
fn next(shard: &mut Shard, queue: QueueRef, id: u32) -> u64 {
    shard.machine.producer_next(&shard.kv, queue, &id.to_be_bytes(), 1, 7, "greedy").unwrap().unwrap()
}

/// The numbers of rows of the order of use and of publishers.
fn rows(shard: &Shard, queue: QueueRef) -> (usize, usize) {
    let count = |kind| {
        let prefix = keys::kind_prefix(queue, kind);
        shard.kv.range(Family::State, &prefix, &keys::after(&prefix), usize::MAX).unwrap().len()
    };
    (count(Kind::ProducerUse), count(Kind::Publisher))
}

#[test]
fn a_subject_that_has_too_many_is_refused_and_nobody_else() {
    let (mut shard, queue) = full();
    let first = shard.now - u64::from(LIMIT) + 1;
    let refused = send(&mut shard, queue, "greedy", LIMIT, 0);
    let wait_ms = first + PRODUCER_SAFE_MS - shard.now;
    assert_eq!(refused, Err(PublishError::TooManyOfSubject { limit: LIMIT, wait_ms }));
    // Existing sessions continue, and other subjects have their own limit.
    send(&mut shard, queue, "greedy", 5, 1).unwrap();
    send(&mut shard, queue, "honest", LIMIT, 0).unwrap();
    send(&mut shard, queue, "greedy2", LIMIT + 1, 0).unwrap();
    send(&mut shard, queue, "greed", LIMIT + 2, 0).unwrap();
    let mut of_another_tenant = with_producer(queue, "greedy", LIMIT + 3, 0);
    of_another_tenant.producer.as_mut().unwrap().tenant = 8;
    shard.try_publish(of_another_tenant).unwrap();
    let other = shard.create("other", QueueSettings::default());
    send(&mut shard, other, "greedy", LIMIT, 0).unwrap();
    // For a batch that is refused for another reason no session is forgotten.
    shard.now += 2 * PRODUCER_SAFE_MS;
    let gap = shard.try_publish(with_producer(queue, "greedy", LIMIT + 9, 3));
    assert_eq!(gap.map(drop), Err(PublishError::SequenceGap { expected: 0, found: 3 }));
    let atomic = Publish { atomic: true, ..with_producer(queue, "greedy", LIMIT + 9, 0) };
    assert_eq!(shard.try_publish(atomic).map(drop), Err(PublishError::AtomicRefused));
    send(&mut shard, queue, "greedy", 0, 1).unwrap();
    shard.check();
}

#[test]
fn the_longest_idle_one_makes_room_after_an_hour_and_not_before() {
    let (mut shard, queue) = full();
    let first = shard.now - u64::from(LIMIT) + 1;
    shard.now = first + PRODUCER_SAFE_MS - 1;
    assert!(is_refused(send(&mut shard, queue, "greedy", LIMIT, 0)));
    // A session is used by a new batch, and by one that is sent again.
    send(&mut shard, queue, "greedy", 0, 1).unwrap();
    let again = shard.try_publish(with_producer(queue, "greedy", 1, 0)).unwrap();
    assert_eq!(again.results, [posthouse_engine::outcome::EntryResult::Refused]);
    shard.now += 1;
    assert!(is_refused(send(&mut shard, queue, "greedy", LIMIT, 0)), "the first two were used just now");
    shard.now += 2;
    send(&mut shard, queue, "greedy", LIMIT, 0).unwrap();
    shard.check();
    // The third session was forgotten: it is a new one now, which is over the limit.
    assert_eq!(next(&mut shard, queue, 2), 0);
    assert!(is_refused(send(&mut shard, queue, "greedy", 2, 0)));
    send(&mut shard, queue, "greedy", 0, 2).unwrap();
    send(&mut shard, queue, "greedy", 1, 1).unwrap();
    shard.restart();
    shard.now += 2 * PRODUCER_SAFE_MS;
    for id in 0..LIMIT {
        send(&mut shard, queue, "greedy", 2 * LIMIT + id, 0).unwrap();
    }
    shard.check();
    assert!(is_refused(send(&mut shard, queue, "greedy", LIMIT, 0)), "all of them are new");
    assert_eq!(rows(&shard, queue), (LIMIT as usize, 1));
}

#[test]
fn a_message_stored_with_a_session_that_was_forgotten_is_stored_again() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.checked = false;
    let batch = Publish { entries: publish(queue, &["one"]).entries, ..with_producer(queue, "greedy", 0, 0) };
    assert_eq!(shard.try_publish(batch.clone()).unwrap().results, [Stored(1)]);
    (1..LIMIT).for_each(|id| send(&mut shard, queue, "greedy", id, 0).unwrap());
    assert_eq!(shard.try_publish(batch.clone()).unwrap().results, [Duplicate(Some(1))]);
    shard.now += PRODUCER_SAFE_MS;
    send(&mut shard, queue, "greedy", LIMIT, 0).unwrap();
    // Of those that were used at the same time, the one with the lowest id is forgotten.
    assert_eq!(shard.try_publish(batch).unwrap().results, [Stored(2)]);
}

#[test]
fn a_new_session_examines_a_bounded_number_of_busy_ones() {
    let (mut shard, queue) = full();
    let busy = MAX_PRODUCERS_EXAMINED as u32 + 10;
    shard.now += PRODUCER_REORDER_MS - u64::from(LIMIT) - 1;
    for id in 0..busy {
        send(&mut shard, queue, "greedy", id, 1).unwrap();
    }
    // All of them are ordered by the time of their first use.
    shard.now += PRODUCER_SAFE_MS - 1;
    let refused = send(&mut shard, queue, "greedy", LIMIT, 0);
    assert_eq!(refused, Err(PublishError::TooManyOfSubject { limit: LIMIT, wait_ms: 0 }));
    shard.check();
    send(&mut shard, queue, "greedy", LIMIT, 0).unwrap();
    shard.check();
    let known = |id: u32| {
        shard
            .kv
            .get(Family::State, &[&keys::kind_prefix(queue, Kind::Producer)[..], &id.to_be_bytes()].concat())
    };
    assert!((0..busy).all(|id| known(id).unwrap().is_some()));
    assert!(known(busy).unwrap().is_none());
}

#[test]
fn sessions_of_before_go_on_and_are_counted_once_they_are_used() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.version = 6;
    (0..3).for_each(|id| send(&mut shard, queue, "greedy", id, 0).unwrap());
    assert_eq!(rows(&shard, queue), (0, 0));
    shard.version = 7;
    shard.now += 1_000;
    send(&mut shard, queue, "greedy", 0, 1).unwrap();
    assert_eq!(rows(&shard, queue), (1, 1));
    let again = shard.try_publish(with_producer(queue, "greedy", 1, 0)).unwrap();
    assert_eq!(again.results.len(), 1);
    assert_eq!(rows(&shard, queue), (2, 1));
    // A session that is not used any more is forgotten after its time, as before.
    shard.now += PRODUCER_RETENTION_MS - 1_000;
    while shard.advance(10).more {}
    assert_eq!(next(&mut shard, queue, 2), 0);
    assert_eq!(next(&mut shard, queue, 0), 2);
    shard.now += 1_000;
    while shard.advance(10).more {}
    assert_eq!(rows(&shard, queue), (0, 0));
    assert_eq!(shard.next_deadline(), None);
}

/// A queue of an older version may have more sessions than the limit.
#[test]
fn more_of_before_than_there_may_be_make_room_as_they_become_idle() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.checked = false;
    shard.version = 6;
    (0..LIMIT + 20).for_each(|id| send(&mut shard, queue, "greedy", id, 0).unwrap());
    shard.version = 7;
    send(&mut shard, queue, "greedy", LIMIT + 20, 0).unwrap();
    (0..LIMIT + 20).for_each(|id| send(&mut shard, queue, "greedy", id, 1).unwrap());
    assert!(is_refused(send(&mut shard, queue, "greedy", LIMIT + 21, 0)));
    shard.now += PRODUCER_SAFE_MS;
    send(&mut shard, queue, "greedy", LIMIT + 21, 0).unwrap();
    shard.check();
    assert_eq!(rows(&shard, queue), (LIMIT as usize, 1));
}

#[test]
fn a_queue_that_is_deleted_takes_its_sessions_with_it() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    send(&mut shard, queue, "a", 1, 0).unwrap();
    send(&mut shard, queue, "b", 2, 0).unwrap();
    assert_eq!(rows(&shard, queue), (2, 2));
    let name = "applications".to_owned();
    shard.run(Command::DeleteQueue(DeleteQueue { department: DEPARTMENT, name, ..DeleteQueue::default() }));
    assert_eq!(rows(&shard, queue), (0, 0));
}

#[test]
fn before_machine_version_7_a_queue_held_so_many_of_all() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    (shard.checked, shard.version) = (false, 6);
    for id in 0..MAX_PRODUCERS_OF_OLD {
        send(&mut shard, queue, "greedy", id, 0).unwrap();
    }
    let refused = Err(PublishError::TooManyProducers(MAX_PRODUCERS_OF_OLD));
    assert_eq!(send(&mut shard, queue, "honest", MAX_PRODUCERS_OF_OLD, 0), refused);
    assert_eq!(send(&mut shard, queue, "greedy", 0, 1), Ok(()));
    shard.version = 7;
    assert_eq!(send(&mut shard, queue, "honest", MAX_PRODUCERS_OF_OLD, 0), Ok(()));
}

#[derive(Debug, Clone)]
enum Op {
    New {
        honest: bool,
    },
    /// With which of those that were idle longest, or, negative, shortest.
    Use {
        honest: bool,
        which: i8,
        again: bool,
    },
    Tick {
        minutes: u64,
    },
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let honest = || prop::bool::weighted(0.2);
    prop_oneof![
        6 => honest().prop_map(|honest| Op::New { honest }),
        6 => (honest(), -4i8..6, any::<bool>())
            .prop_map(|(honest, which, again)| Op::Use { honest, which, again }),
        4 => (0u64..25).prop_map(|minutes| Op::Tick { minutes }),
        1 => Just(Op::Restart),
    ]
}

/// A plain model of sessions: by subject and id, the time of use and the number of batches.
#[derive(Default)]
struct Naive(BTreeMap<(bool, u32), (u64, u64)>);

impl Naive {
    /// The sessions of a subject, the longest idle one first.
    fn by_use(&self, honest: bool) -> Vec<(u64, u32)> {
        let of_subject = self.0.iter().filter(|((subject, _), _)| *subject == honest);
        let mut sessions: Vec<_> = of_subject.map(|((_, id), (used, _))| (*used, *id)).collect();
        sessions.sort_unstable();
        sessions
    }

    /// Whether a new session is admitted.
    fn admits(&mut self, honest: bool, now: u64) -> bool {
        let sessions = self.by_use(honest);
        if sessions.len() < LIMIT as usize {
            return true;
        }
        let (used, id) = sessions[0];
        let idle = used + PRODUCER_SAFE_MS <= now;
        if idle {
            self.0.remove(&(honest, id));
        }
        idle
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sessions_are_forgotten_as_a_naive_list_would(ops in vec(op(), 40..90)) {
        let (mut shard, queue) = Shard::with(QueueSettings::default());
        shard.checked = false;
        let (mut naive, mut next) = (Naive::default(), 0);
        let subject = |honest: bool| if honest { "honest" } else { "greedy" };
        for _ in 0..LIMIT - 3 {
            shard.now += 1;
            send(&mut shard, queue, subject(false), next, 0).unwrap();
            naive.0.insert((false, next), (shard.now, 1));
            next += 1;
        }
        for op in ops {
            // No two sessions are used at the same time.
            shard.now += 1;
            match op {
                Op::New { honest } => {
                    let refused = is_refused(send(&mut shard, queue, subject(honest), next, 0));
                    prop_assert_eq!(!refused, naive.admits(honest, shard.now));
                    if !refused {
                        naive.0.insert((honest, next), (shard.now, 1));
                    }
                    next += 1;
                }
                Op::Use { honest, which, again } => {
                    let sessions = naive.by_use(honest);
                    let at = isize::from(which).rem_euclid(sessions.len().max(1) as isize) as usize;
                    let Some((_, id)) = sessions.get(at) else { continue };
                    let (used, sent) = naive.0.get_mut(&(honest, *id)).unwrap();
                    *used = shard.now;
                    if !again {
                        *sent += 1;
                    }
                    send(&mut shard, queue, subject(honest), *id, *sent - 1).unwrap();
                }
                Op::Tick { minutes } => shard.now += minutes * 60_000,
                Op::Restart => shard.restart(),
            }
        }
        shard.check();
        for ((honest, id), (_, sent)) in &naive.0 {
            let of = subject(*honest);
            let known = shard.machine.producer_next(&shard.kv, queue, &id.to_be_bytes(), 1, 7, of).unwrap();
            prop_assert_eq!(known, Ok(*sent));
        }
        let prefix = keys::kind_prefix(queue, Kind::Producer);
        let stored = shard.kv.range(Family::State, &prefix, &keys::after(&prefix), usize::MAX).unwrap();
        prop_assert_eq!(stored.len(), naive.0.len());
    }
}

/// The keys of publishers with similar names are apart.
#[test]
fn a_publisher_is_its_tenant_and_its_subject() {
    let (_, queue) = Shard::with(QueueSettings::default());
    let publisher =
        |tenant, subject: &str| Publisher { queue, tenant: TenantId(tenant), subject: subject.into() };
    let end = |publisher: &Publisher| keys::ProducerUseKey::end(publisher);
    assert!(end(&publisher(1, "a")) <= keys::ProducerUseKey::from(&publisher(1, "b"), 0));
    assert!(end(&publisher(1, "b")) <= keys::ProducerUseKey::from(&publisher(1, "aa"), 0));
    assert!(end(&publisher(1, "aa")) <= keys::ProducerUseKey::from(&publisher(2, "a"), 0));
}
