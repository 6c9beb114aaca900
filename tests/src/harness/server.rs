//! A process of the server.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use posthouse_client::{Client, Context};

use super::{
    PATIENCE, binaries, eventually,
    site::{CIVIL, Credentials, Site},
};
use crate::powercut::PowerCut;

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `posthouse serve` and waits until it answers.
    pub async fn start(site: &Site) -> Self {
        let mut server = Self::launch(site, &binaries::posthouse(), None);
        server.ready(site).await;
        server
    }

    /// Starts a binary on the site, with the power-cut library if `cut` is set. Does not wait.
    pub fn launch(site: &Site, binary: &Path, cut: Option<&PowerCut>) -> Self {
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(site.config());
        if let Some(cut) = cut {
            cut.arm(&mut command);
        }
        Self::run(site, command)
    }

    /// Starts any command as the server of the site. Does not wait.
    pub fn run(site: &Site, command: Command) -> Self {
        let log = site.log();
        let file = File::create(&log).unwrap();
        let errors = file.try_clone().unwrap();
        Self::run_into(log, command, file.into(), errors.into())
    }

    /// Starts the server of the site with these standard streams. Does not wait; only what goes to stdout is kept as a
    /// log, if no stdout is passed.
    pub fn with_streams(site: &Site, stdout: Option<Stdio>, stderr: Stdio) -> Self {
        let mut command = Command::new(binaries::posthouse());
        command.arg("serve").arg("--config").arg(site.config());
        Self::run_with_streams(site, command, stdout, stderr)
    }

    /// Starts any command as the server of the site with these standard streams.
    pub fn run_with_streams(site: &Site, command: Command, stdout: Option<Stdio>, stderr: Stdio) -> Self {
        let log = site.log();
        let file = File::create(&log).unwrap();
        Self::run_into(log, command, stdout.unwrap_or_else(|| file.into()), stderr)
    }

    fn run_into(log: PathBuf, mut command: Command, stdout: Stdio, stderr: Stdio) -> Self {
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
        Self { child, log }
    }

    /// Waits until the server answers a ping.
    pub async fn ready(&mut self, site: &Site) {
        self.try_ready(site).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    }

    /// Waits until the server answers a caller with these credentials.
    pub async fn ready_for(&mut self, site: &Site, credentials: &Credentials) {
        let context = Context::load(site.write_context(CIVIL, credentials)).unwrap();
        self.answers(context).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    }

    /// Waits until the server answers a ping; if it ends before that, returns its exit status and log.
    pub async fn try_ready(&mut self, site: &Site) -> Result<(), String> {
        self.answers(site.context(CIVIL)).await
    }

    async fn answers(&mut self, context: Context) -> Result<(), String> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("the server ended with {status} instead of starting:\n{}", self.log()));
            }
            let ping = async { Client::connect(context.clone()).await?.ping().await };
            let error = match tokio::time::timeout(Duration::from_secs(5), ping).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer to a ping".to_owned(),
            };
            assert!(start.elapsed() < PATIENCE, "the server does not answer: {error}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and does not wait.
    pub fn terminate(&self) {
        super::signal(self.id(), "TERM");
    }

    /// Sends SIGHUP: a closed terminal, or a request to read files again.
    pub fn hang_up(&self) {
        super::signal(self.id(), "HUP");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process is running.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The log, once this is in it: a line is written a moment after what it reports.
    pub async fn logged(&self, what: &str) -> String {
        let log = async || Some(self.log()).filter(|log| log.contains(what));
        eventually(&format!("{what:?} in the log"), log).await
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
