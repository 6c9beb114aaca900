//! Access records: their sink may block, fail or be removed, and none is lost. Nothing is done that cannot be recorded,
//! but for settlements, whose answers wait.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{PipeReader, Read as _},
    process::Stdio,
    sync::{Arc, Mutex},
};

use posthouse_proto::v1::{
    self,
    publish_stream_request::Frame as ToPublish,
    publish_stream_response::{self as published, batch_result},
};
use posthouse_tests::harness::{
    binaries,
    publishing::{self, PublishStream},
    refusal::Refusal,
    scene::{Scene, message, queue_name},
    server::Server,
    site::{CIVIL, Site},
    wire::Caller,
};
use serde_json::Value;
use tonic::{Code, Status};

mod blocked;
mod refusals;
mod whole;

const REASON: &str = "ACCESS_NOT_RECORDED";

/// The sink of the records, which accepts none at first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sink {
    /// A file on a full disk.
    File,
    /// Standard output: a pipe that nobody reads.
    Stdout,
    /// The log, as text, among its other lines: a pipe that nobody reads.
    Log,
    /// The log as JSON: a pipe that nobody reads.
    LogJson,
}

/// A server whose sink the test controls.
struct Fixture {
    scene: Scene,
    sink: Sink,
    reader: Option<PipeReader>,
    read: Arc<Mutex<Vec<u8>>>,
}

impl Sink {
    const ALL: [Self; 4] = [Self::File, Self::Stdout, Self::Log, Self::LogJson];

    fn sections(self, records: &str) -> String {
        let file = match self {
            Self::File => "file = \"access.jsonl\"\n",
            Self::Stdout => "file = \"-\"\n",
            Self::Log | Self::LogJson => "",
        };
        let format = if self == Self::LogJson { "[log]\nformat = \"json\"\n" } else { "" };
        format!("[access]\nrecords = \"{records}\"\n{file}{format}")
    }
}

impl Fixture {
    async fn stuck(sink: Sink, records: &str) -> Self {
        Self::with(sink, Site::with_sections(&sink.sections(records))).await
    }

    async fn with(sink: Sink, site: Site) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = std::process::Command::new(binaries::posthouse());
        command.arg("serve").arg("--config").arg(site.config());
        let log = File::create(site.path("stderr.log")).unwrap();
        let mut server = match sink {
            Sink::File => {
                std::os::unix::fs::symlink("/dev/full", site.path("access.jsonl")).unwrap();
                Server::run_with_streams(&site, command, None, log.into())
            }
            Sink::Stdout => Server::run_with_streams(&site, command, Some(writer.into()), log.into()),
            Sink::Log | Sink::LogJson => Server::run_with_streams(&site, command, None, Stdio::from(writer)),
        };
        let credentials = site.credentials(CIVIL);
        server.ready_for(&site, &credentials).await;
        let caller = Caller::connect(&site, &credentials).await;
        let scene = Scene { site, server, caller, credentials };
        Self { scene, sink, reader: Some(reader), read: Arc::default() }
    }

    /// From now on the sink accepts everything.
    fn unstick(&mut self) {
        if self.sink == Sink::File {
            return fs::remove_file(self.scene.site.path("access.jsonl")).unwrap();
        }
        let (mut reader, read) = (self.reader.take().unwrap(), Arc::clone(&self.read));
        std::thread::spawn(move || {
            let mut some = vec![0; 64 << 10];
            while let Ok(count @ 1..) = reader.read(&mut some) {
                read.lock().unwrap().extend_from_slice(&some[..count]);
            }
        });
    }

    /// All records so far, each a JSON object.
    fn records(&self) -> Vec<Value> {
        let bytes = match self.sink {
            Sink::File => fs::read(self.scene.site.path("access.jsonl")).unwrap(),
            Sink::Stdout | Sink::Log | Sink::LogJson => self.read.lock().unwrap().clone(),
        };
        let text = String::from_utf8(bytes).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let record = |line: &str| match self.sink {
            Sink::File | Sink::Stdout => Some(parsed(line)),
            Sink::Log => Some(parsed(&line[line.find(" INFO access").and_then(|_| line.find('{'))?..])),
            Sink::LogJson => Some(parsed(line)).filter(|line| line["target"] == "posthouse::access"),
        };
        whole.lines().filter_map(record).collect()
    }

    fn of(&self, action: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["action"] == action).collect()
    }

    /// Publishes message by message until one is refused; returns how many were stored.
    async fn fill(&self, queue: &str) -> u64 {
        let mut stream = PublishStream::open(&self.scene.caller, publishing::open(queue, None)).await;
        let (mut sent, mut stored) = (0, 0);
        loop {
            while sent < stored + 32 {
                sent += 1;
                let batch = publishing::batch(sent, vec![message("x")]);
                stream.send(Some(ToPublish::Batch(batch))).await;
            }
            let Some(published::Frame::BatchResult(result)) = stream.next().await.unwrap() else { continue };
            match result.outcome.unwrap() {
                batch_result::Outcome::Results(_) => stored += 1,
                batch_result::Outcome::Error(error) => {
                    assert_not_recorded(&Refusal::from(&error));
                    stream.half_close();
                    // Those behind it were not stored either: the stream has waited for all of them.
                    while let Some(frame) = stream.next().await.unwrap() {
                        let published::Frame::BatchResult(result) = frame else { continue };
                        assert!(
                            matches!(result.outcome, Some(batch_result::Outcome::Error(_))),
                            "{result:?}"
                        );
                    }
                    return stored;
                }
            }
            assert!(stored < 100_000, "there is no end to what waits");
        }
    }
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("no record: {line}"))
}

#[track_caller]
fn assert_not_recorded(refusal: &Refusal) {
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unavailable, REASON), "{refusal:?}");
    assert!(refusal.says_when_to_try_again(), "{refusal:?}");
}

/// The sequences in the records of one action, with how often each occurs.
fn sequences(records: &[Value]) -> BTreeMap<u64, u64> {
    let mut all = BTreeMap::new();
    for range in records.iter().filter_map(|record| record["sequences"].as_array()).flatten() {
        let range = range.as_str().unwrap();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        for sequence in first.parse().unwrap()..=last.parse().unwrap() {
            *all.entry(sequence).or_insert(0) += 1;
        }
    }
    all
}

fn sum(records: &[Value]) -> u64 {
    records.iter().map(|record| record["count"].as_u64().unwrap_or(1)).sum()
}

async fn refused_call(caller: &Caller, queue: &str) -> Result<(), Status> {
    let request = caller.request(v1::GetQueueRequest { name: queue.to_owned() });
    caller.queues().get_queue(request).await.map(drop)
}

async fn create(scene: &Scene, name: &str) -> Result<(), Status> {
    let queue = v1::Queue { name: queue_name(name), ..v1::Queue::default() };
    let create = v1::CreateQueueRequest { queue: Some(queue), ..v1::CreateQueueRequest::default() };
    scene.caller.queues().create_queue(scene.caller.request(create)).await.map(drop)
}
