use std::time::Duration;

use posthouse_client::{ErrorKind, QueueSettings};

use crate::fake::Fake;

#[tokio::test]
async fn queues_are_created_listed_changed_and_deleted() {
    let fake = Fake::start().await;
    let queues = fake.client().await.queues();
    let settings = QueueSettings::new()
        .max_message_bytes(1000)
        .lease_duration(Duration::from_millis(1500))
        .max_attempts(5)
        .dead_letter_queue("d/dead");
    let created = queues.create("d/q0", &settings).await.unwrap();
    assert_eq!(created.name, "tenants/t/departments/d/queues/q0");
    assert_eq!(created.max_message_bytes, 1000);
    assert_eq!(created.lease_duration, Some(Duration::from_millis(1500)));
    assert_eq!(created.dead_letter_queue.as_deref(), Some("tenants/t/departments/d/queues/dead"));
    for n in 1..5 {
        queues.create(&format!("d/q{n}"), &QueueSettings::new()).await.unwrap();
    }
    let names: Vec<_> = queues.list("d").await.unwrap().into_iter().map(|queue| queue.name).collect();
    assert_eq!(names.len(), 5, "over three pages: {names:?}");

    let changed = queues.update("d/q0", &QueueSettings::new().max_attempts(9)).await.unwrap();
    assert_eq!((changed.max_attempts, changed.max_message_bytes), (9, 1000));
    assert_eq!(queues.get("d/q0").await.unwrap().stats.unwrap().ready, 7);
    assert_eq!(queues.purge("d/q0").await.unwrap(), 3);
    queues.delete("tenants/t/departments/d/queues/q0").await.unwrap();

    let error = queues.get("d/q0").await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Some("QUEUE_NOT_FOUND")));
    let error = queues.create("d/q1", &QueueSettings::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::AlreadyExists, false));
    let error = queues.create("d/Q", &QueueSettings::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
