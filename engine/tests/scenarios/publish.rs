//! Publishes and producer sessions.

use bytes::Bytes;
use posthouse_engine::{
    effect::Effect,
    outcome::{EntryResult, EntryResult::*, PublishError},
    schema::{Producer, Publish, QueueSettings},
};

use crate::shard::{START, Shard, publish};

fn session(command: Publish, epoch: u64, first_sequence: u64) -> Publish {
    let producer_id = Bytes::from_static(&[5; 16]);
    let producer = Producer { producer_id, epoch, first_sequence, tenant: 7, subject: "registry".into() };
    Publish { producer: Some(producer), ..command }
}

fn results(published: Result<posthouse_engine::outcome::Published, PublishError>) -> Vec<EntryResult> {
    published.unwrap().results
}

#[test]
fn messages_take_the_next_sequences_but_for_refused_ones() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let published = shard.publish(queue, &["one", "refused", "two"]);
    assert_eq!(published.results, [Stored(1), Refused, Stored(2)]);
    assert_eq!(published.published_at_ms, START);
    assert_eq!(shard.effects, [Effect::Appended { queue, last_sequence: 2 }]);
    assert_eq!(shard.publish(queue, &["refused"]).results, [Refused]);
    assert_eq!(shard.effects, []);
    let (header, content) = shard.body(queue, 2).unwrap();
    assert_eq!((header.published_at_ms, header.payload_bytes, &content[..]), (START, 3, &b"two"[..]));
    let entry = shard.machine.entry_at(&shard.kv, queue, 2).unwrap().unwrap();
    assert_eq!((entry.first_sequence, entry.payload_bytes), (1, vec![3, 3]));
}

#[test]
fn an_atomic_publish_stores_all_or_none() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let atomic = |contents: &[&str]| Publish { atomic: true, ..session(publish(queue, contents), 1, 0) };
    assert_eq!(shard.try_publish(atomic(&["one", "refused"])), Err(PublishError::AtomicRefused));
    assert_eq!(shard.counts(queue).last_sequence, 0);
    // The expected producer sequence has not changed either.
    assert_eq!(results(shard.try_publish(atomic(&["one", "two"]))), [Stored(1), Stored(2)]);
}

#[test]
fn a_batch_sent_again_is_a_duplicate() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let batch = session(publish(queue, &["one", "refused", "two"]), 1, 0);
    assert_eq!(results(shard.try_publish(batch.clone())), [Stored(1), Refused, Stored(2)]);
    let again = [Duplicate(Some(1)), Refused, Duplicate(Some(2))];
    assert_eq!(results(shard.try_publish(batch.clone())), again);
    shard.restart();
    assert_eq!(results(shard.try_publish(batch.clone())), again);
    // The same messages, cut into batches in another way.
    assert_eq!(results(shard.try_publish(session(publish(queue, &["two"]), 1, 2))), [Duplicate(Some(2))]);
    let cut = session(publish(queue, &["refused", "two"]), 1, 1);
    assert_eq!(results(shard.try_publish(cut)), [Refused, Duplicate(Some(2))]);
    for round in 0..8 {
        shard.try_publish(session(publish(queue, &["more"]), 1, 3 + round)).unwrap();
    }
    // Long ago: stored messages are known, but not their sequences; refused messages are known.
    assert_eq!(results(shard.try_publish(batch)), [Duplicate(None), Refused, Duplicate(None)]);
    assert_eq!(shard.counts(queue).last_sequence, 10);
}

#[test]
fn what_was_refused_stays_known_as_long_as_it_may_be_on_its_way() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let contents: Vec<&str> =
        (0..1_024).map(|index| if index % 2 == 0 { "one" } else { "refused" }).collect();
    let publish_next = |shard: &mut Shard, batch: u64| {
        shard.try_publish(session(publish(queue, &contents), 1, batch * 1_024)).unwrap();
    };
    (0..11).for_each(|batch| publish_next(&mut shard, batch));
    shard.restart();
    let answered = |shard: &mut Shard, first: u64| {
        results(shard.try_publish(session(publish(queue, &["one", "one"]), 1, first)))
    };
    // Three batches are forgotten, with 512 runs each, of which the last 1,024 are known.
    assert_eq!(answered(&mut shard, 1_022), [Duplicate(None), Duplicate(None)]);
    assert_eq!(answered(&mut shard, 1_024), [Duplicate(None), Refused]);
    assert_eq!(answered(&mut shard, 3_070), [Duplicate(None), Refused]);
    assert_eq!(answered(&mut shard, 3_072), [Duplicate(Some(1_537)), Refused]);
    // One run, however many messages it has.
    let refused = vec!["refused"; 1_024];
    for batch in 11..80 {
        shard.try_publish(session(publish(queue, &refused), 1, batch * 1_024)).unwrap();
    }
    assert_eq!(
        answered(&mut shard, 11 * 1_024),
        [Refused, Refused],
        "of a run that reaches into what is known"
    );
    // A run that ended more than 65,536 messages ago is not known.
    assert_eq!(answered(&mut shard, 9 * 1_024), [Duplicate(None), Duplicate(None)]);
}

