//! `posthouse message find` and `posthouse dead-letters`: where a message is, and how a dead letter is redriven.

use posthouse_proto::v1::SettleAction;
use posthouse_tests::harness::{
    cli,
    scene::{LONG, Scene, queue_name, settlement},
    site::CIVIL,
};
use serde_json::Value;

const SHORT_NAME: &str = "household-registry/moves";

fn objects(lines: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(lines).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_followed_into_the_dead_letter_queue_and_back() {
    let scene = Scene::start().await;
    let context = scene.site.context_file(CIVIL);
    cli::succeed(&context, ["queue", "create", "household-registry/failed"]);
    let create = ["queue", "create", SHORT_NAME, "--dead-letter-queue", "failed"];
    cli::succeed(&context, create);
    let (queue, failed) = (queue_name("moves"), queue_name("failed"));
    scene.publish(&queue, &["one", "two"]).await;
    let deliveries = scene.receive(&queue, 1, LONG).await;
    let id = deliveries[0].message.as_ref().unwrap().id.clone();
    let find = |id: &str| String::from_utf8(cli::succeed(&context, ["message", "find", id])).unwrap();
    let printed = find(&id);
    assert!(printed.contains(&queue) && printed.contains("leased: a consumer has it until"), "{printed}");

    scene.settled(&queue, settlement(&deliveries[0], SettleAction::DeadLetter)).await;
    let printed = find(&id);
    for part in ["settled", "It is a dead letter now:", &failed, "ready to be delivered", "consumer", &id] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
    let object = &objects(&cli::succeed(&context, ["message", "find", &id, "--json"]))[0];
    assert_eq!((&object["state"], &object["became"]["state"]), (&"settled".into(), &"ready".into()));
    assert_eq!(object["became"]["dead_letter"]["source_message_id"], *id);

    let list = ["dead-letters", "list", "household-registry/failed"];
    let table = String::from_utf8(cli::succeed(&context, list)).unwrap();
    assert!(table.starts_with("MESSAGE ") && table.lines().count() == 2 && table.contains(&queue), "{table}");
    let letters = objects(&cli::succeed(&context, list.iter().chain(&["--json"])));
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["id"], object["became"]["id"]);
    let empty = cli::succeed(&context, ["dead-letters", "list", SHORT_NAME]);
    assert!(empty.is_empty());

    let letter = letters[0]["id"].as_str().unwrap();
    let redrive = ["dead-letters", "redrive", "household-registry/failed"];
    cli::end(64, &context, redrive);
    cli::end(64, &context, redrive.iter().chain(&["--all", "--max", "1"]));
    let printed = cli::succeed(&context, redrive.iter().chain(&["--message", letter]));
    assert_eq!(printed, b"{\"redriven\": 1, \"skipped\": 0}\n");
    let (printed, errors) = cli::end(75, &context, redrive.iter().chain(&["--message", letter]));
    assert_eq!(printed, "{\"redriven\": 0, \"skipped\": 1}\n");
    assert!(errors.contains("1 stay where they are"), "{errors}");
    let printed = cli::succeed(&context, redrive.iter().chain(&["--all"]));
    assert_eq!(printed, b"{\"redriven\": 0, \"skipped\": 0}\n");
    let received = cli::succeed(&context, ["consume", SHORT_NAME, "--until-empty"]);
    assert_eq!(String::from_utf8(received).unwrap(), "two\none\n");
    let printed = find(&id);
    assert!(printed.contains("It is not among the dead letters of"), "{printed}");
    // It is refused as if the caller had no grant for it.
    let never = cli::run(&context, ["message", "find", "AAAAAQAAAAIAAAAAAAAAACo"]);
    assert!(matches!(never.status.code(), Some(66 | 77)), "{}", never.status);
}
