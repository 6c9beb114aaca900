//! Completions, manual pages, help, and what commands write without a terminal.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use posthouse_tests::harness::{
    binaries, cli,
    server::Server,
    site::{CIVIL, Site},
};

fn posthouse(arguments: &[&str]) -> Output {
    Command::new(binaries::posthouse()).args(arguments).env_remove("POSTHOUSE_CONTEXT").output().unwrap()
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(posthouse(&["completions", shell]));
        for word in ["posthouse", "consume", "until-empty", "dry-run"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    assert_eq!(posthouse(&["completions", "cobol"]).status.code(), Some(64));
    // Bash is everywhere: it accepts the script, and defines the function.
    let script = format!("{}\ntype _posthouse > /dev/null", text(posthouse(&["completions", "bash"])));
    let shell = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let page = text(posthouse(&["man"]));
    assert!(page.contains(".TH posthouse 1"), "{page}");
    assert!(page.contains("Exit codes:"));
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("man1");
    text(posthouse(&["man", "--dir", into.to_str().unwrap()]));
    for page in ["posthouse", "posthouse-publish", "posthouse-queue-update", "posthouse-store-check"] {
        let page = fs::read_to_string(into.join(format!("{page}.1"))).unwrap();
        assert!(page.contains(".TH "), "{page}");
    }
    let failed = posthouse(&["man", "--dir", "/proc/nowhere"]);
    assert_eq!(failed.status.code(), Some(74));
}

#[test]
fn help_tells_exit_codes_and_the_environment() {
    let help = text(posthouse(&["--help"]));
    for part in ["Examples:", "Exit codes:", " 65  ", "POSTHOUSE_CONTEXT", "NO_COLOR"] {
        assert!(help.contains(part), "{part} is not in\n{help}");
    }
    assert_eq!(posthouse(&[]).status.code(), Some(64));
    assert_eq!(posthouse(&["nonsense"]).status.code(), Some(64));
    let none = posthouse(&["ping"]);
    assert_eq!(none.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&none.stderr).contains("next: give --context FILE"));
    assert_eq!(posthouse(&["--context", "/nowhere/context.toml", "ping"]).status.code(), Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipe_nothing_but_the_result_is_written() {
    let site = Site::new();
    let server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    let queue = "identity-cards/quiet";
    cli::succeed(&context, ["queue", "create", queue]);
    fs::write(site.path("lines"), "a\n".repeat(1000)).unwrap();
    let lines = site.path("lines");
    let publish = ["publish".as_ref(), queue.as_ref(), "--file".as_ref(), lines.as_os_str()];
    let quiet = |output: &Output| output.status.success() && output.stderr.is_empty();
    assert!(quiet(&cli::run(&context, publish)));
    assert!(quiet(&cli::run(&context, ["consume", queue, "--until-empty"])));
    // On a terminal, progress is shown unless --quiet is set.
    for (quiet, seen) in [("", true), ("--quiet", false)] {
        let shown = on_a_terminal(&context, &format!("publish {queue} {quiet} --file {}", lines.display()));
        assert_eq!(shown.contains('\u{1b}'), seen, "{shown:?}");
        assert!(shown.contains("{\"stored\": 1000}"), "{shown:?}");
    }
    drop(server);
    cli::end(69, &context, ["ping"]);
}

/// What a command shows on a terminal.
fn on_a_terminal(context: &Path, arguments: &str) -> String {
    let call = format!("{} --context {} {arguments}", binaries::posthouse().display(), context.display());
    let output = Command::new("script").args(["-qec", &call, "/dev/null"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
