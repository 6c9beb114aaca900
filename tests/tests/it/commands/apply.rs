//! `posthouse apply`: a file defines the queues.

use std::{
    fs,
    path::{Path, PathBuf},
};

use posthouse_tests::harness::{
    cli,
    server::Server,
    site::{CIVIL, Site},
};

const FILE: &str = "\
# A queue stands before its dead-letter queue here; it is made after it.
[departments.identity-cards.queues.applications]
max_attempts = 5
dead_letter_queue = \"failed\"

[departments.identity-cards.queues.failed]

[departments.household-registry.queues.moves]
lease_seconds = 120
max_message_bytes = 4096
";

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

    fn file(&self, text: &str) -> PathBuf {
        let path = self.site.path("queues.toml");
        fs::write(&path, text).unwrap();
        path
    }

    fn apply(&self, code: i32, text: &str, more: &[&str]) -> (String, String) {
        let file = self.file(text);
        let mut arguments = vec!["apply".as_ref(), "-f".as_ref(), file.as_os_str()];
        arguments.extend(more.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
        cli::end(code, &self.context, arguments)
    }

    fn describe(&self, queue: &str) -> serde_json::Value {
        serde_json::from_slice(&cli::succeed(&self.context, ["queue", "describe", queue])).unwrap()
    }
}

fn exists(context: &Path, queue: &str) -> bool {
    cli::run(context, ["queue", "describe", queue]).status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_twice_changes_nothing_the_second_time() {
    let fixture = Fixture::new().await;
    let (printed, _) = fixture.apply(0, FILE, &["--dry-run"]);
    assert!(printed.ends_with("3 to create, 0 to change, 0 unchanged; nothing was done\n"), "{printed}");
    assert!(!exists(&fixture.context, "identity-cards/failed"));
    let (printed, _) = fixture.apply(2, FILE, &["--diff", "--exit-code"]);
    assert_eq!(printed.matches("\n+ ").count() + usize::from(printed.starts_with("+ ")), 3, "{printed}");

    let (printed, _) = fixture.apply(0, FILE, &[]);
    assert!(printed.ends_with("3 created, 0 changed, 0 unchanged\n"), "{printed}");
    let position = |queue| printed.find(queue).unwrap();
    assert!(position("/queues/failed") < position("/queues/applications"), "{printed}");
    let before = fixture.describe("identity-cards/applications");
    assert_eq!(before["max_attempts"], 5);
    let (printed, _) = fixture.apply(0, FILE, &[]);
    assert!(printed.ends_with("0 created, 0 changed, 3 unchanged\n"), "{printed}");
    assert!(printed.lines().take(3).all(|line| line.starts_with("= ")), "{printed}");
    assert_eq!(fixture.describe("identity-cards/applications")["etag"], before["etag"]);
    fixture.apply(0, FILE, &["--dry-run", "--exit-code"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_shown_and_changed_and_nothing_is_deleted() {
    let fixture = Fixture::new().await;
    fixture.apply(0, FILE, &[]);
    let changed = "[departments.identity-cards.queues.applications]\nlease_seconds = 45\n";
    let (printed, _) = fixture.apply(0, changed, &[]);
    let queue = "tenants/civil-affairs/departments/identity-cards/queues/applications";
    let expected = format!(
        "~ {queue}\n    lease_seconds: 30 -> 45\n    max_attempts: 5 -> 16\n    dead_letter_queue: \"failed\" -> \
         none\n0 created, 1 changed, 0 unchanged\n"
    );
    assert_eq!(printed, expected);
    let now = fixture.describe("identity-cards/applications");
    assert_eq!((&now["lease_seconds"], &now["max_attempts"]), (&45.0.into(), &16.into()));
    assert!(now["dead_letter_queue"].is_null());
    assert!(exists(&fixture.context, "household-registry/moves"));

    // The other way round: the target gets a target.
    let turned = "tenant = \"civil-affairs\"\n[departments.identity-cards.queues.failed]\n\
                  dead_letter_queue = \"applications\"\n[departments.identity-cards.queues.applications]\n";
    fixture.apply(0, FILE, &[]);
    let (printed, _) = fixture.apply(0, turned, &[]);
    assert!(printed.ends_with("0 created, 2 changed, 0 unchanged\n"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_wrong_changes_nothing() {
    let fixture = Fixture::new().await;
    let wrong = format!("{FILE}[departments.identity-cards.queues.Bad]\nlease_seconds = 0\ncolor = 1\n");
    let (printed, errors) = fixture.apply(65, &wrong, &[]);
    assert_eq!(printed, "");
    for part in [
        "has 3 errors; nothing was asked or changed",
        "line 11: departments.identity-cards.queues.Bad: the queue has 'B'",
        "line 12: departments.identity-cards.queues.Bad.lease_seconds: has to be a whole number from 1 to 43200",
        "line 13: departments.identity-cards.queues.Bad.color: unknown key; known are max_message_bytes",
    ] {
        assert!(errors.contains(part), "{part} is not in\n{errors}");
    }
    let missing = "[departments.identity-cards.queues.a]\ndead_letter_queue = \"nowhere\"\n";
    let (_, errors) = fixture.apply(65, missing, &[]);
    assert!(errors.contains("line 1: departments.identity-cards.queues.a"), "{errors}");
    assert!(errors.contains("\"nowhere\" is neither in this file nor on the server"), "{errors}");
    let (_, errors) = fixture.apply(66, "[departments.nowhere.queues.a]\n", &[]);
    assert!(errors.contains("line 1: departments.nowhere.queues.a: "), "{errors}");
    let foreign = "tenant = \"taxation\"\n[departments.returns.queues.a]\n";
    fixture.apply(77, foreign, &[]);
    let list = cli::succeed(&fixture.context, ["queue", "list", "identity-cards"]);
    assert!(list.is_empty());
    cli::end(66, &fixture.context, ["apply", "-f", "/nowhere/queues.toml"]);
}
