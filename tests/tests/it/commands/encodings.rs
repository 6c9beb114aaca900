//! Files as editors on other systems save them: with a byte-order mark, with other line ends, as UTF-16.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use posthouse_tests::harness::{binaries, cli, site::CIVIL};

use super::{Fixture, QUEUE};

const MARK: &str = "\u{feff}";

impl Fixture {
    fn publish(&self, code: i32, bytes: &[u8]) -> (String, String) {
        let file = self.site.path("lines");
        fs::write(&file, bytes).unwrap();
        let arguments =
            ["publish".as_ref(), QUEUE.as_ref(), "--ndjson".as_ref(), "--file".as_ref(), file.as_os_str()];
        cli::end(code, &self.context, arguments)
    }

    fn consume(&self) -> String {
        String::from_utf8(cli::succeed(&self.context, ["consume", QUEUE, "--until-empty"])).unwrap()
    }
}

fn wide(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

fn check(config: &Path) -> Output {
    Command::new(binaries::posthouse()).args(["serve", "--check", "--config"]).arg(config).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_json_may_have_a_mark_and_empty_lines_at_their_end() {
    let fixture = Fixture::new().await;
    let one = "{\"payload\":\"a\"}";
    for (text, stored) in [
        (format!("{MARK}{one}\n"), 1),
        (format!("{one}\n\n"), 1),
        (format!("{one}\n\n\n \n\t"), 1),
        (format!("{MARK}{one}\r\n{one}\r\n\r\n\r\n"), 2),
        (format!("{one}\n{MARK}{one}\n"), 2),
        ("\n\n".to_owned(), 0),
        (MARK.to_owned(), 0),
        (String::new(), 0),
    ] {
        let (printed, errors) = fixture.publish(0, text.as_bytes());
        assert_eq!(printed, format!("{{\"stored\": {stored}}}\n"), "{text:?}: {errors}");
        assert_eq!(fixture.consume(), "a\n".repeat(stored), "{text:?}");
    }
    // Between other lines, an empty line may be half of a lost message.
    for empty in ["\n", "\r\n", " \n\n"] {
        let (printed, errors) = fixture.publish(65, format!("{one}\n{empty}{one}\n").as_bytes());
        assert_eq!(printed, "{\"stored\": 1}\n", "{empty:?}");
        assert!(errors.contains("line 2: the line is empty, and others follow it"), "{errors}");
        assert_eq!(fixture.consume(), "a\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn utf_16_is_named_wherever_text_is_read() {
    let fixture = Fixture::new().await;
    for order in [u16::to_le_bytes, u16::to_be_bytes] {
        for mark in ["", MARK] {
            let text = |text: &str| wide(&format!("{mark}{text}"), order);
            let (printed, errors) = fixture.publish(65, &text("{\"payload\":\"a\"}\n{\"payload\":\"b\"}\n"));
            assert_eq!(printed, "{\"stored\": 0}\n");
            assert!(errors.contains("line 1: it is UTF-16"), "{errors}");

            let file = fixture.site.path("queues.toml");
            fs::write(&file, text("[departments.identity-cards.queues.q]\n")).unwrap();
            let arguments = ["apply".as_ref(), "-f".as_ref(), file.as_os_str()];
            let (_, errors) = cli::end(65, &fixture.context, arguments);
            assert!(errors.contains("it is UTF-16") && errors.contains("queues.toml"), "{errors}");

            let context = fixture.site.path("contexts/wide.toml");
            fs::write(&context, text(&fs::read_to_string(&fixture.context).unwrap())).unwrap();
            for command in [&["ping"][..], &["token", "inspect"]] {
                let (_, errors) = cli::end(78, &context, command);
                assert!(errors.contains("it is UTF-16") && errors.contains("wide.toml"), "{errors}");
            }

            let token = fixture.site.path("contexts/wide.token");
            fs::write(&token, text(&fs::read_to_string(fixture.context.with_extension("token")).unwrap()))
                .unwrap();
            let arguments = ["token".as_ref(), "inspect".as_ref(), token.as_os_str()];
            let (_, errors) = cli::end(65, &fixture.context, arguments);
            assert!(errors.contains("it is UTF-16"), "{errors}");

            let config = fixture.site.path("wide.toml");
            fs::write(&config, text(&fs::read_to_string(fixture.site.config()).unwrap())).unwrap();
            let checked = check(&config);
            let errors = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.code() == Some(78) && errors.contains("it is UTF-16"), "{errors}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_is_accepted_in_every_file() {
    let fixture = Fixture::new().await;
    let files = [
        fixture.site.config(),
        fixture.site.path("server.pem"),
        fixture.site.path("server.key"),
        fixture.site.path(&format!("authorities/{CIVIL}.pem")),
        fixture.site.path(&format!("issuers/{CIVIL}.jwks.json")),
        fixture.site.path("server-authority.pem"),
        fixture.context.clone(),
        fixture.context.with_extension("pem"),
        fixture.context.with_extension("key"),
        fixture.context.with_extension("token"),
    ];
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{MARK}{text}")).unwrap();
    }
    let checked = check(&fixture.site.config());
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    cli::succeed(&fixture.context, ["ping"]);
    let inspected = String::from_utf8(cli::succeed(&fixture.context, ["token", "inspect"])).unwrap();
    assert!(inspected.contains("to the certificate ") && inspected.contains(": that of "), "{inspected}");
    let queues = fixture.site.path("queues.toml");
    fs::write(&queues, format!("{MARK}[departments.identity-cards.queues.applications]\n")).unwrap();
    cli::succeed(&fixture.context, ["apply".as_ref(), "-f".as_ref(), queues.as_os_str()]);
    // A payload is bytes: in plain lines a byte-order mark is a part of it.
    let lines = fixture.site.path("lines");
    fs::write(&lines, format!("{MARK}plain\n")).unwrap();
    let arguments = ["publish".as_ref(), QUEUE.as_ref(), "--file".as_ref(), lines.as_os_str()];
    cli::succeed(&fixture.context, arguments);
    assert_eq!(fixture.consume(), format!("{MARK}plain\n"));
}
