//! The server's log.

use std::{fs, path::PathBuf, time::Instant};

use posthouse_proto::v1::{GetQueueRequest, PurgeQueueRequest, SettleAction};
use posthouse_tests::harness::{
    cli, pipes,
    probe::{scrape, value},
    refusal::assert_refused,
    scene::{LONG, Scene, settlement},
    server::Server,
    site::{CIVIL, Site},
};
use tonic::Code;

use super::{Stderr, renew, start};

/// Access records go to a file: what waits for them is tested elsewhere.
const SECTIONS: &str = "[access]\nfile = \"access.jsonl\"\nrecords = \"all\"\n";

/// Makes a server do everything that it logs.
async fn live(scene: &Scene) {
    let queue = scene.plain_queue("q").await;
    let stranger = scene.caller.with_token(Some("no token"));
    for number in 0..300 {
        if number % 20 == 0 {
            // Without a good call in between, the connection would be closed.
            assert_eq!(scene.stats(&queue).await.published, 0);
        }
        let request = stranger.request(GetQueueRequest { name: queue.clone() });
        assert_refused(stranger.queues().get_queue(request).await, Code::Unauthenticated, "TOKEN_MALFORMED");
    }
    scene.publish(&queue, &["a", "b"]).await;
    let delivery = scene.receive(&queue, 1, LONG).await.remove(0);
    scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;
    renew(&scene.site).await;
    renew(&scene.site).await;
    let request = PurgeQueueRequest { name: queue.clone(), ..PurgeQueueRequest::default() };
    let purged = scene.caller.queues().purge_queue(scene.caller.request(request)).await.unwrap();
    assert_eq!(purged.into_inner().purged, 1);
    let purged = cli::succeed(&scene.site.context_file(CIVIL), ["queue", "purge", "household-registry/q"]);
    assert_eq!(purged, b"{\"purged\": 0}\n");
}

async fn dropped(site: &Site) -> f64 {
    value(&scrape(site.management()).await, "posthouse_log_lines_dropped_total")
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_it_the_server_does_its_work_and_drains() {
    for stderr in Stderr::ALL {
        let (mut scene, _reader) = start(Site::with_sections(SECTIONS), stderr).await;
        live(&scene).await;
        assert!(scene.server.runs(), "{stderr:?}");
        let dropped = dropped(&scene.site).await;
        assert!(dropped > 0.0, "{stderr:?}: no lines dropped");
        let begun = Instant::now();
        scene.server.terminate();
        assert_eq!(scene.server.ended().await.code(), Some(0), "{stderr:?}");
        assert!(begun.elapsed().as_secs() < 20, "{stderr:?}: it took {:?} to end", begun.elapsed());
        // The last flush is done: nothing is left to replay.
        let records = fs::read_to_string(scene.site.path("access.jsonl")).unwrap();
        for action in ["publish", "deliver", "settle", "manage", "refused"] {
            assert!(records.contains(&format!("\"action\":\"{action}\"")), "{stderr:?}: no {action}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_to_read_after_all_gets_whole_lines() {
    let (scene, reader) = start(Site::with_sections(SECTIONS), Stderr::Unread).await;
    live(&scene).await;
    assert!(dropped(&scene.site).await > 0.0, "everything was taken");
    let mut reader = reader.unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut text).unwrap();
        text
    });
    // Later lines are written, and one of them reports the dropped ones.
    scene.plain_queue("other").await;
    renew(&scene.site).await;
    let Scene { mut server, .. } = scene;
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0));
    let text = String::from_utf8(reading.join().unwrap()).unwrap();
    let lines = text.trim_start_matches('-').lines();
    let torn: Vec<&str> = lines.filter(|line| !line.starts_with("20") || !line.contains('Z')).collect();
    assert!(torn.is_empty(), "{torn:#?}");
    assert!(text.contains("lines of the log were dropped") && text.contains("stopped"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_never_take_the_place_of_standard_streams() {
    let site = Site::with_sections("[access]\nrecords = \"off\"\n");
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg("exec \"$0\" \"$@\" <&- >&- 2>&-");
    shell
        .arg(posthouse_tests::harness::binaries::posthouse())
        .arg("serve")
        .arg("--config")
        .arg(site.config());
    let mut server = Server::run(&site, shell);
    server.ready(&site).await;
    let open = |number: u32| fs::read_link(format!("/proc/{}/fd/{number}", server.id())).unwrap();
    assert_eq!([0, 1, 2].map(open), [0, 1, 2].map(|_| PathBuf::from("/dev/null")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_says_so_as_far_as_it_can_and_ends_with_its_code() {
    let site = Site::new();
    site.configure(&[("shards = 4", "shards = 3")]);
    for stderr in Stderr::ALL {
        let (stream, _reader) = stderr.stream();
        let mut server = Server::run_with_streams(&site, stderr.command(&super::serve(&site)), None, stream);
        assert_eq!(server.ended().await.code(), Some(78), "{stderr:?}");
    }
    let mut terminal = pipes::Terminal::open();
    let stream = terminal.program();
    let mut server = Server::run_with_streams(&site, super::serve(&site), None, stream.into());
    assert_eq!(server.ended().await.code(), Some(78));
    terminal.read_until(b"server.shards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_set_and_empty_is_none() {
    for empty in ["", "  "] {
        let site = Site::new();
        let mut command = super::serve(&site);
        command.env("POSTHOUSE_LOG", empty);
        let server = Server::run(&site, command);
        let printed = server.logged("listening").await;
        assert!(printed.contains(" INFO "), "{printed}");
    }
}
