//! The server refuses a data folder that it cannot use, and says what to do.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use posthouse_proto::v1;
use posthouse_tests::harness::{
    binaries,
    refusal::assert_refused,
    scene::{LONG, Scene, text},
    server::Server,
    site::Site,
    stream::{Stream, open},
    wire::Caller,
};
use tonic::Code;

/// Starts the server, which must refuse, and returns its log.
async fn refuses(site: &Site) -> String {
    let mut server = Server::launch(site, &binaries::posthouse(), None);
    while server.runs() {
        // It is the last line.
        assert!(!server.log().contains("listening"), "the server serves:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = server.ended().await;
    let log = server.log();
    assert!(status.code().is_some_and(|code| code != 0), "{status}: {log}");
    assert!(!log.contains("panicked"), "{log}");
    log
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The segment of the log that is written, and the offsets at which its groups begin.
fn segment(site: &Site) -> (PathBuf, Vec<u64>) {
    let begins = |path: &Path| fs::read(path).unwrap().starts_with(b"PHLOGSEG");
    let path = files(&site.data()).into_iter().filter(|path| begins(path)).max().unwrap();
    let bytes = fs::read(&path).unwrap();
    let groups = (0..bytes.len()).step_by(4096).filter(|at| bytes[*at..].starts_with(b"PHGR"));
    let groups = groups.map(|at| at as u64).collect();
    (path, groups)
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

async fn killed_with_messages() -> (Scene, String) {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for text in ["a", "b", "c"] {
        scene.publish(&queue, &[text]).await;
    }
    scene.server.kill();
    (scene, queue)
}

#[tokio::test(flavor = "multi_thread")]
async fn by_two_processes() {
    let scene = Scene::start().await;
    // The same data folder at another address.
    let second = Site::new();
    let config = fs::read_to_string(second.config()).unwrap();
    let data = format!("data_dir = {:?}", scene.site.data());
    fs::write(second.config(), config.replace("data_dir = \"state/data\"", &data)).unwrap();
    let log = refuses(&second).await;
    assert!(log.contains("another process") || log.contains("in use"), "{log}");
    let queue = scene.plain_queue("q").await;
    assert_eq!(scene.publish(&queue, &["a"]).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_damaged_log() {
    let (scene, _) = killed_with_messages().await;
    let (path, groups) = segment(&scene.site);
    // Not the last group, which may be a torn write.
    overwrite(&path, groups[groups.len() / 2] + 60, b"\xff\xff\xff\xff\xff\xff\xff\xff");
    let log = refuses(&scene.site).await;
    assert!(log.contains("damaged") && log.contains("backup"), "{log}");
    // Nothing was changed, so it is refused again.
    let again = refuses(&scene.site).await;
    assert!(again.contains("damaged"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn but_a_torn_end_of_the_log_is_cut() {
    let (mut scene, queue) = killed_with_messages().await;
    let (path, groups) = segment(&scene.site);
    // What a write that a power cut interrupted leaves behind the last whole group.
    let end = groups.last().unwrap() + 4096;
    overwrite(&path, end, b"PHGR half a group");
    scene.server = Server::start(&scene.site).await;
    scene.caller = Caller::connect(&scene.site, &scene.credentials).await;
    assert_eq!(scene.stats(&queue).await.ready, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_log_of_a_newer_format() {
    let (scene, _) = killed_with_messages().await;
    let (path, _) = segment(&scene.site);
    overwrite(&path, 8, &99_u32.to_le_bytes());
    let log = refuses(&scene.site).await;
    assert!(log.contains("99") && log.contains("newer"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_newer_format() {
    let (scene, _) = killed_with_messages().await;
    let node = scene.site.data().join("NODE");
    let text = fs::read_to_string(&node).unwrap();
    assert!(text.contains("format 5\n"), "{text}");
    fs::write(&node, text.replace("format 5\n", "format 99\n")).unwrap();
    let log = refuses(&scene.site).await;
    assert!(log.contains("99") && log.contains("newer"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_damaged_store() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let texts: Vec<String> = (0..200).map(|number| format!("{number:0>1000}")).collect();
    scene.publish(&queue, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    scene.server.terminate();
    scene.server.ended().await;
    let store: Vec<_> = files(&scene.site.data().join("store"));
    let named = |part: &str| {
        let mut found = store.iter().filter(|path| path.to_string_lossy().contains(part));
        found.by_ref().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
    };
    let path = named("MANIFEST");
    let whole = fs::read(path).unwrap();
    overwrite(path, 20, &[!whole[20]]);
    let log = refuses(&scene.site).await;
    assert!(log.contains("damaged") && log.contains("backup"), "{log}");
    fs::write(path, whole).unwrap();

    // The server does not read every byte before it serves; but a damaged message is never delivered.
    let path = named(".sst");
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().skip(64).step_by(500).take(20).for_each(|byte| *byte = !*byte);
    fs::write(path, bytes).unwrap();
    scene.server = Server::start(&scene.site).await;
    scene.caller = Caller::connect(&scene.site, &scene.credentials).await;
    let request = v1::ReceiveRequest { queue, max_messages: 200, ..v1::ReceiveRequest::default() };
    match scene.caller.consumer().receive(scene.caller.request(request)).await {
        Ok(answer) => {
            let received: Vec<String> = answer.into_inner().deliveries.iter().map(text).collect();
            assert!(received.iter().all(|text| texts.contains(text)), "{received:?}");
            assert!(received.len() < texts.len(), "the damage hit nothing");
        }
        Err(status) => assert_eq!(status.code(), tonic::Code::Internal, "{status:?}"),
    }
}

/// RocksDB checks a block's checksum when it reads the block, so a flipped byte of a message is found then and not
/// earlier.
#[tokio::test(flavor = "multi_thread")]
async fn but_a_damaged_message_stops_nobody_who_does_not_read_it() {
    let mut scene = Scene::start().await;
    let (queue, other) = (scene.plain_queue("q").await, scene.plain_queue("other").await);
    for number in 0..40_u8 {
        // Random bytes, which do not compress, so that the bodies are most of the file.
        let payload: Vec<u8> = (0..100_000).map(|_| rand::random()).collect();
        let attributes = [("number".to_owned(), number.to_string())].into();
        let messages = vec![v1::NewMessage { payload: payload.into(), attributes }];
        let request = v1::PublishRequest { queue: queue.clone(), messages, ..v1::PublishRequest::default() };
        scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
    }
    scene.publish(&other, &["a"]).await;
    scene.server.terminate();
    scene.server.ended().await;
    let tables = files(&scene.site.data().join("store")).into_iter();
    let tables = tables.filter(|path| path.extension().is_some_and(|end| end == "sst"));
    let path = tables.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    assert!(bytes.len() > 4_000_000, "{} has {} bytes", path.display(), bytes.len());
    overwrite(&path, middle as u64, &[!bytes[middle]]);

    scene.server = Server::start(&scene.site).await;
    scene.caller = Caller::connect(&scene.site, &scene.credentials).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 100)).await;
    let refusal = assert_refused(stream.end().await, Code::Internal, "INTERNAL");
    assert!(refusal.message.contains("log"), "{refusal:?}");
    let log = scene.server.logged(path.file_name().unwrap().to_str().unwrap()).await;
    assert!(log.contains("backup"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    // All messages but the damaged one are there, and other queues work, in the same department too.
    assert_eq!(text(&scene.receive_one(&other, LONG).await), "a");
    assert_eq!(scene.publish(&other, &["b"]).await, [2]);
    assert_eq!(scene.publish(&queue, &["c"]).await, [41]);
    // The messages before and after it are delivered as usual. A message that cannot be read stays leased to the caller
    // that was refused, as if it had been delivered, and blocks nobody before that lease ends. All messages in one
    // block of the file are damaged together.
    // The leases that were returned with a refusal may become free after the newer messages: "c" need not be the last.
    let (mut received, mut refused, mut newest) = (0, 0, false);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !newest || received < 15 {
        assert!(Instant::now() < deadline, "{received} of 41 messages");
        let wait = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        let request = v1::ReceiveRequest {
            queue: queue.clone(),
            max_messages: 10,
            wait,
            ..v1::ReceiveRequest::default()
        };
        match scene.caller.consumer().receive(scene.caller.request(request)).await {
            Ok(answer) => {
                let deliveries = answer.into_inner().deliveries;
                assert!(deliveries.iter().all(|delivery| delivery.attempt == 1));
                received += deliveries.len();
                newest |= deliveries.iter().any(|delivery| delivery.message.as_ref().unwrap().payload == "c");
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Internal, "{status:?}");
                refused += 1;
                assert!(refused <= 3, "the same message is refused again and again");
            }
        }
    }
    assert!(received <= 40, "{received} of 41 messages");
    let mut scene = scene;
    scene.crash().await;
    assert_eq!(text(&scene.receive_one(&other, LONG).await), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_log() {
    // The confirmed data may be missing, whether or not the store had been flushed.
    for flushed in [true, false] {
        let mut scene = Scene::start().await;
        let queue = scene.plain_queue("q").await;
        scene.publish(&queue, &["a"]).await;
        if flushed {
            scene.server.terminate();
            scene.server.ended().await;
        } else {
            scene.server.kill();
        }
        let (path, _) = segment(&scene.site);
        fs::remove_file(path).unwrap();
        let log = refuses(&scene.site).await;
        assert!(log.contains("backup"), "flushed: {flushed}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_another_number_of_shards() {
    let (scene, _) = killed_with_messages().await;
    let config = fs::read_to_string(scene.site.config()).unwrap();
    fs::write(scene.site.config(), config.replace("shards = 4", "shards = 8")).unwrap();
    let log = refuses(&scene.site).await;
    assert!(log.contains("shards"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_configuration_that_is_wrong_in_two_places() {
    let site = Site::new();
    let config = fs::read_to_string(site.config()).unwrap();
    let config = config.replace("shards = 4", "shards = 3\ncolour = \"red\"");
    fs::write(site.config(), config).unwrap();
    let mut server = Server::launch(&site, &binaries::posthouse(), None);
    assert_eq!(server.ended().await.code(), Some(78));
    let log = server.log();
    assert!(log.contains("server.shards") && log.contains("colour"), "{log}");
    assert!(!site.data().exists());
    let checked = check(&site);
    assert_eq!(checked.status.code(), Some(78));
    let printed = String::from_utf8_lossy(&checked.stderr);
    assert!(
        printed.contains("line 4: server.shards") && printed.contains("line 5: server.colour"),
        "{printed}"
    );
}

fn check(site: &Site) -> std::process::Output {
    let mut command = std::process::Command::new(binaries::posthouse());
    command.args(["serve", "--check", "--config"]).arg(site.config()).output().unwrap()
}

#[test]
fn but_a_configuration_can_be_checked_without_a_server() {
    let site = Site::new();
    let checked = check(&site);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("is in order"), "{checked:?}");
    assert!(!site.data().exists(), "something was made");
}
