//! A full disk.

use std::{fs, path::Path};

use posthouse_proto::v1::{self, NewMessage, PublishRequest, SettleAction};
use posthouse_tests::harness::{
    eventually,
    refusal::assert_refused,
    scene::{LONG, Scene, settlement},
    server::Server,
    site::{CIVIL, Site},
    small_disk::{SmallDisk, fill},
    wire::Caller,
};
use tonic::{Code, Status};

const DISK_MIB: u64 = 1024;
const MIN_FREE_MIB: u64 = 256;

async fn publish(scene: &Scene, queue: &str) -> Result<(), Status> {
    let messages = vec![NewMessage { payload: vec![7; 900_000].into(), ..NewMessage::default() }; 4];
    let request =
        PublishRequest { queue: queue.to_owned(), messages, atomic: true, ..PublishRequest::default() };
    scene.caller.publisher().publish(scene.caller.request(request)).await.map(drop)
}

/// Receives and acks this many messages.
async fn consume(scene: &Scene, queue: &str, count: usize) -> Vec<u64> {
    let mut sequences = Vec::new();
    while sequences.len() < count {
        let delivery = scene.receive(queue, 1, LONG).await.remove(0);
        scene.settled(queue, settlement(&delivery, SettleAction::Ack)).await;
        sequences.push(delivery.message.unwrap().sequence);
    }
    sequences
}

fn sizes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|e| if e.path().is_dir() { sizes(&e.path()) } else { e.metadata().map_or(0, |m| m.len()) })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_full_refuses_publishes_serves_consumers_and_starts_again() {
    let site = Site::new();
    let free = MIN_FREE_MIB << 20;
    site.configure(&[("shards = 4", &format!("shards = 4\nmin_free_disk_bytes = {free}"))]);
    let Some(disk) = SmallDisk::mount(&site.state(), DISK_MIB << 10) else { return };
    let mut server = Server::run(&site, disk.serve(&site));
    server.ready(&site).await;
    let credentials = site.credentials(CIVIL);
    let caller = Caller::connect(&site, &credentials).await;
    let mut scene = Scene { site, server, caller, credentials };
    let queue = scene.plain_queue("q").await;
    let ballast = disk.inside(&scene.site.data()).join("BALLAST");
    let held = || ballast.metadata().is_ok_and(|file| file.len() == (MIN_FREE_MIB << 20) / 4);
    eventually("the ballast", async || held().then_some(())).await;

    let mut acked = 0;
    let refused = loop {
        match publish(&scene, &queue).await {
            Ok(()) => acked += 4,
            Err(status) => break Err::<(), _>(status),
        }
        assert!(acked < 2_000, "the disk is never full");
    };
    assert!(scene.server.runs(), "{}", scene.server.log());
    assert_refused(refused, Code::ResourceExhausted, "DISK_FULL");
    assert!(acked > 0);
    // The flush that this asks for shall be done before other writes fill the disk.
    let data = disk.inside(&scene.site.data());
    let before = std::cell::Cell::new((0, 0));
    eventually("an end of the flush", async || {
        let now = sizes(&data);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let (then, times) = before.get();
        before.set(if then == now { (now, times + 1) } else { (now, 0) });
        (before.get().1 >= 5).then_some(())
    })
    .await;

    let filler = disk.inside(&scene.site.state()).join("filler");
    fill(&filler);
    eventually("the ballast to be given up", async || (!ballast.exists()).then_some(())).await;
    assert_refused(publish(&scene, &queue).await, Code::ResourceExhausted, "DISK_FULL");
    let mut consumed = consume(&scene, &queue, 10).await;

    // The same after the disk was filled while the server was down.
    fs::remove_file(&filler).unwrap();
    eventually("the ballast", async || held().then_some(())).await;
    scene.server.kill();
    fill(&filler);
    scene.server = Server::run(&scene.site, disk.serve(&scene.site));
    scene.server.ready(&scene.site).await;
    scene.caller = Caller::connect(&scene.site, &scene.credentials).await;
    assert_refused(publish(&scene, &queue).await, Code::ResourceExhausted, "DISK_FULL");
    consumed.extend(consume(&scene, &queue, acked - consumed.len()).await);
    let expected: Vec<u64> = (1..).take(acked).collect();
    consumed.sort_unstable();
    assert_eq!(consumed, expected, "what was acknowledged is there, once");

    fs::remove_file(filler).unwrap();
    eventually("publishing again", async || publish(&scene, &queue).await.ok()).await;
    let request = v1::GetQueueRequest { name: queue };
    scene.caller.queues().get_queue(scene.caller.request(request)).await.unwrap();
}
