//! `--ndjson`: `publish` accepts what `consume` writes; a broken line is named, and no line after it is published.

use std::{
    fs,
    path::{Path, PathBuf},
};

use posthouse_tests::harness::{
    cli,
    server::Server,
    site::{CIVIL, Site},
};
use serde_json::{Value, json};

struct Fixture {
    site: Site,
    _server: Server,
    context: PathBuf,
}

impl Fixture {
    async fn new() -> Self {
        let site = Site::new();
        let server = Server::start(&site).await;
        let context = site.context_file(CIVIL);
        Self { site, _server: server, context }
    }

    fn publish(&self, code: i32, queue: &str, lines: &[u8]) -> (String, String) {
        let file = self.site.path("lines");
        fs::write(&file, lines).unwrap();
        let arguments =
            ["publish".as_ref(), queue.as_ref(), "--ndjson".as_ref(), "--file".as_ref(), file.as_os_str()];
        cli::end(code, &self.context, arguments)
    }
}

fn consume(context: &Path, queue: &str) -> Vec<u8> {
    cli::succeed(context, ["consume", queue, "--until-empty", "--ndjson"])
}

fn objects(lines: &[u8]) -> Vec<Value> {
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice(line)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
        })
        .collect()
}

/// The messages without what differs between deliveries.
fn contents(lines: &[u8]) -> Vec<Value> {
    let keep = |object: Value| json!([object["payload"], object["payload_base64"], object["attributes"]]);
    objects(lines).into_iter().map(keep).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_consumed_can_be_published() {
    let fixture = Fixture::new().await;
    let (first, second) = ("identity-cards/first", "identity-cards/second");
    for queue in [first, second] {
        cli::succeed(&fixture.context, ["queue", "create", queue]);
    }
    let lines = [
        r#"{"payload":"plain"}"#,
        r#"{"payload":""}"#,
        r#"{"attributes":{"kind":"renewal","":"no"},"payload":"x"}"#,
        r#"{"payload":"\u7b7e\u53d1 \u0000\n\"\\ \ud83d\udcee","attributes":{"k":"\u00e9"}}"#,
        r#"{"payload_base64":"/wD+AAEC"}"#,
        r#"{"payload_base64":""}"#,
    ];
    // An empty key is refused, with its line.
    let (printed, errors) = fixture.publish(65, first, lines.join("\n").as_bytes());
    assert_eq!(printed, "{\"stored\": 2}\n");
    assert!(errors.contains("line 3: an attribute's key has 0 bytes"), "{errors}");
    consume(&fixture.context, first);

    let lines = lines.join("\n").replace(",\"\":\"no\"", "");
    assert_eq!(fixture.publish(0, first, lines.as_bytes()).0, "{\"stored\": 6}\n");
    let received = consume(&fixture.context, first);
    let object = &objects(&received)[4];
    assert_eq!(object["payload_base64"], "/wD+AAEC");
    for key in ["id", "sequence", "publish_time", "attempt"] {
        assert!(!object[key].is_null(), "{object}");
    }
    assert_eq!(objects(&received)[3]["payload"], "签发 \0\n\"\\ 📮");

    assert_eq!(fixture.publish(0, second, &received).0, "{\"stored\": 6}\n");
    let again = cli::succeed(&fixture.context, ["consume", second, "--until-empty", "--output", "json"]);
    assert_eq!(contents(&again), contents(&received));
    assert_ne!(objects(&again)[0]["id"], objects(&received)[0]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_line_is_named_and_ends_it() {
    let fixture = Fixture::new().await;
    let queue = "identity-cards/applications";
    cli::succeed(&fixture.context, ["queue", "create", queue, "--max-message-bytes", "1000"]);
    let attributes = |pairs: Vec<(String, String)>| {
        let attributes: serde_json::Map<String, Value> =
            pairs.into_iter().map(|(key, value)| (key, value.into())).collect();
        json!({ "payload": "p", "attributes": attributes }).to_string()
    };
    let many = attributes((0..65).map(|n| (format!("k{n}"), String::new())).collect());
    let broken: Vec<(Vec<u8>, &str)> = [
        ("", "the line is empty"),
        ("{\"payload\": \"a\"", "not JSON at column 15"),
        ("plain text", "not JSON at column 1"),
        ("[1, 2]", "a list in the place of an object"),
        ("{\"payload\": \"a\", \"colour\": 1}", "unknown key \"colour\""),
        ("{\"payload\": \"a\", \"payload_base64\": \"\"}", "payload and payload_base64 stand there both"),
        ("{\"payload\": \"a\", \"payload\": \"b\"}", "the key \"payload\" stands there twice"),
        ("{\"attributes\": {}}", "neither payload nor payload_base64"),
        ("{\"payload_base64\": \"a-_b\"}", "not base64 of the standard alphabet"),
        ("{\"payload\": 7}", "payload is a number; it has to be a text"),
        ("{\"payload\": \"\", \"attributes\": {\"n\": 7}}", "is a number; it has to be a text"),
        (&*many, "the message has 65 attributes and may have 64"),
        (&*attributes(vec![("k".repeat(129), String::new())]), "key has 129 bytes and may have 1 to 128"),
        (&*attributes(vec![("k".into(), "v".repeat(1025))]), "has 1025 bytes and may have 1,024"),
        (
            &*json!({ "payload": "x".repeat(1001) }).to_string(),
            "the payload has 1001 bytes and the queue takes 1000",
        ),
        (&*json!({ "payload": "x".repeat(700_000) }).to_string(), "is longer than"),
    ]
    .map(|(line, what)| (line.as_bytes().to_vec(), what))
    .into_iter()
    .chain([(b"{\"payload\": \"\xff\"}".to_vec(), "not UTF-8 at byte 13")])
    .collect();
    let number = broken.len();
    for (line, what) in broken {
        let lines = [b"{\"payload\": \"before\"}", &line[..], b"{\"payload\": \"after\"}"].join(&b"\n"[..]);
        let (printed, errors) = fixture.publish(65, queue, &lines);
        assert_eq!(printed, "{\"stored\": 1}\n", "{errors}");
        assert!(errors.contains("line 2") && errors.contains(what), "{what} is not in\n{errors}");
        assert!(errors.contains("the line before it is stored, and nothing after it"), "{errors}");
    }
    let received = cli::succeed(&fixture.context, ["consume", queue, "--until-empty"]);
    assert_eq!(String::from_utf8(received).unwrap(), "before\n".repeat(number));
    let (printed, errors) = fixture.publish(65, queue, b"{}\n");
    assert!(printed == "{\"stored\": 0}\n" && errors.contains("nothing was stored"), "{errors}");
}
