//! A `posthouse dev` for one test, and commands against it.

use std::{
    ffi::OsStr,
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(60);

/// The server, which is killed when this is dropped.
pub struct Dev {
    folder: tempfile::TempDir,
    process: Child,
}

impl Dev {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthouse"));
        command.arg("dev").arg("--dir").arg(folder.path().join("dev"));
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        let process = command.env("POSTHOUSE_LOG", "warn").stdout(Stdio::null()).spawn().unwrap();
        let dev = Self { folder, process };
        until("the server answers", || dev.run(["ping"], b"").status.success());
        dev
    }

    /// Starts a server and creates a queue.
    pub fn with_queue(name: &str, settings: &[&str]) -> Self {
        let dev = Self::start();
        let created = dev.run(["queue", "create", name].iter().chain(settings), b"");
        assert!(created.status.success(), "{created:?}");
        dev
    }

    /// A command with the context of the tenant `taxation`, not started yet.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthouse"));
        command.args(args).env("POSTHOUSE_CONTEXT", self.context("taxation"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn context(&self, tenant: &str) -> PathBuf {
        self.folder.path().join(format!("dev/contexts/{tenant}.toml"))
    }

    /// Runs a command to its end.
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &[u8]) -> Output {
        let mut child = self.command(args).spawn().unwrap();
        // A command that fails early does not read its input.
        child.stdin.take().unwrap().write_all(input).ok();
        child.wait_with_output().unwrap()
    }

    /// The number of messages of a queue that are ready.
    pub fn ready(&self, queue: &str) -> u64 {
        let described = self.run(["queue", "describe", queue], b"");
        let description: serde_json::Value = serde_json::from_slice(&described.stdout).unwrap();
        description["stats"]["ready"].as_u64().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Sends SIGINT, as a terminal does.
pub fn interrupt(child: &Child) {
    // The shell's `kill`: a minimal system has no other.
    let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Polls until the condition is true.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
