//! Records of access: what takes them may stop, fail or go away, and none is lost. Nothing is done that cannot be
//! recorded, but for settlements, which wait.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{PipeReader, Read as _},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use posthouse_proto::v1::{
    self, SettleAction, SettleFrame, consume_request as to, consume_response as from,
    publish_stream_request::Frame as ToPublish,
    publish_stream_response::{self as published, batch_result},
};
use posthouse_tests::harness::{
    PATIENCE, binaries, eventually,
    probe::{get, scrape, value},
    publishing::{self, PublishStream},
    refusal::{Refusal, assert_refused},
    scene::{LONG, Scene, message, queue_name, settlement, text},
    server::Server,
    site::{CIVIL, Site, TAXATION},
    small_disk::{SmallDisk, fill},
    stream::{Stream, open},
    wire::Caller,
};
use serde_json::Value;
use tonic::{Code, Status};

const REASON: &str = "ACCESS_NOT_RECORDED";

/// What takes the records, and takes none at first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sink {
    /// A file on a disk without room.
    File,
    /// Standard output: a pipe that nobody reads.
    Stdout,
    /// The log, as text, among its other lines: a pipe that nobody reads.
    Log,
    /// The same as JSON.
    LogJson,
}

/// A server, and its sink in the test's hand.
struct Place {
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

impl Place {
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

    /// From now on it takes everything.
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

    /// All records so far: each is one JSON object.
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

    /// Publishes message by message until one is refused; how many were stored.
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

/// The sequences of records of one action, each as often as it is recorded.
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

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_none_refuses_changes_holds_settlements_and_pauses_deliveries_until_it_does() {
    futures_util::future::join_all(Sink::ALL.map(takes_none)).await;
}

async fn takes_none(sink: Sink) {
    let mut place = Place::stuck(sink, "all").await;
    let scene = &place.scene;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["first"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 1)).await;
    let held = stream.deliveries(1).await.remove(0);
    let stored = 1 + place.fill(&queue).await;
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.published, stats.in_flight), (stored, 1), "{sink:?}");

    // Nothing is done that changes something, after at most a little more than two seconds.
    let begun = Instant::now();
    let refusal = assert_refused(create(scene, "never").await, Code::Unavailable, REASON);
    assert_not_recorded(&refusal);
    assert!(begun.elapsed() < Duration::from_secs(6), "{sink:?}: {:?}", begun.elapsed());
    assert_refused(
        refused_call(&scene.caller, &queue_name("never")).await,
        Code::NotFound,
        "QUEUE_NOT_FOUND",
    );
    let purge = v1::PurgeQueueRequest { name: queue.clone(), ..v1::PurgeQueueRequest::default() };
    let purged = scene.caller.queues().purge_queue(scene.caller.request(purge)).await;
    assert_refused(purged, Code::Unavailable, REASON);
    let publish =
        v1::PublishRequest { queue: queue.clone(), messages: vec![message("never")], ..Default::default() };
    let publish = scene.caller.publisher().publish(scene.caller.request(publish)).await;
    assert_refused(publish, Code::Unavailable, REASON);
    assert_eq!(scene.stats(&queue).await.published, stored, "{sink:?}");

    // A settlement is made; its answer waits. Nothing is delivered, and nothing stays leased.
    let settle = SettleFrame { settle_id: 7, settlements: vec![settlement(&held, SettleAction::Ack)] };
    stream.send(to::Frame::Settle(settle)).await;
    stream.send(to::Frame::Credit(v1::Credit { messages: 5, bytes: 0 })).await;
    eventually("the settlement", async || (scene.stats(&queue).await.acked == 1).then_some(())).await;
    let told = stream.until_pong().await;
    assert!(told.is_empty(), "{sink:?}: {told:?}");
    eventually("no leases", async || (scene.stats(&queue).await.in_flight == 0).then_some(())).await;
    let receive =
        v1::ReceiveRequest { queue: queue.clone(), max_messages: 1, ..v1::ReceiveRequest::default() };
    let received = scene.caller.consumer().receive(scene.caller.request(receive)).await;
    assert_refused(received, Code::Unavailable, REASON);

    // Whoever balances load is told, and refusals are answered at once.
    let ready = get(scene.site.management(), "/readyz").await.unwrap();
    assert!(
        ready.status == 503 && ready.body.contains("access records are not taken"),
        "{sink:?}: {ready:?}"
    );
    assert_eq!(get(scene.site.management(), "/livez").await.unwrap().status, 200);
    let metrics = scrape(scene.site.management()).await;
    assert_eq!(value(&metrics, "posthouse_access_records_blocked"), 1.0);
    let stranger = scene.caller.with_token(Some("no token"));
    let begun = Instant::now();
    for number in 0..100 {
        if number % 20 == 0 {
            // So many in a row, and the connection would be closed.
            assert_eq!(scene.stats(&queue).await.acked, 1);
        }
        let refused = refused_call(&stranger, &queue).await;
        assert_refused(refused, Code::Unauthenticated, "TOKEN_MALFORMED");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{sink:?}: {:?}", begun.elapsed());

    place.unstick();
    goes_on(place, stream, &queue, stored).await;
}

