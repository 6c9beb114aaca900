//! `consume` acknowledges nothing that it cannot write.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use posthouse_tests::harness::{
    binaries, cli,
    server::Server,
    site::{CIVIL, Site},
};

const QUEUE: &str = "identity-cards/applications";
const LINES: usize = 5000;

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
        cli::succeed(&context, ["queue", "create", QUEUE]);
        let lines: String = (0..LINES).map(|number| format!("{number:0200}\n")).collect();
        let file = site.path("lines");
        std::fs::write(&file, lines).unwrap();
        cli::succeed(&context, ["publish".as_ref(), QUEUE.as_ref(), "--file".as_ref(), file.as_os_str()]);
        Self { site, _server: server, context }
    }

    /// Consumes in a shell, with stdout redirected.
    fn consume(&self, redirection: &str) -> Output {
        let client = cli::command(&self.context, ["consume", QUEUE, "--until-empty"]);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirection}"));
        shell.arg(client.get_program()).args(client.get_args());
        shell.current_dir(self.site.path("")).output().unwrap()
    }

    fn left(&self) -> usize {
        let left = cli::succeed(&self.context, ["consume", QUEUE, "--until-empty"]);
        left.iter().filter(|byte| **byte == b'\n').count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_stdout_nothing_is_acknowledged() {
    let fixture = Fixture::new().await;
    for redirection in [">&-", "<&- >&- 2>told", "1</dev/null", "1</etc/hostname"] {
        let output = fixture.consume(redirection);
        let apart = std::fs::read_to_string(fixture.site.path("told")).unwrap_or_default();
        let printed = String::from_utf8_lossy(&output.stderr) + &*apart;
        assert_eq!(output.status.code(), Some(74), "{redirection}: {printed}");
        assert!(printed.contains("stdout is not open for writing"), "{redirection}: {printed}");
    }
    let full = fixture.consume("> /dev/full");
    assert_eq!(full.status.code(), Some(74), "{}", String::from_utf8_lossy(&full.stderr));
    assert_eq!(fixture.left(), LINES);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_thrown_away_on_purpose_is_gone() {
    let fixture = Fixture::new().await;
    assert!(fixture.consume("> /dev/null").status.success());
    assert_eq!(fixture.left(), 0);
    // As Python and Node set it up for a program whose output nobody reads.
    cli::succeed(
        &fixture.context,
        ["publish", QUEUE, "--file", fixture.site.path("lines").to_str().unwrap()],
    );
    assert!(fixture.consume("1<>/dev/null").status.success());
    assert_eq!(fixture.left(), 0);
}

/// How a command with redirected streams ends, and what it reports.
fn redirected(context: &Path, arguments: &[&str], redirections: &str) -> (Option<i32>, String) {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirections}")).arg(binaries::posthouse());
    let output = shell.arg("--context").arg(context).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_has_something_to_say_does_nothing_without_a_stdout() {
    let fixture = Fixture::new().await;
    let (file, other) = (fixture.site.path("lines"), "identity-cards/other");
    let file = file.to_str().unwrap();
    let data = fixture.site.data();
    for arguments in [
        &["queue", "create", other][..],
        &["queue", "list", "identity-cards"],
        &["queue", "stats", QUEUE],
        &["queue", "purge", QUEUE],
        &["publish", QUEUE, "--file", file],
        &["dead-letters", "redrive", QUEUE, "--all"],
        &["token", "inspect"],
        &["store", "check", data.to_str().unwrap()],
        &["completions", "bash"],
        &["man"],
        &["ping"],
    ] {
        for redirection in [">&-", "1</dev/null"] {
            let (code, printed) = redirected(&fixture.context, arguments, redirection);
            assert!(
                code == Some(74) && printed.contains("stdout is not open for writing"),
                "{arguments:?} {redirection}: {code:?} {printed}"
            );
        }
        if !arguments.contains(&"check") {
            let (code, printed) = redirected(&fixture.context, arguments, "1<>/dev/null");
            let made = [Some(0), Some(66)].contains(&code);
            assert!(made || arguments[0] == "dead-letters", "{arguments:?}: {code:?} {printed}");
        }
    }
    // Commands that write nothing there, or that say the same by their exit code.
    let config = fixture.site.config();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["serve", "--check", "--config", config.to_str().unwrap()],
        &["queue", "delete", other],
    ] {
        let (code, printed) = redirected(&fixture.context, arguments, ">&-");
        assert_eq!((code, printed.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdin_that_is_closed_is_no_empty_input() {
    let fixture = Fixture::new().await;
    for arguments in [&["publish", QUEUE][..], &["apply", "-f", "-"], &["token", "inspect", "-"]] {
        for redirection in ["<&-", "0>/dev/null"] {
            let (code, printed) = redirected(&fixture.context, arguments, redirection);
            assert!(
                code == Some(74) && printed.contains("stdin is not open for reading"),
                "{arguments:?} {redirection}: {code:?} {printed}"
            );
        }
    }
    let (code, printed) = redirected(&fixture.context, &["publish", QUEUE], "</dev/null");
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(fixture.left(), LINES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_leaves_the_rest_in_the_queue() {
    let fixture = Fixture::new().await;
    let mut client = cli::command(&fixture.context, ["consume", QUEUE, "--until-empty"]);
    let mut child = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before anything was read: no batch fits the pipe, so none is acknowledged.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{printed}");
    assert!(printed.contains("writing to stdout failed"), "{printed}");
    assert_eq!(fixture.left(), LINES);
}
