use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc, time::Duration};

use super::*;

fn config(path: &Path) -> AccessConfig {
    AccessConfig { records: RecordedAccess::All, sink: AccessSink::File(path.to_owned()) }
}

fn access(path: &Path) -> (Arc<Access>, Metrics) {
    let metrics = Metrics::new(&[]).unwrap();
    let access = Access::open(&config(path), LogFormat::Text, &Out::stderr(), &metrics).unwrap();
    (Arc::new(access), metrics)
}

fn record(number: usize) -> Record<'static> {
    let mut record = Record::new(Action::Manage, "m", Caller::default());
    record.queue = format!("<{number}>");
    record
}

async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn close(access: &Access) {
    assert_eq!(access.close(Instant::now() + Duration::from_secs(60)), 0);
}

#[tokio::test]
async fn more_than_may_wait_is_written_in_order_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    let (access, metrics) = access(&path);
    let count = 3 * MAX_ACCESS_RECORDS_WAITING;
    for number in 0..count {
        let slot = access.reserve().await.unwrap();
        access.put(&record(number), slot);
    }
    close(&access);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), count);
    assert!(text.lines().enumerate().all(|(number, line)| line.contains(&format!("\"<{number}>\""))));
    access.read(&metrics);
    assert_eq!((metrics.own.access_records.get(), metrics.own.access_waiting.get()), (count as u64, 0));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_takes_nothing_refuses_changes_holds_settlements_up_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    // A file that nobody can write to.
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (access, metrics) = access(&path);
    let running = Arc::clone(&access);
    tokio::spawn(async move { running.run().await });
    for number in 0..MAX_ACCESS_RECORDS_WAITING {
        let slot = access.reserve().await.unwrap();
        access.put(&record(number), slot);
    }
    assert!(access.reserve().await.is_none(), "a change has a place that is not there");
    until(|| access.is_blocked()).await;
    let settling = Arc::clone(&access);
    let settled =
        tokio::spawn(async move { settling.put_in_any_case(record(MAX_ACCESS_RECORDS_WAITING)).await });
    (0..1_000).for_each(|_| access.refused(Record::new(Action::Refused, "m", Caller::default())));
    until(|| access.unplaced.load(Ordering::Relaxed) == 1).await;
    access.read(&metrics);
    assert_eq!(metrics.own.access_blocked.get(), 1);
    assert!(metrics.own.access_failures.get() > 0 && !settled.is_finished());

    fs::remove_file(&path).unwrap();
    settled.await.unwrap();
    until(|| !access.is_blocked()).await;
    let slot = access.reserve().await.unwrap();
    access.put(&record(MAX_ACCESS_RECORDS_WAITING + 1), slot);
    close(&access);
    let text = fs::read_to_string(&path).unwrap();
    for number in 0..=MAX_ACCESS_RECORDS_WAITING + 1 {
        assert_eq!(text.matches(&format!("\"<{number}>\"")).count(), 1, "{number}");
    }
    // And all refusals are in one of the last records.
    let refused: Vec<_> = text.lines().filter(|line| line.contains("\"refused\"")).collect();
    assert!(refused.len() == 1 && refused[0].contains("\"count\":1000"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_waits_for_a_file_that_takes_nothing_until_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (access, _) = access(&path);
    let slot = access.reserve().await.unwrap();
    access.put(&record(0), slot);
    let (closing, until) = (Arc::clone(&access), Instant::now() + Duration::from_secs(1));
    let lost = tokio::task::spawn_blocking(move || closing.close(until)).await.unwrap();
    assert!(lost == 1 && Instant::now() >= until);
    // A file that accepts them in time loses none.
    let closing = tokio::task::spawn_blocking(move || access.close(Instant::now() + Duration::from_secs(60)));
    fs::remove_file(&path).unwrap();
    assert_eq!(closing.await.unwrap(), 0);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_away_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    let (access, _) = access(&path);
    let put = async |number| {
        let slot = access.reserve().await.unwrap();
        access.put(&record(number), slot);
    };
    put(0).await;
    until(|| access.out.written() == 1).await;
    fs::rename(&path, folder.path().join("access.1")).unwrap();
    let mut number = 1;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        assert!(Instant::now() < deadline, "no new file");
        put(number).await;
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    close(&access);
    let lines = |name| fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
    assert_eq!(lines("access.1") + lines("access.jsonl"), number);
}
