//! The server's output and files, searched for what they must not contain: payloads and attributes only as stored
//! messages, tokens and keys nowhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use posthouse_proto::v1::{self, NewMessage, SettleAction};
use posthouse_tests::harness::{
    binaries, eventually,
    probe::scrape,
    scene::{LONG, Scene, settlement},
    server::Server,
    site::{CIVIL, Site},
    stream::{Stream, open},
    wire::Caller,
};
use tonic::Status;

const PAYLOAD: &str = "canary-of-a-payload-7f3b0c55";
const ATTRIBUTE: &str = "canary-of-an-attribute-a1908be2";
const FORGED: &str = "canary.of.a-token-that-is-none-55d1";

/// A server that logs at the finest level.
async fn start() -> Scene {
    let site = Site::with_sections(
        "[access]\nfile = \"access.jsonl\"\nrecords = \"all\"\n[metrics]\ntenants = true\n",
    );
    let mut command = std::process::Command::new(binaries::posthouse());
    command.arg("serve").arg("--config").arg(site.config()).env("POSTHOUSE_LOG", "trace");
    let mut server = Server::run(&site, command);
    server.ready(&site).await;
    let credentials = site.credentials(CIVIL);
    let caller = Caller::connect(&site, &credentials).await;
    Scene { site, server, caller, credentials }
}

/// A message with both canaries.
fn message(payload: &str) -> NewMessage {
    let attributes = [(ATTRIBUTE.to_owned(), ATTRIBUTE.to_owned())].into();
    NewMessage { payload: payload.to_owned().into(), attributes }
}

async fn publish(scene: &Scene, queue: &str, messages: Vec<NewMessage>) -> Result<(), Status> {
    let request = v1::PublishRequest { queue: queue.to_owned(), messages, ..v1::PublishRequest::default() };
    let answer = scene.caller.publisher().publish(scene.caller.request(request)).await?.into_inner();
    for result in answer.results {
        if let Some(v1::publish_result::Result::Error(error)) = result.result {
            return Err(Status::with_details(
                error.code.into(),
                error.message,
                error.details.concat_values(),
            ));
        }
    }
    Ok(())
}

/// The bytes of all details.
trait Concat {
    fn concat_values(self) -> bytes::Bytes;
}

impl Concat for Vec<prost_types::Any> {
    fn concat_values(self) -> bytes::Bytes {
        self.into_iter().flat_map(|any| any.value).collect()
    }
}

/// Sends messages by every way, and has every kind of call refused that could repeat its input; returns all error
/// texts.
async fn live(scene: &Scene) -> String {
    let queue = scene.queue("q", v1::SubscriptionSettings { max_attempts: 1, ..Default::default() }).await;
    publish(scene, &queue, vec![message(PAYLOAD), message(PAYLOAD), message(PAYLOAD)]).await.unwrap();
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 1)).await;
    let streamed = stream.deliveries(1).await.remove(0);
    assert_eq!(posthouse_tests::harness::scene::text(&streamed), PAYLOAD);
    scene.settled(&queue, settlement(&streamed, SettleAction::Nack)).await;
    let delivery = scene.receive(&queue, 1, LONG).await.remove(0);
    scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;

    let mut errors = Vec::new();
    let long = format!("{ATTRIBUTE}{}", "x".repeat(2_000));
    let attributes = [[(long.clone(), String::new())], [(ATTRIBUTE.to_owned(), long)]];
    for attributes in attributes {
        let wrong = NewMessage { attributes: attributes.into(), ..message(PAYLOAD) };
        errors.push(publish(scene, &queue, vec![wrong]).await.unwrap_err());
    }
    let large = NewMessage { payload: format!("{PAYLOAD}{}", "x".repeat(2 << 20)).into(), ..message("") };
    errors.push(publish(scene, &queue, vec![large]).await.unwrap_err());
    let token = &scene.credentials.token;
    for wrong in [FORGED.to_owned(), format!("{token}x"), token[..token.len() - 4].to_owned()] {
        let stranger = scene.caller.with_token(Some(&wrong));
        let request = stranger.request(v1::GetQueueRequest { name: queue.clone() });
        errors.push(stranger.queues().get_queue(request).await.unwrap_err());
    }
    errors
        .iter()
        .map(|status| format!("{status:?}\n{}\n", String::from_utf8_lossy(status.details())))
        .collect()
}

/// The secrets, each with its name: whole, and in the parts that could be printed alone.
fn secrets(scene: &Scene) -> Vec<(String, &'static str)> {
    let token = &scene.credentials.token;
    let signature = token.rsplit('.').next().unwrap();
    let key_line = |pem: &str| pem.lines().nth(1).unwrap().to_owned();
    vec![
        (signature.to_owned(), "a token's signature"),
        (FORGED.to_owned(), "a forged token"),
        (key_line(&scene.credentials.certificate.key_pem), "a client's key"),
        (key_line(&fs::read_to_string(scene.site.path("server.key")).unwrap()), "the server's key"),
    ]
}

fn contents() -> [(String, &'static str); 2] {
    [(PAYLOAD.to_owned(), "a payload"), (ATTRIBUTE.to_owned(), "an attribute")]
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_told_or_kept_holds_a_secret() {
    let mut scene = start().await;
    let errors = live(&scene).await;
    let metrics = scrape(scene.site.management()).await;
    eventually("all records", async || {
        let records = fs::read_to_string(scene.site.path("access.jsonl")).unwrap();
        let all = ["publish", "deliver", "settle", "manage", "refused"];
        all.iter().all(|action| records.contains(&format!("\"{action}\""))).then_some(())
    })
    .await;
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0));

    let log = scene.server.log();
    // Otherwise the server would not have logged at the finest level.
    for level in [" TRACE ", " DEBUG "] {
        assert!(log.lines().filter(|line| line.contains(level)).count() > 100, "{level} is not logged");
    }
    let records = fs::read_to_string(scene.site.path("access.jsonl")).unwrap();
    let shown = [("the log", log), ("a record", records), ("an error", errors), ("a metric", metrics)];
    for (where_shown, text) in &shown {
        for (secret, what) in contents().into_iter().chain(secrets(&scene)) {
            assert!(!text.contains(&secret), "{where_shown} has {what}");
        }
    }

    // Messages are stored in plain in log and store, so a search that finds them there would find a secret too.
    let stored: Vec<Vec<u8>> = files(&scene.site.data()).iter().map(|path| fs::read(path).unwrap()).collect();
    for (content, what) in contents() {
        assert!(stored.iter().any(|bytes| holds(bytes, &content)), "{what} is not on the disk");
    }
    for (secret, what) in secrets(&scene) {
        assert!(!stored.iter().any(|bytes| holds(bytes, &secret)), "a file has {what}");
    }
}
