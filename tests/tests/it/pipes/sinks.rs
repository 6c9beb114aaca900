//! Sinks of access records: a stream that is closed, a file that is removed, a pipe that is not read yet, a socket.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
};

use posthouse_proto::v1::SettleAction;
use posthouse_tests::harness::{
    eventually,
    probe::{scrape, value},
    scene::{LONG, Scene, settlement},
    server::Server,
    site::{CIVIL, Site},
    wire::Caller,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

/// The server of a site in a shell, with redirected streams.
fn redirected(site: &Site, redirections: &str) -> Command {
    let serve = super::serve(site);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirections}"));
    shell.arg(serve.get_program()).args(serve.get_args()).current_dir(site.path(""));
    shell
}

async fn scene(site: Site, mut server: Server) -> Scene {
    let credentials = site.credentials(CIVIL);
    server.ready_for(&site, &credentials).await;
    let caller = Caller::connect(&site, &credentials).await;
    Scene { site, server, caller, credentials }
}

async fn metric(site: &Site, name: &str) -> f64 {
    value(&scrape(site.management()).await, name)
}

async fn until(site: &Site, name: &str, holds: impl Fn(f64) -> bool) {
    eventually(name, async || holds(metric(site, name).await).then_some(())).await;
}

fn access(file: &str, records: &str) -> String {
    let file = if file.is_empty() { String::new() } else { format!("file = \"{file}\"\n") };
    format!("[access]\nrecords = \"{records}\"\n{file}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_closed_takes_no_records_and_no_server_begins_on_it() {
    for (file, redirections, stream) in [
        ("-", ">&-", "stdout"),
        ("-", "1</dev/null", "stdout"),
        ("-", "<&- >&- 2>errors", "stdout"),
        ("/dev/stdout", ">&-", "stdout"),
        ("/dev/stderr", "2>&-", "stderr"),
    ] {
        let site = Site::with_sections(&access(file, "changes"));
        let mut server = Server::run(&site, redirected(&site, redirections));
        assert_eq!(server.ended().await.code(), Some(74), "{file:?} {redirections}: {}", server.log());
        let printed = server.log() + &fs::read_to_string(site.path("errors")).unwrap_or_default();
        let expected = format!("cannot be written to {stream}, which is not open for writing");
        assert!(stream == "stderr" || printed.contains(&expected), "{file:?} {redirections}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_a_log_that_has_no_stream_wait_and_the_server_serves() {
    for redirections in ["2>&-", "2</dev/null", "<&- >&- 2>&-"] {
        let site = Site::new();
        let server = Server::run(&site, redirected(&site, redirections));
        let mut scene = scene(site, server).await;
        let queue = scene.plain_queue("q").await;
        scene.publish(&queue, &["a"]).await;
        assert_eq!(scene.receive(&queue, 10, LONG).await.len(), 1);
        until(&scene.site, "posthouse_access_records_waiting", |count| count == 1.0).await;
        until(&scene.site, "posthouse_access_write_failures_total", |count| count > 0.0).await;
        assert_eq!(metric(&scene.site, "posthouse_access_records_total").await, 0.0);
        scene.server.terminate();
        assert_eq!(scene.server.ended().await.code(), Some(74), "{redirections}: a record is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_thrown_away_on_purpose_and_what_is_not_kept_need_no_stream() {
    for (file, records, redirections) in [
        ("-", "all", ">/dev/null"),
        // As daemons are started, and as Python and Node do it without a reader.
        ("-", "all", "</dev/null 1<>/dev/null 2<>/dev/null"),
        ("", "changes", "2<>/dev/null"),
        ("-", "off", "<&- >&- 2>&-"),
        ("", "off", "2>&-"),
    ] {
        let site = Site::with_sections(&access(file, records));
        let server = Server::run(&site, redirected(&site, redirections));
        let scene = scene(site, server).await;
        scene.plain_queue("q").await;
        let written = f64::from(u8::from(records != "off"));
        until(&scene.site, "posthouse_access_records_total", |count| count == written).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_never_written_to_a_file_that_was_removed() {
    let site = Site::with_sections(&access("logs/access.jsonl", "all"));
    let logs = site.path("logs");
    fs::create_dir(&logs).unwrap();
    let server = Server::run(&site, super::serve(&site));
    let mut scene = scene(site, server).await;
    let queue = scene.plain_queue("q").await;
    let file = logs.join("access.jsonl");
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let written = "posthouse_access_records_total";
    let failures = "posthouse_access_write_failures_total";
    until(&scene.site, written, |count| count == 1.0).await;
    // The file alone is removed: the next record is in a new one at once.
    fs::remove_file(&file).unwrap();
    scene.publish(&queue, &["a"]).await;
    until(&scene.site, written, |count| count == 2.0).await;
    assert!(lines().len() == 1 && metric(&scene.site, failures).await == 0.0, "{:#?}", lines());
    // Its folder is removed, and then a folder has the name of the file: records wait, and a warning is logged.
    fs::remove_dir_all(&logs).unwrap();
    scene.publish(&queue, &["b"]).await;
    until(&scene.site, failures, |count| count >= 1.0).await;
    assert_eq!(metric(&scene.site, written).await, 2.0);
    assert_eq!(metric(&scene.site, "posthouse_access_records_waiting").await, 1.0);
    let printed = scene.server.logged("access records cannot be written").await;
    assert!(printed.contains(file.to_str().unwrap()), "{printed}");
    fs::create_dir_all(&file).unwrap();
    scene.publish(&queue, &["c"]).await;
    let before = metric(&scene.site, failures).await;
    until(&scene.site, failures, |count| count > before).await;
    fs::remove_dir(&file).unwrap();
    until(&scene.site, written, |count| count == 4.0).await;
    let actions: Vec<_> = lines().iter().map(|line| line["action"].clone()).collect();
    assert_eq!(actions, ["publish", "publish"]);
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0), "{}", scene.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_nobody_reads_yet_is_waited_for() {
    let site = Site::with_sections(&access("pipe", "all"));
    let pipe = site.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let server = Server::run(&site, super::serve(&site));
    let scene = scene(site, server).await;
    assert!(scene.server.log().contains("nobody reads the pipe yet"), "{}", scene.server.log());
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b"]).await;
    until(&scene.site, "posthouse_access_write_failures_total", |count| count >= 1.0).await;
    assert_eq!(metric(&scene.site, "posthouse_access_records_waiting").await, 2.0);
    let reading = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(File::open(pipe).unwrap()).lines();
        [lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()]
    });
    let actions = reading.await.unwrap().map(|line| {
        let record: Value = serde_json::from_str(&line).unwrap();
        record["action"].clone()
    });
    assert_eq!(actions, ["manage", "publish"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_takes_records_by_the_name_of_the_stream() {
    let site = Site::with_sections(&access("/dev/stdout", "changes"));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let log = File::create(site.path("stderr.log")).unwrap();
    let stdout = Stdio::from(OwnedFd::from(theirs));
    let server = Server::run_with_streams(&site, super::serve(&site), Some(stdout), log.into());
    let scene = scene(site, server).await;
    scene.plain_queue("q").await;
    let reading = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(ours).read_line(&mut line).unwrap();
        line
    });
    let record: Value = serde_json::from_str(&reading.await.unwrap()).unwrap();
    assert_eq!(record["action"], "manage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_takes_records_until_the_drain_deadline() {
    let site = Site::with_sections(&access("access.jsonl", "all"));
    let file = site.path("access.jsonl");
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();
    let server = Server::run(&site, super::serve(&site));
    let mut scene = scene(site, server).await;
    scene.plain_queue("q").await;
    until(&scene.site, "posthouse_access_write_failures_total", |count| count >= 1.0).await;
    scene.server.terminate();
    // The management port is closed last but for the records: without the deadline the process would end now.
    eventually("a management port that is still open", async || {
        (value(&scrape(scene.site.management()).await, "posthouse_access_write_failures_total") >= 5.0)
            .then_some(())
    })
    .await;
    fs::remove_file(&file).unwrap();
    assert_eq!(scene.server.ended().await.code(), Some(0), "{}", scene.server.log());
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_lines_in_one_pipe_do_not_tear_each_other() {
    let site = Site::with_sections(&access("-", "all"));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stdout = Stdio::from(writer.try_clone().unwrap());
    let server = Server::run_with_streams(&site, super::serve(&site), Some(stdout), writer.into());
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let mut scene = scene(site, server).await;
    let queue = scene.plain_queue("q").await;
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for _ in 0..20 {
        scene.publish(&queue, &texts).await;
    }
    // Every second message, so that no two make one range, and records are long.
    let mut deliveries = Vec::new();
    while deliveries.len() < 2_000 {
        deliveries.extend(scene.receive(&queue, 1_000, LONG).await);
    }
    let every_second = deliveries.iter().step_by(2).map(|delivery| settlement(delivery, SettleAction::Ack));
    let every_second: Vec<_> = every_second.collect();
    for some in every_second.chunks(1_000) {
        scene.settle_all(&queue, some.to_vec()).await.unwrap();
        scene.publish(&queue, &texts).await;
    }
    // One thread writes both: two could split a line that is longer than one write to a pipe.
    let tasks = fs::read_dir(format!("/proc/{}/task", scene.server.id())).unwrap();
    let names: Vec<String> =
        tasks.flatten().map(|task| fs::read_to_string(task.path().join("comm")).unwrap()).collect();
    assert!(names.contains(&"stderr\n".to_owned()) && !names.contains(&"stdout\n".to_owned()), "{names:?}");
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0));
    let text = reading.join().unwrap();
    let mut records = 0;
    for line in text.lines() {
        if line.starts_with('{') {
            let record: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("torn: {line}"));
            assert!(record["action"].is_string(), "{line}");
            records += 1;
        } else {
            assert!(line.starts_with("20") && line.contains('Z'), "torn: {line}");
        }
    }
    assert!(records > 30 && text.contains("TRACE"), "{records} records, and the log says too little");
}
