//! The server's log tells neither payloads nor tokens.

use posthouse_proto::v1::SettleAction;
use posthouse_tests::harness::scene::{LONG, Scene, settlement};
use posthouse_tests::harness::server::Server;
use posthouse_tests::harness::site::CIVIL;
use posthouse_tests::harness::{binaries, site::Site};

const CANARY: &str = "canary-7f3b0c55";

#[tokio::test(flavor = "multi_thread")]
async fn its_log_has_no_secret() {
    // Every word that the server can say.
    let site = Site::new();
    let mut command = std::process::Command::new(binaries::posthouse());
    command.arg("serve").arg("--config").arg(site.config()).env("RUST_LOG", "trace");
    let mut server = Server::run(&site, command);
    server.ready(&site).await;
    let credentials = site.credentials(CIVIL);
    let caller = posthouse_tests::harness::wire::Caller::connect(&site, &credentials).await;
    let scene = Scene { site, server, caller, credentials };
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &[CANARY]).await;
    let delivery = scene.receive_one(&queue, LONG).await;
    scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;
    let mut forged = scene.credentials.token.clone();
    forged.push('x');
    let stranger = scene.caller.with_token(Some(&forged));
    let request = posthouse_proto::v1::GetQueueRequest { name: queue };
    stranger.queues().get_queue(stranger.request(request)).await.unwrap_err();

    let log = scene.server.log();
    let signature = scene.credentials.token.rsplit('.').next().unwrap();
    let key: String = scene.credentials.certificate.key_pem.lines().skip(1).take(1).collect();
    for (secret, what) in [(CANARY, "payload"), (signature, "token"), (&key, "key")] {
        assert!(!log.contains(secret), "the log has a {what}");
    }
}