/// Everything goes on by itself, and every record is there once.
async fn goes_on(mut place: Place, mut stream: Stream, queue: &str, stored: u64) {
    let (scene, sink) = (&place.scene, place.sink);
    let (mut settled, mut delivered) = (false, Vec::new());
    while !settled || delivered.len() < 5 {
        match stream.next().await.unwrap().unwrap() {
            from::Frame::Settled(frame) => settled = frame.settle_id == 7 && frame.all_settled == 1,
            from::Frame::Deliveries(batch) => delivered.extend(batch.deliveries),
            _ => {}
        }
    }
    // What was leased and did not leave was not tried.
    assert!(delivered.iter().all(|delivery| delivery.attempt == 1), "{sink:?}: {delivered:?}");
    eventually("readiness", async || {
        (get(scene.site.management(), "/readyz").await?.status == 200).then_some(())
    })
    .await;
    assert_eq!(scene.publish(queue, &["last"]).await, [stored + 1]);
    create(scene, "other").await.unwrap();
    let received = scene.receive(queue, 3, LONG).await;
    assert_eq!(received.len(), 3);

    eventually("the sum of refusals", async || (sum(&place.of("refused")) >= 100).then_some(())).await;
    place.scene.server.terminate();
    assert_eq!(place.scene.server.ended().await.code(), Some(0), "{sink:?}");
    eventually("the last record", async || (place.of("deliver").len() >= 3).then_some(())).await;
    let expected: BTreeMap<u64, u64> = (1..=stored + 1).map(|sequence| (sequence, 1)).collect();
    assert!(sequences(&place.of("publish")) == expected, "{sink:?}: a publish is not recorded once");
    assert_eq!(place.of("settle").iter().filter(|record| record["settled"]["ack"].is_array()).count(), 1);
    // The first, five on the stream, three received.
    assert_eq!(sum(&place.of("deliver")), 9, "{sink:?}: {:#?}", place.of("deliver"));
    assert_eq!(sum(&place.of("refused")), 100, "{sink:?}");
    let changes: Vec<Value> = place.of("manage").iter().map(|record| record["queue"].clone()).collect();
    assert_eq!(changes, [queue_name("q"), queue_name("other")], "{sink:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_changes_are_recorded_messages_go_on() {
    let mut place = Place::stuck(Sink::Log, "changes").await;
    let scene = &place.scene;
    let queue = scene.plain_queue("q").await;
    let purge = async || {
        let request = v1::PurgeQueueRequest { name: queue.clone(), ..v1::PurgeQueueRequest::default() };
        scene.caller.queues().purge_queue(scene.caller.request(request)).await
    };
    let mut purged = 0;
    'fill: loop {
        for answer in futures_util::future::join_all((0..64).map(|_| purge())).await {
            match answer {
                Ok(_) => purged += 1,
                Err(status) => {
                    assert_not_recorded(&Refusal::from(&status));
                    break 'fill;
                }
            }
        }
        assert!(purged < 100_000, "there is no end to what waits");
    }
    let ready = async || get(scene.site.management(), "/readyz").await.unwrap().status;
    eventually("a server that is not ready", async || (ready().await == 503).then_some(())).await;
    scene.publish(&queue, &["a", "b"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 1)).await;
    stream.deliveries(1).await;
    let delivery = scene.receive_one(&queue, LONG).await;
    scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;
    place.unstick();
    eventually("a change", async || create(&place.scene, "other").await.ok()).await;
    eventually("a record of every purge that was made", async || {
        let made = place.of("manage").into_iter().filter(|record| record["outcome"] == "OK");
        let made = made.filter(|record| record["method"] == "posthouse.v1.Queues/PurgeQueue").count();
        // Those beside the first that was refused may have been made.
        (purged..purged + 64).contains(&made).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_for_a_while_tears_loses_and_doubles_none() {
    let site = Site::with_sections("[access]\nfile = \"records/access.jsonl\"\n");
    let folder = site.path("records");
    fs::create_dir(&folder).unwrap();
    let Some(disk) = SmallDisk::mount(&folder, 4 << 10) else { return };
    let (records, filler) = (disk.inside(&folder.join("access.jsonl")), disk.inside(&folder.join("filler")));
    let mut server = Server::run(&site, disk.serve(&site));
    let credentials = site.credentials(CIVIL);
    server.ready_for(&site, &credentials).await;
    let caller = Caller::connect(&site, &credentials).await;
    let mut scene = Scene { site, server, caller, credentials };
    let queue = scene.plain_queue("q").await;
    let mut published = scene.publish(&queue, &["a"]).await.len() as u64;
    for round in 0..3 {
        fill(&filler);
        // There is room left for less than a record, so that one is begun and not ended.
        let room = File::options().write(true).open(&filler).unwrap();
        room.set_len(room.metadata().unwrap().len().saturating_sub(5_000)).unwrap();
        drop(room);
        let failures =
            async || value(&scrape(scene.site.management()).await, "posthouse_access_write_failures_total");
        let before = failures().await;
        while failures().await == before {
            let batch: Vec<_> = (0..20).map(|_| scene.publish(&queue, &["a"])).collect();
            published += futures_util::future::join_all(batch).await.len() as u64;
            assert!(published < 20_000, "round {round}: the disk is never full");
        }
        fs::remove_file(&filler).unwrap();
        eventually("all records", async || {
            let metrics = scrape(scene.site.management()).await;
            (value(&metrics, "posthouse_access_records_waiting") == 0.0).then_some(())
        })
        .await;
    }
    let text = fs::read_to_string(&records).unwrap();
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0));
    let all: Vec<Value> = text.lines().map(parsed).collect();
    let expected: BTreeMap<u64, u64> = (1..=published).map(|sequence| (sequence, 1)).collect();
    assert!(sequences(&all) == expected, "a publish is not recorded once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_meanwhile_ends_in_time_and_says_what_is_lost() {
    for sink in [Sink::File, Sink::Stdout] {
        let site = Site::with_sections(&sink.sections("all"));
        site.configure(&[("drain_deadline_seconds = 25", "drain_deadline_seconds = 10")]);
        let mut place = Place::with(sink, site).await;
        let queue = place.scene.plain_queue("q").await;
        // More than a pipe holds.
        for _ in 0..300 {
            place.scene.publish(&queue, &["a"]).await;
        }
        let stream = Stream::open(&place.scene.caller, open(&queue, [1; 16], 1)).await;
        let begun = Instant::now();
        place.scene.server.terminate();
        assert_eq!(place.scene.server.ended().await.code(), Some(74), "{sink:?}");
        assert!(begun.elapsed() < Duration::from_secs(12), "{sink:?}: it took {:?}", begun.elapsed());
        let log = fs::read_to_string(place.scene.site.path("stderr.log")).unwrap();
        let lost = log.lines().find(|line| line.contains("the last access records are lost"));
        let lost = lost.unwrap_or_else(|| panic!("{sink:?}: {log}"));
        let count: u64 = lost.split("records=").nth(1).unwrap().trim().parse().unwrap();
        assert!(log.contains(&format!("last access records: {count} are lost")), "{sink:?}: {log}");
        assert!((1..=302).contains(&count) && (sink != Sink::File || count > 300), "{sink:?}: {lost}");
        drop(stream);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_wait_leaves_a_true_record_all_the_same() {
    let scene = Scene::on(Site::with_sections("[access]\nfile = \"access.jsonl\"\n")).await;
    for round in 0..80 {
        let name = format!("q{round}");
        let asked = create(&scene, &name);
        // It hangs up sooner or later: some of these are made by then.
        let _ = tokio::time::timeout(Duration::from_micros(60 * round), asked).await;
    }
    create(&scene, "last").await.unwrap();
    let list = v1::ListQueuesRequest {
        parent: format!("tenants/{CIVIL}/departments/household-registry"),
        page_size: 1_000,
        ..v1::ListQueuesRequest::default()
    };
    eventually("a record of every queue", async || {
        let made = scene.caller.queues().list_queues(scene.caller.request(list.clone())).await.unwrap();
        let mut made: Vec<String> = made.into_inner().queues.into_iter().map(|queue| queue.name).collect();
        let text =
            fs::read_to_string(scene.site.path("access.jsonl")).ok().filter(|text| text.ends_with('\n'))?;
        let recorded = text.lines().map(parsed).filter(|record| record["action"] == "manage");
        let mut recorded: Vec<String> = recorded
            .inspect(|record| assert_eq!(record["outcome"], "OK", "{record}"))
            .map(|record| record["queue"].as_str().unwrap().to_owned())
            .collect();
        made.sort();
        recorded.sort();
        (made == recorded && made.len() > 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_noise_hides_nobody_elses_probing_and_has_a_bound() {
    for sink in [Sink::File, Sink::Log] {
        let mut place = Place::with(sink, Site::with_sections(&sink.sections("changes"))).await;
        place.unstick();
        let scene = &place.scene;
        let queue = scene.plain_queue("q").await;
        let noisy = scene.site.credentials(TAXATION);
        let noisy = Caller::connect(&scene.site, &noisy).await.with_token(None);
        let (probing, begun) =
            (scene.scoped("posthouse:stats:civil-affairs/household-registry/other"), Instant::now());
        let mut noise = 0;
        for _ in 0..40 {
            let calls: Vec<_> = (0..60).map(|_| refused_call(&noisy, &queue)).collect();
            for refused in futures_util::future::join_all(calls).await {
                noise += u64::from(refused.unwrap_err().code() == Code::Unauthenticated);
            }
            assert_refused(refused_call(&probing, &queue).await, Code::PermissionDenied, "GRANT_MISSING");
        }
        let intervals = begun.elapsed().as_secs() / 10 + 1;
        place.scene.server.terminate();
        assert_eq!(place.scene.server.ended().await.code(), Some(0));
        let of = |tenant: &str| -> Vec<Value> {
            place.of("refused").into_iter().filter(|record| record["tenant"] == tenant).collect()
        };
        eventually("every refusal", async || {
            (sum(&of(CIVIL)) >= 40 && sum(&of(TAXATION)) >= noise).then_some(())
        })
        .await;
        // The last answer of a connection that is closed for its failures may be lost on the way: it is on record all
        // the same.
        let recorded = sum(&of(TAXATION));
        assert!(
            sum(&of(CIVIL)) == 40 && (noise..=noise + 40).contains(&recorded),
            "{sink:?}: {recorded} of {noise}"
        );
        assert!(noise > 1_000, "{noise}");
        assert!(of(CIVIL).iter().filter(|record| record["count"].is_null()).count() >= 20, "{sink:?}");
        assert!((of(TAXATION).len() as u64) < 30 * (intervals + 1), "{sink:?}: {}", of(TAXATION).len());
        let many = of(TAXATION).into_iter().find(|record| record["count"].is_u64()).unwrap();
        let times = ["first_time", "last_time", "time"].map(|key| many[key].as_str().map(str::to_owned));
        assert!(times[0] <= times[1] && times[0].is_some() && many["reason"] == "TOKEN_MISSING", "{many}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_deliveries_wait_hears_that_it_is_taken_over_and_takes_nothing_with_it() {
    let mut place = Place::stuck(Sink::Stdout, "all").await;
    let queue = place.scene.plain_queue("q").await;
    place.scene.publish(&queue, &["held"]).await;
    let mut stream = Stream::open(&place.scene.caller, open(&queue, [1; 16], 1)).await;
    let held = stream.deliveries(1).await.remove(0);
    drop(stream);
    place.fill(&queue).await;
    // What the session holds is not sent again while nothing takes the record of it.
    let mut streams = Vec::new();
    for _ in 0..3 {
        let stream = Stream::open(&place.scene.caller, open(&queue, [1; 16], 10)).await;
        assert_eq!(stream.opened.resumed_leases, 1);
        streams.push(stream);
    }
    let mut newest = streams.pop().unwrap();
    for mut older in streams {
        assert_refused(older.end().await, Code::Aborted, "SESSION_TAKEN_OVER");
    }
    place.unstick();
    let again = newest.deliveries(1).await.remove(0);
    assert!(again.resumed && again.token == held.token && again.attempt == 1, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_that_were_under_way_are_given_back_uncounted() {
    let mut place = Place::stuck(Sink::Stdout, "all").await;
    let queue = place.scene.plain_queue("q").await;
    // A consumer waits while the last places are taken: some of its leases do not leave.
    let mut stream = Stream::open(&place.scene.caller, open(&queue, [1; 16], 100_000)).await;
    let stored = place.fill(&queue).await;
    let (mut delivered, deadline) = (0, Instant::now() + PATIENCE);
    loop {
        for frame in stream.until_pong().await {
            if let from::Frame::Deliveries(batch) = frame {
                delivered += batch.deliveries.len() as u64;
            }
        }
        let in_flight = place.scene.stats(&queue).await.in_flight;
        if in_flight == delivered {
            break;
        }
        assert!(Instant::now() < deadline, "{in_flight} are leased, {delivered} have left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    place.unstick();
    let mut again = Vec::new();
    while delivered + (again.len() as u64) < stored {
        again.extend(stream.deliveries(1).await);
    }
    assert!(again.iter().all(|delivery| delivery.attempt == 1 && text(delivery) == "x"));
    let released =
        value(&scrape(place.scene.site.management()).await, "posthouse_access_deliveries_released_total");
    println!("{stored} stored, {delivered} delivered before, {released} given back");
}
