//! Writes for which the kernel ends or stops a process: to a file at its size limit, and to a terminal from the
//! background.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    time::Instant,
};

use posthouse_tests::harness::{
    PATIENCE, binaries, cli, eventually,
    pipes::Terminal,
    probe::{scrape, value},
    scene::Scene,
    server::Server,
    signal,
    site::{CIVIL, Site},
    wire::Caller,
};

/// Far more than any file of the store.
const LIMIT: u64 = 8 << 30;
const SECTIONS: &str = "[access]\nfile = \"access.jsonl\"\n";

fn limited(command: &Command, bytes: u64) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--fsize={bytes}")).arg("--").arg(command.get_program()).args(command.get_args());
    limited
}

async fn metric(site: &Site, name: &str) -> f64 {
    value(&scrape(site.management()).await, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_at_its_limit_drops_lines_holds_records_and_ends_no_server() {
    let site = Site::with_sections(SECTIONS);
    // Both are sparse files that are full but for a few bytes.
    let (log, records) = (site.path("stderr.log"), site.path("access.jsonl"));
    for (path, left) in [(&log, 10), (&records, 700)] {
        File::create(path).unwrap().set_len(LIMIT - left).unwrap();
    }
    let stderr = File::options().append(true).open(&log).unwrap();
    let mut command = limited(&super::serve(&site), LIMIT);
    command.env("POSTHOUSE_LOG", "trace");
    let mut server = Server::run_with_streams(&site, command, None, stderr.into());
    let credentials = site.credentials(CIVIL);
    server.ready_for(&site, &credentials).await;
    let caller = Caller::connect(&site, &credentials).await;
    let mut scene = Scene { site, server, caller, credentials };
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    scene.publish(&queue, &["b"]).await;
    eventually("dropped lines and a record that waits", async || {
        let dropped = metric(&scene.site, "posthouse_log_lines_dropped_total").await;
        let failures = metric(&scene.site, "posthouse_access_write_failures_total").await;
        (dropped > 0.0 && failures > 0.0).then_some(())
    })
    .await;
    assert!(fs::metadata(&log).unwrap().len() <= LIMIT && scene.server.runs());
    // After it is moved away, all records are there: one that was begun in the old file is complete in the new one.
    fs::rename(&records, scene.site.path("old")).unwrap();
    eventually("all records", async || {
        (metric(&scene.site, "posthouse_access_records_waiting").await == 0.0).then_some(())
    })
    .await;
    let text = fs::read_to_string(&records).unwrap();
    assert!(text.ends_with('\n') && text.lines().all(|line| line.starts_with('{')), "{text}");
    assert!(text.contains("\"publish\""), "{text}");
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_at_its_limit_ends_a_command_with_its_exit_code_and_loses_no_message() {
    let site = Site::new();
    let _server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    let queue = "identity-cards/applications";
    cli::succeed(&context, ["queue", "create", queue]);
    let lines: String = (0..5_000).map(|number| format!("{number:0200}\n")).collect();
    fs::write(site.path("lines"), &lines).unwrap();
    cli::succeed(&context, ["publish", queue, "--file", site.path("lines").to_str().unwrap()]);
    let output = File::create(site.path("out")).unwrap();
    let consume = cli::command(&context, ["consume", queue, "--until-empty"]);
    let ended = limited(&consume, 100_000).stdout(output).output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.code() == Some(74) && printed.contains("File too large"),
        "{}: {printed}",
        ended.status
    );
    let rest = String::from_utf8(cli::succeed(&context, ["consume", queue, "--until-empty"])).unwrap();
    // A batch that was written in part is delivered again.
    let written = fs::read_to_string(site.path("out")).unwrap();
    assert!(lines.ends_with(&rest) && written.len() + rest.len() >= lines.len());
    // Where nothing can be written at all, stderr does not change the exit code.
    let log = File::create(site.path("stderr")).unwrap();
    let mut wrong = limited(&Command::new(binaries::posthouse()), 0);
    assert_eq!(wrong.arg("no-such-command").stderr(log).status().unwrap().code(), Some(64));
}

/// Kills a process that is no child of the test.
struct Guard(u32);

impl Drop for Guard {
    fn drop(&mut self) {
        if fs::exists(format!("/proc/{}", self.0)).unwrap_or_default() {
            signal(self.0, "KILL");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_the_background_is_not_stopped_by_its_terminal() {
    for dev in [false, true] {
        let site = Site::with_sections(SECTIONS);
        let terminal = Terminal::open();
        // A session of its own on the terminal, where programs in the background may not write.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait", "sh", "-c"]);
        let server = if dev { "dev --dir \"$1/dev\" --listen \"$2\"" } else { "serve --config \"$3\"" };
        session.arg(format!(
            "stty tostop; set -m; \"$0\" {server} & echo $! > \"$1/pid.new\"; mv \"$1/pid.new\" \"$1/pid\"; wait $!; \
             echo $? > \"$1/code.new\"; mv \"$1/code.new\" \"$1/code\""
        ));
        session
            .arg(binaries::posthouse())
            .arg(site.path(""))
            .arg(site.listen().to_string())
            .arg(site.config());
        let stream = || Stdio::from(terminal.program());
        let mut child = session.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let read = |name: &str| fs::read_to_string(site.path(name)).ok().map(|text| text.trim().to_owned());
        let pid: u32 = eventually("the server", async || read("pid")?.parse().ok()).await;
        let _guard = Guard(pid);
        let context =
            if dev { site.path("dev/contexts/civil-affairs.toml") } else { site.context_file(CIVIL) };
        let begun = Instant::now();
        eventually("a ping", async || cli::run(&context, ["ping"]).status.success().then_some(())).await;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(!status.contains("State:\tT"), "{status}");
        if !dev {
            assert!(metric(&site, "posthouse_log_lines_dropped_total").await > 0.0);
        }
        // It does not even try.
        signal(pid, "TTOU");
        cli::succeed(&context, ["ping"]);
        signal(pid, "TERM");
        let code = eventually("its end", async || read("code")).await;
        assert_eq!(code, "0", "dev: {dev}");
        assert!(begun.elapsed() < PATIENCE);
        child.wait().unwrap();
    }
}