#[test]
fn what_was_refused_is_known_of_so_many_messages() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let batch = |contents: &[&str], first| session(publish(queue, contents), 1, first);
    shard.try_publish(batch(&["refused"], 0)).unwrap();
    let full = vec!["one"; 1_024];
    for number in 0..63 {
        shard.try_publish(batch(&full, 1 + number * 1_024)).unwrap();
    }
    shard.try_publish(batch(&full[1..], 1 + 63 * 1_024)).unwrap();
    assert_eq!(results(shard.try_publish(batch(&["one"], 0))), [Refused], "65,535 came behind it");
    shard.try_publish(batch(&["one"], 65_536)).unwrap();
    assert_eq!(results(shard.try_publish(batch(&["one"], 0))), [Duplicate(None)]);
}

#[test]
fn a_session_demands_its_next_sequence() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let gap = |expected, found| Err(PublishError::SequenceGap { expected, found });
    let at = |epoch, first| session(publish(queue, &["one", "two"]), epoch, first);
    assert_eq!(shard.try_publish(at(1, 1)), gap(0, 1));
    shard.try_publish(at(1, 0)).unwrap();
    assert_eq!(shard.try_publish(at(1, 3)), gap(2, 3));
    assert_eq!(shard.try_publish(at(1, 1)), gap(2, 1), "half of it is stored");
    assert_eq!(shard.try_publish(at(1, u64::MAX)), gap(2, u64::MAX));
}

#[test]
fn a_later_epoch_fences_the_earlier_off() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let at = |epoch, first| session(publish(queue, &["one"]), epoch, first);
    shard.try_publish(at(1, 0)).unwrap();
    assert_eq!(shard.try_publish(at(3, 1)), Err(PublishError::SequenceGap { expected: 0, found: 1 }));
    assert_eq!(results(shard.try_publish(at(3, 0))), [Stored(2)]);
    assert_eq!(shard.try_publish(at(2, 0)), Err(PublishError::Fenced { current: 3, found: 2 }));
    let next = |shard: &mut Shard, epoch| {
        shard.machine.producer_next(&shard.kv, queue, &[5; 16], epoch, 7, "registry").unwrap()
    };
    assert_eq!(next(&mut shard, 3), Ok(1));
    assert_eq!(next(&mut shard, 4), Ok(0));
    assert_eq!(next(&mut shard, 1), Err(PublishError::Fenced { current: 3, found: 1 }));
}

#[test]
fn a_session_belongs_to_its_principal() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.try_publish(session(publish(queue, &["one"]), 1, 0)).unwrap();
    for (tenant, subject) in [(8, "registry"), (7, "another")] {
        let mut foreign = session(publish(queue, &["two"]), 9, 0);
        foreign.producer = foreign.producer.map(|held| Producer { tenant, subject: subject.into(), ..held });
        assert_eq!(shard.try_publish(foreign), Err(PublishError::ForeignProducer));
        let next = shard.machine.producer_next(&shard.kv, queue, &[5; 16], 1, tenant, subject).unwrap();
        assert_eq!(next, Err(PublishError::ForeignProducer));
    }
}

#[test]
fn an_idle_session_is_forgotten_after_seven_days() {
    const DAY: u64 = 24 * 3_600_000;
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.try_publish(session(publish(queue, &["one"]), 1, 0)).unwrap();
    shard.pass(4 * DAY);
    shard.try_publish(session(publish(queue, &["two"]), 1, 1)).unwrap();
    shard.pass(4 * DAY);
    let gap = shard.try_publish(session(publish(queue, &["three"]), 1, 0));
    assert_eq!(results(gap), [Duplicate(Some(1))], "it was used four days ago");
    // A batch that is sent again is a use, too.
    shard.pass(7 * DAY - 1);
    assert_eq!(results(shard.try_publish(session(publish(queue, &["three"]), 1, 0))), [Duplicate(Some(1))]);
    shard.pass(7 * DAY);
    assert_eq!(results(shard.try_publish(session(publish(queue, &["three"]), 1, 0))), [Stored(3)]);
}
