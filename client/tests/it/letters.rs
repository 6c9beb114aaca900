use std::time::{Duration, SystemTime};

use posthouse_client::{DeadLetterCause, ErrorKind, MessageState, Redrive, SkipReason};

use crate::fake::Fake;

#[tokio::test]
async fn messages_are_found() {
    let fake = Fake::start().await;
    let messages = fake.client().await.messages();
    let found = messages.find("m3").await.unwrap();
    let deadline = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    assert_eq!((found.sequence, found.state), (3, MessageState::Leased { deadline }));
    let origin = found.origin.unwrap();
    assert_eq!((origin.reason, origin.message_id.as_str()), (DeadLetterCause::Consumer, "s3"));
    assert_eq!((found.publish_time, found.payload_bytes), (None, 0));
    let error = messages.find("m9").await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::PermissionDenied, Some("GRANT_MISSING")));
}

#[tokio::test]
async fn dead_letters_come_page_by_page() {
    let fake = Fake::start().await;
    let messages = fake.client().await.messages();
    let mut pages = messages.dead_letters("d/dead").unwrap();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        sizes.push(page.len());
    }
    assert_eq!(sizes, [2, 2, 1]);
    assert!(pages.next().await.unwrap().is_none());
    let found = messages.dead_letter_of("d/dead", "s4").await.unwrap();
    assert_eq!(found.unwrap().message_id, "m4");
    assert_eq!(messages.dead_letter_of("d/dead", "s9").await.unwrap(), None);
    assert_eq!(messages.dead_letters("dead").unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn dead_letters_are_redriven() {
    let fake = Fake::start().await;
    let messages = fake.client().await.messages();
    let all = messages.redrive("d/dead", &Redrive::new()).await.unwrap();
    assert_eq!((all.redriven, all.skipped, all.more), (4, 1, false));
    assert_eq!(Redrive::new().after(&all), None);
    let some = Redrive::new().only(["m1", "m3", "m4"]).max_messages(9).to("d/other");
    let first = messages.redrive("d/dead", &some).await.unwrap();
    assert_eq!((first.redriven, first.skipped, first.more), (1, 1, true));
    assert_eq!(first.skipped_dead_letters, [("m3".to_owned(), SkipReason::Leased)]);
    let rest = some.after(&first).unwrap();
    assert_eq!(rest, Redrive::new().only(["m4"]).max_messages(9).to("d/other"));
    let mut ids = fake.records().request_ids.clone();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), ids[0].len()), (2, 36), "each call has an id of its own");
}

#[tokio::test]
async fn a_redrive_continues_to_the_last_dead_letter() {
    let fake = Fake::start().await;
    let messages = fake.client().await.messages();
    let (mut redrive, mut sums) = (Some(Redrive::new().max_messages(2)), Vec::new());
    while let Some(next) = redrive {
        let done = messages.redrive("d/dead", &next).await.unwrap();
        sums.push((done.redriven, done.skipped_by_reason[0]));
        redrive = next.after(&done);
    }
    let leased = |count| (SkipReason::Leased, count);
    assert_eq!(sums, [(2, leased(0)), (1, leased(1)), (1, leased(0))]);
}
