use std::{path::Path, process::Command, time::Instant};

use clap::Parser;
use posthouse_proto::v1::{PublishStreamRequest, PublishStreamResponse, publish_stream_request::Frame};
use rocksdb::IteratorMode;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    BARE_COMMAND, ECHO_COMMAND, Limit, LimitLoad, ServeArgs,
    child::Child,
    load::{self, Answer},
    raw, serve_bare, serve_echo,
};
use crate::load::payload::Payloads;

const LOAD: LimitLoad = LimitLoad { connections: 3, batch: 16, window: 64, payload_bytes: 256, seconds: 0.3 };

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Not a test: the process of a server, which is this test program again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the others"]
async fn server_process() {
    let mut arguments = std::env::args().skip_while(|it| it != ECHO_COMMAND && it != BARE_COMMAND);
    let Some(command) = arguments.next() else { return };
    let serve = Arguments::parse_from(std::iter::once(command.clone()).chain(arguments)).serve;
    let served = if command == ECHO_COMMAND { serve_echo(&serve).await } else { serve_bare(&serve).await };
    served.unwrap();
}

async fn start(command: &str, folder: &Path) -> Child {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "limit::tests::server_process", "--ignored", "--nocapture", "--"]);
    Child::start(program, command, folder).await.unwrap()
}

async fn measured<A: Answer>(limit: Limit, command: &str) {
    let folder = tempfile::tempdir().unwrap();
    let child = start(command, folder.path()).await;
    let row = child.measure::<A>(limit, LOAD).await.unwrap();
    assert_eq!((row.part.as_str(), row.system.as_str()), ("limit", limit.name()));
    assert!(row.messages > 0 && row.p50_us <= row.p99_us, "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_returns_every_frame() {
    measured::<PublishStreamRequest>(Limit::Echo, ECHO_COMMAND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_answers_every_frame() {
    measured::<PublishStreamResponse>(Limit::Bare, BARE_COMMAND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bare_has_answered_is_on_disk_after_a_kill() {
    const FRAMES: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let child = start(BARE_COMMAND, folder.path()).await;
    let (requests, frames) = mpsc::channel(4);
    let mut answers =
        PublishStreamResponse::open(child.connect().await.unwrap(), ReceiverStream::new(frames))
            .await
            .unwrap();
    let (now, mut sent) = (Instant::now(), Vec::new());
    let mut payloads = Payloads::new(100, now);
    for id in 0..FRAMES {
        let frame = load::frame(&mut payloads, now, id, 5);
        let Some(Frame::Batch(batch)) = &frame.frame else { panic!("{frame:?}") };
        sent.extend(batch.messages.iter().map(|message| message.payload.clone()));
        requests.send(frame).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().answered(), Some((id, 5)));
    }
    drop(child);
    let db = raw::open(&folder.path().join("data")).unwrap();
    let stored: Vec<_> = db.iterator(IteratorMode::Start).map(|row| row.unwrap().1).collect();
    assert_eq!(stored.len(), sent.len());
    assert!(stored.iter().zip(&sent).all(|(stored, sent)| **stored == **sent));
}
