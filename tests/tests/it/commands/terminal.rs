//! Text of other callers neither controls a terminal nor shows its reader a different text.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use posthouse_client::{Client, Context, NewMessage};
use posthouse_tests::harness::{
    cli,
    pipes::Terminal,
    server::Server,
    site::{CIVIL, Site},
};

const QUEUE: &str = "identity-cards/applications";
/// A title, a colour, the clipboard (OSC 52) with C0 and with C1 controls, a carriage return, text that runs backwards,
/// and bytes that are no text.
const HOSTILE: &[u8] =
    b"\x1b]0;title\x07 \x1b[31m \x1b]52;c;aGk=\x07 \xc2\x9d52;c;aGk=\xc2\x9c \xc2\x9b2J \r \x7f \
      \xe2\x80\xae\xe2\x81\xa6 \xff\xc0 end";
const HARMFUL: [char; 7] = ['\u{1b}', '\u{7}', '\u{9b}', '\u{9d}', '\u{7f}', '\u{202e}', '\u{2066}'];

struct Fixture {
    _site: Site,
    _server: Server,
    context: PathBuf,
}

impl Fixture {
    async fn with_hostile_messages(count: usize) -> Self {
        let site = Site::new();
        let server = Server::start(&site).await;
        let context = site.context_file(CIVIL);
        cli::succeed(&context, ["queue", "create", QUEUE]);
        let client = Client::connect(Context::load(&context).unwrap()).await.unwrap();
        let publisher = client.publisher(QUEUE).open().await.unwrap();
        let text = String::from_utf8_lossy(HOSTILE).into_owned();
        for _ in 0..count {
            let message = NewMessage::new(HOSTILE).attributes([("from", text.as_str())]);
            publisher.publish(message).await.unwrap().await.unwrap();
        }
        publisher.close().await.unwrap();
        Self { _site: site, _server: server, context }
    }
}

/// What a command shows on a terminal, up to `last`.
fn shown(context: &Path, arguments: &[&str], last: &str) -> Vec<u8> {
    let mut terminal = Terminal::open();
    let program = terminal.program();
    let mut command: Command = cli::command(context, arguments);
    let mut child = command.stdin(Stdio::null()).stdout(program).stderr(Stdio::piped()).spawn().unwrap();
    let shown = terminal.read_until(last.as_bytes());
    assert!(child.wait().unwrap().success());
    shown
}

fn assert_harmless(shown: &[u8]) {
    let text = std::str::from_utf8(shown).unwrap_or_else(|_| panic!("not UTF-8: {shown:?}"));
    let harmful: Vec<char> = text.chars().filter(|character| HARMFUL.contains(character)).collect();
    assert!(harmful.is_empty(), "{harmful:?} in {text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_shown_on_a_terminal_and_exact_everywhere_else() {
    let fixture = Fixture::with_hostile_messages(5).await;
    let one = |more: &'static [&'static str]| [&["consume", QUEUE, "--count", "1"], more].concat();
    let seen = shown(&fixture.context, &one(&[]), " end");
    assert_harmless(&seen);
    let text = String::from_utf8(seen).unwrap();
    for escaped in
        ["\\u{1b}]0;title\\u{7}", "\\u{9b}2J", "\\u{202e}\\u{2066}", "\\xff\\xc0", " \\r ", "\\u{7f}"]
    {
        assert!(text.contains(escaped), "{escaped} is not in {text}");
    }
    // The terminal itself puts a carriage return before a line feed; nothing else is changed.
    let raw = shown(&fixture.context, &one(&["--raw"]), " end");
    assert!(raw.windows(HOSTILE.len()).any(|window| window == HOSTILE), "{raw:?}");
    assert_eq!(cli::succeed(&fixture.context, one(&[])), [HOSTILE, b"\n"].concat());

    // JSON has no such characters on any output, and the same content.
    let seen = shown(&fixture.context, &one(&["--ndjson"]), "}\r\n");
    let piped = cli::succeed(&fixture.context, one(&["--ndjson"]));
    for json in [seen, piped] {
        assert_harmless(&json);
        let line: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(line["attributes"]["from"], String::from_utf8_lossy(HOSTILE).into_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_consumed_as_json_is_published_again_the_same() {
    let fixture = Fixture::with_hostile_messages(1).await;
    let line = cli::succeed(&fixture.context, ["consume", QUEUE, "--until-empty", "--ndjson"]);
    let file = fixture._site.path("line");
    std::fs::write(&file, line).unwrap();
    cli::succeed(&fixture.context, ["publish", QUEUE, "--ndjson", "--file", file.to_str().unwrap()]);
    let again = cli::succeed(&fixture.context, ["consume", QUEUE, "--until-empty"]);
    assert_eq!(again, [HOSTILE, b"\n"].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_repeat_names_without_what_moves_a_terminal() {
    let fixture = Fixture::with_hostile_messages(0).await;
    let name = "identity-cards/a\u{1b}[31m\u{9b}\u{202e}\n";
    for arguments in [["queue", "describe", name], ["message", "find", name], ["dead-letters", "list", name]]
    {
        let output = cli::run(&fixture.context, arguments);
        assert!(!output.status.success());
        assert_harmless(&output.stderr);
    }
}
