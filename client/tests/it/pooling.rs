//! Worker pools: how each delivery is settled, and how a pool ends.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use posthouse_client::{Delivery, ErrorReason, FailureKind, HandlerError};
use tonic::Code;

use crate::{
    eventually,
    fake::{Fake, Order, QUEUE, refusal},
    within,
};

fn put(fake: &Fake, payloads: &[&'static str]) {
    for payload in payloads {
        fake.records().leases.put(*payload);
    }
}

/// Does what the payload says at the first attempt; later attempts succeed.
async fn obey(delivery: Arc<Delivery>) -> Result<(), HandlerError> {
    match (&delivery.payload()[..], delivery.attempt()) {
        (b"retry", 1) => Err(HandlerError::retry_after(Duration::ZERO)),
        (b"fail", 1) => Err(io::Error::other("not now"))?,
        (b"dead", _) => Err(HandlerError::dead_letter().because("hopeless")),
        (b"panic", 1) => panic!("told to"),
        (b"hang", 1) => std::future::pending().await,
        _ => Ok(()),
    }
}

#[tokio::test]
async fn each_outcome_settles_as_it_says() {
    let fake = Fake::start().await;
    put(&fake, &["ok", "retry", "fail", "dead", "panic", "hang", "ok"]);
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&failures);
    let client = fake.client().await;
    let pool = client
        .worker_pool(QUEUE)
        .workers(3)
        .retry_delay(Duration::ZERO, Duration::ZERO)
        .handler_timeout(Duration::from_millis(50))
        .on_failure(move |failed| {
            let cause = failed.cause.map(ToString::to_string);
            seen.lock().unwrap().push((failed.delivery.sequence(), failed.kind, cause));
        })
        .start(obey)
        .await
        .unwrap();
    eventually("all but the dead one are acked", || fake.records().leases.acked.len() == 6).await;
    let report = within("the stop", pool.stop()).await.unwrap();
    assert_eq!((report.acked, report.retried, report.dead_lettered), (6, 4, 1));
    assert_eq!((report.panicked, report.timed_out, report.unconfirmed), (1, 1, 0));
    let mut failures = failures.lock().unwrap().clone();
    failures.sort_by_key(|failure| failure.0);
    assert_eq!(failures[0], (2, FailureKind::Failed, None));
    assert_eq!(failures[1], (3, FailureKind::Failed, Some("not now".to_owned())));
    assert_eq!(failures[2].2.as_deref(), Some("hopeless"));
    assert_eq!((failures[3].1, failures[4].1), (FailureKind::Panicked, FailureKind::TimedOut));
    assert!(fake.records().leases.ready.is_empty() && fake.records().leases.leased.is_empty());
}

#[tokio::test]
async fn a_stop_finishes_running_handlers_and_releases_the_rest() {
    let fake = Fake::start().await;
    put(&fake, &["work"; 50]);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (opened, started) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let begun = Arc::clone(&started);
    let handler = move |_: Arc<Delivery>| {
        let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await?.forget();
            Ok(())
        }
    };
    let client = fake.client().await;
    let pool = client.worker_pool(QUEUE).workers(4).start(handler).await.unwrap();
    eventually("four work", || started.load(Ordering::SeqCst) == 4).await;
    eventually("no more than twice that is out", || fake.records().leases.leased.len() == 8).await;
    let stopping = tokio::spawn(pool.stop());
    eventually("what waited is given back", || fake.records().leases.ready.len() == 46).await;
    assert!(!stopping.is_finished());
    opened.add_permits(4);
    let report = within("the stop", stopping).await.unwrap().unwrap();
    assert_eq!((report.acked, report.released), (4, 0));
    assert_eq!(fake.records().leases.acked.len(), 4);
    assert_eq!(started.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let fake = Fake::start().await;
    put(&fake, &["hang", "hang", "ok"]);
    let client = fake.client().await;
    let pool = client.worker_pool(QUEUE).workers(2).start(obey).await.unwrap();
    eventually("both hang", || fake.records().leases.leased.len() == 3).await;
    let report = within("the stop", pool.stop_within(Duration::from_millis(50))).await.unwrap();
    assert_eq!(report.acked, 0);
    assert!(fake.records().leases.leased.is_empty(), "everything is given back");
    let attempts: Vec<u32> = fake.records().leases.ready.values().map(|(_, failed)| *failed).collect();
    assert_eq!(attempts, [0, 0, 0], "that is no failure of theirs");
}

#[tokio::test]
async fn several_streams_work_one_queue_off() {
    let fake = Fake::start().await;
    put(&fake, &["ok"; 1000]);
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let report = Arc::clone(&seen);
    let handler = move |delivery: Arc<Delivery>| {
        let first = report.lock().unwrap().insert(delivery.sequence());
        async move { if first { Ok(()) } else { Err(HandlerError::dead_letter()) } }
    };
    let client = fake.client().await;
    let pool = client.worker_pool(QUEUE).workers(9).streams(3).start(handler).await.unwrap();
    assert_eq!(fake.records().leases.sessions.len(), 3);
    eventually("all is acked", || fake.records().leases.acked.len() == 1000).await;
    let report = pool.run_until(std::future::ready(())).await.unwrap();
    assert_eq!((report.acked, report.dead_lettered), (1000, 0));
}

#[tokio::test]
async fn a_pool_ends_with_its_consumer_and_says_why() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let pool = client.worker_pool(QUEUE).start(obey).await.unwrap();
    fake.order(Order::End(refusal(Code::NotFound, "QUEUE_DELETED")));
    let error = within("the end", pool.wait()).await.unwrap_err();
    assert_eq!(error.error_reason(), Some(ErrorReason::QueueDeleted));
}

#[tokio::test]
async fn a_lost_lease_cancels_the_handler_if_asked() {
    let fake = Fake::start().await;
    put(&fake, &["hang"]);
    let client = fake.client().await;
    let consumer = client.consumer(QUEUE).lease_duration(Duration::from_secs(1));
    let pool = consumer.worker_pool().cancel_on_lease_lost(true).start(obey).await.unwrap();
    eventually("it hangs", || !fake.records().leases.leased.is_empty()).await;
    fake.records().leases.leased.clear();
    eventually("it is left", || pool.report().unconfirmed == 1 || pool.report().released == 1).await;
    let report = within("the stop", pool.stop()).await.unwrap();
    assert_eq!((report.released, report.unconfirmed), (1, 1));
}

#[tokio::test]
async fn one_task_handles_many_deliveries_at_a_time() {
    let fake = Fake::start().await;
    put(&fake, &["ok", "retry", "panic", "ok"]);
    let consumer = Arc::new(fake.client().await.consumer(QUEUE).open().await.unwrap());
    let working = Arc::clone(&consumer);
    let work = tokio::spawn(async move { working.for_each_concurrent(3, obey).await });
    // A retry after a panic comes after about a second.
    eventually("all are acked", || fake.records().leases.acked.len() == 4).await;
    consumer.stop();
    let report = within("the end", work).await.unwrap().unwrap();
    assert_eq!((report.acked, report.retried, report.panicked), (4, 2, 1));
    consumer.close().await.unwrap();
}
