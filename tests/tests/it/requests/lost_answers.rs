//! The command line repeats a change whose answer was lost on the way.

use posthouse_proto::v1::{self, SettleAction};
use posthouse_tests::harness::{
    binaries, eventually,
    relay::Relay,
    scene::{LONG, Scene, queue_name, settlement, text},
    site::{CIVIL, Credentials},
};

/// A relay to the server that loses the next answer.
struct Lossy {
    scene: Scene,
    relay: Relay,
    credentials: Credentials,
}

impl Lossy {
    async fn start() -> Self {
        let scene = Scene::start().await;
        let relay = Relay::to(scene.site.listen()).await;
        let credentials = scene.site.credentials(CIVIL);
        Self { scene, relay, credentials }
    }

    /// Runs a command whose first answer is lost once its change can be seen; returns what it wrote, and how it ended.
    async fn run(&self, arguments: &[&str], is_done: impl AsyncFn(&Scene) -> bool) -> (Option<i32>, String) {
        let context = self.scene.site.write_context_to(CIVIL, &self.credentials, self.relay.address());
        let accepted = self.relay.accepted();
        self.relay.lose_the_next_answers();
        let child = tokio::process::Command::new(binaries::posthouse())
            .arg("--context")
            .arg(context)
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        eventually("the change", async || is_done(&self.scene).await.then_some(())).await;
        self.relay.cut();
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(self.relay.accepted(), accepted + 2, "the command did not come again");
        let printed = String::from_utf8(output.stdout).unwrap();
        println!("{arguments:?}: {:?} {printed}{}", output.status, String::from_utf8_lossy(&output.stderr));
        (output.status.code(), printed)
    }
}

async fn exists(scene: &Scene, queue: &str) -> bool {
    let request = scene.caller.request(v1::GetQueueRequest { name: queue_name(queue) });
    scene.caller.queues().get_queue(request).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_answer_was_lost_ends_well() {
    let lossy = Lossy::start().await;
    let name = "household-registry/q";
    let ended = lossy.run(&["queue", "create", name], async |scene| exists(scene, "q").await).await;
    assert_eq!(ended, (Some(0), format!("{}\n", queue_name("q"))));

    let queue = queue_name("q");
    let attempts = async |scene: &Scene| {
        let request = scene.caller.request(v1::GetQueueRequest { name: queue_name("q") });
        let queue = scene.caller.queues().get_queue(request).await.unwrap().into_inner();
        queue.default_subscription.unwrap().max_attempts == 3
    };
    let update = ["queue", "update", name, "--max-attempts", "3", "--etag", "1"];
    let (code, printed) = lossy.run(&update, attempts).await;
    assert!(code == Some(0) && printed.contains("\"etag\": \"2\""), "{code:?} {printed}");

    let scene = &lossy.scene;
    scene.publish(&queue, &["one", "two"]).await;
    let empty = async |scene: &Scene| scene.stats(&queue_name("q")).await.ready == 0;
    let ended = lossy.run(&["queue", "purge", name], empty).await;
    assert_eq!(ended, (Some(0), "{\"purged\": 2}\n".to_owned()));

    for text in ["a", "b"] {
        scene.fail(&queue, text).await;
    }
    let one_left = async |scene: &Scene| scene.stats(&queue_name("q")).await.parked == 1;
    let ended = lossy.run(&["dead-letters", "redrive", name, "--max", "1"], one_left).await;
    assert_eq!(ended, (Some(0), "{\"redriven\": 1, \"skipped\": 0}\n".to_owned()));
    assert_eq!(scene.stats(&queue).await.parked, 1, "the repeat moved nothing");
    let held = scene.receive_one(&queue, LONG).await;
    assert_eq!(text(&held), "a");
    scene.settled(&queue, settlement(&held, SettleAction::Ack)).await;

    let is_deleted = async |scene: &Scene| !exists(scene, "q").await;
    let ended = lossy.run(&["queue", "delete", name], is_deleted).await;
    assert_eq!(ended, (Some(0), String::new()));
}
