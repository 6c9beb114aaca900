use super::*;
use crate::account::{Accounts, Counters};

fn accounts() -> ConnectionAccounts {
    Accounts::new(Counters::for_tests()).open(None)
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_up_and_still_gets_the_end() {
    let (mut outbox, out) = outbox::<u32>(CallTask::default(), &accounts());
    (0..100).for_each(|frame| outbox.send(frame));
    assert!(!outbox.state().clear && !outbox.state().has_capacity);
    outbox.retain(|frame| frame % 2 == 0);
    outbox.end(Err(ApiError::new(Code::Unauthenticated, ErrorReason::TokenExpired, "expired")));
    let received: Vec<_> = out.collect().await;
    let (last, frames) = received.split_last().unwrap();
    let frames: Vec<_> = frames.iter().map(|frame| *frame.as_ref().unwrap()).collect();
    assert_eq!(frames, (0..MAX_FRAMES_OUT as u32).collect::<Vec<_>>());
    assert_eq!(last.as_ref().unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn frames_come_in_order_and_a_clean_end_has_no_error() {
    let (mut outbox, out) = outbox::<u32>(CallTask::default(), &accounts());
    let reading = tokio::spawn(out.map(Result::unwrap).collect::<Vec<_>>());
    (0..50).for_each(|frame| outbox.send(frame));
    outbox
        .finish(stream::iter((50..60).map(|frame| Ok((frame, accounts().requests.charge(1))))))
        .await
        .unwrap();
    outbox.end(Ok(()));
    assert_eq!(reading.await.unwrap(), (0..60).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_ended_ends_its_call_if_its_last_frames_are_not_read() {
    let task = CallTask::default();
    let (mut outbox, out) = outbox::<u32>(task.clone(), &accounts());
    outbox.send(1);
    outbox.end(Ok(()));
    tokio::time::sleep(UNREAD_PATIENCE / 2).await;
    assert!(!task.is_ended());
    tokio::time::sleep(UNREAD_PATIENCE).await;
    assert!(task.is_ended());
    drop(out);
    let read = CallTask::default();
    let (mut outbox, out) = super::outbox::<u32>(read.clone(), &accounts());
    outbox.send(1);
    outbox.end(Ok(()));
    assert_eq!(out.count().await, 1);
    tokio::time::sleep(UNREAD_PATIENCE * 3).await;
    assert!(!read.is_ended());
}

#[tokio::test]
async fn a_client_that_has_gone_is_noticed() {
    let (mut outbox, out) = outbox::<u32>(CallTask::default(), &accounts());
    (0..50).for_each(|frame| outbox.send(frame));
    drop(out);
    assert!(outbox.flow().await.is_err());
    outbox.finish(stream::pending::<Result<(u32, Charge), ApiError>>()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn much_that_is_not_read_stops_the_client_and_ends_it_after_a_while_without_progress() {
    let accounts = accounts();
    let account = &accounts.requests;
    let (mut outbox, out) = outbox::<u32>(CallTask::default(), &accounts);
    for frame in 0..=MAX_FRAMES_OUT as u32 {
        outbox.answer((frame, account.charge(100_000)));
    }
    assert!(outbox.state().has_capacity && !outbox.is_stuck());
    outbox.answer((9, account.charge(100_000)));
    assert!(!outbox.state().has_capacity && !outbox.is_stuck());
    outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
    assert!(outbox.is_stuck());
    // The client reads again.
    outbox.progress.0 = 1;
    assert!(!outbox.is_stuck());
    // A few bytes are too many while the account has no capacity.
    outbox.retain(|frame| *frame == 9);
    outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
    assert!(outbox.state().has_capacity && !outbox.is_stuck());
    let full = account.charge(32 << 20);
    outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
    assert!(outbox.is_stuck());
    drop(full);
    // Answers that were passed on and are not sent count, too.
    outbox.retain(|_| false);
    assert!(outbox.state().clear && !outbox.is_stuck());
    let full = account.charge(32 << 20);
    outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
    assert!(outbox.is_stuck());
    drop(full);
    // A client may leave deliveries unread until their leases end.
    outbox.deliver(10, Instant::now() + UNREAD_PATIENCE);
    outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
    assert!(!outbox.is_stuck());
    outbox.leased_until = Some(Instant::now());
    outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
    assert!(outbox.is_stuck());
    outbox.leased_until = None;
    let reading = tokio::spawn(out.map(Result::unwrap).collect::<Vec<_>>());
    outbox.finish(stream::iter([])).await.unwrap();
    assert!(outbox.state().has_capacity && !outbox.is_stuck());
    outbox.end(Ok(()));
    assert_eq!(reading.await.unwrap().len(), MAX_FRAMES_OUT + 1);
    assert_eq!(account.held(), 0, "what was charged is given back");
}
