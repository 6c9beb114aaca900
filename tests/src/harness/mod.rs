//! Runs the real binary, with all that it and its callers need.

pub mod cli;
pub mod collector;
pub mod frames;
pub mod http2;
pub mod log;
pub mod pipes;
pub mod probe;
pub mod process;
pub mod proxy;
pub mod publishing;
pub mod raw;
pub mod refusal;
pub mod relay;
pub mod scene;
pub mod server;
pub mod site;
pub mod small_disk;
pub mod stream;
pub mod tls;
pub mod tombstones;
pub mod wire;

use std::time::{Duration, Instant};

pub use crate::binaries;

/// How long anything may take before a test fails. It is long because the machine may be busy; a test that passes never
/// waits for it.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Sends a signal to a process, by its name without `SIG`.
pub fn signal(process: u32, name: &str) {
    let (script, pid) = (format!("kill -{name} \"$0\""), process.to_string());
    let sent = std::process::Command::new("sh").args(["-c", &script, &pid]).status().unwrap();
    assert!(sent.success(), "{name} could not be sent to {process}");
}

/// A shell to start programs that should handle SIGHUP, even when the tests run under `nohup`, which every program they
/// start inherits.
pub fn shell() -> std::process::Command {
    let mut command = std::process::Command::new("env");
    command.args(["--default-signal=HUP", "sh"]);
    command
}

/// Asks repeatedly until there is an answer; fails the test after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen within {PATIENCE:?}");
}
