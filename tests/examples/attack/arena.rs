//! A server of its own for each attack.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use posthouse_client::Client;
use posthouse_tests::{
    attack::{self, Prepare, Target},
    harness::{
        cli,
        server::Server,
        site::{CIVIL, Site},
    },
};
use serde_json::Value;

use super::options::Options;

/// The neighbour's queue.
const QUEUE: &str = "household-registry/neighbour";
/// The longest that a ping may take.
const PING: Duration = Duration::from_secs(5);

pub struct Arena {
    pub site: Site,
    pub server: Server,
    pub target: Target,
    neighbour: PathBuf,
    binary: PathBuf,
    processor: Option<String>,
}

impl Arena {
    /// Starts a server with these limits of open files, on one processor if it is named.
    pub async fn start(options: &Options, processor: Option<&str>, files: &str) -> Self {
        let (site, server) = loop {
            match launch(options, processor, files).await {
                Ok(started) => break started,
                // Another program has bound the port meanwhile.
                Err(refusal) if refusal.contains("Address already in use") => {}
                Err(refusal) => panic!("{refusal}"),
            }
        };
        let neighbour = site.context_file(CIVIL);
        cli::succeed(&neighbour, ["queue", "create", QUEUE]);
        let target = Target::of(&site, options.seed);
        let processor = processor.map(str::to_owned);
        Self { site, server, target, neighbour, binary: options.server.clone(), processor }
    }

    /// Starts a server with the file limits that this program was started with.
    pub async fn usual(options: &Options, processor: Option<&str>) -> Self {
        Self::start(options, processor, &format!("{}:{}", options.files.0, options.files.1)).await
    }

    /// Makes what an attack needs.
    pub async fn prepare(&self, prepare: Prepare) {
        attack::prepare(&self.site, &self.target, prepare).await;
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Runs `posthouse bench pipeline` as the neighbour; its report, or `None` if it took longer than `patience`.
    pub async fn bench(&self, arguments: &str, patience: Duration) -> Option<Value> {
        let mut command = tokio::process::Command::new("taskset");
        command.arg("-c").arg(self.processor.as_deref().unwrap_or("0-1023")).arg(&self.binary);
        command.arg("--context").arg(&self.neighbour).args(["bench", "pipeline", QUEUE, "--json"]);
        command.args(arguments.split(' ')).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(patience, command.output()).await.ok()?.unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    /// How long a caller with a new connection waits for the answer to a ping; `None` if there was none.
    pub async fn ping(&self) -> Option<Duration> {
        let begun = Instant::now();
        let context = self.site.context(CIVIL);
        let ping = async { Client::connect(context).await?.ping().await };
        matches!(tokio::time::timeout(PING, ping).await, Ok(Ok(()))).then(|| begun.elapsed())
    }

    /// What is wrong with the server, or `None`.
    pub async fn fault(&mut self) -> Option<String> {
        if !self.server.runs() {
            return Some("the server has ended".to_owned());
        }
        if self.server.log().contains("panicked") {
            return Some("the server panicked".to_owned());
        }
        let mut asked = 0;
        while self.ping().await.is_none() {
            asked += 1;
            if asked == 3 {
                return Some("no answer to a ping afterwards".to_owned());
            }
        }
        None
    }
}

/// Starts a server in a new folder; the error is what the server wrote when it ended.
async fn launch(options: &Options, processor: Option<&str>, files: &str) -> Result<(Site, Server), String> {
    let site = Site::new();
    attack::add_rsa_key(&site);
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={files}"));
    if let Some(processor) = processor {
        command.args(["taskset", "-c", processor]);
    }
    command.arg(&options.server).arg("serve").arg("--config").arg(site.config());
    let mut server = Server::run(&site, command);
    server.try_ready(&site).await?;
    Ok((site, server))
}
