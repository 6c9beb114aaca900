//! Server processes of a run: started, watched and stopped.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

/// Longest start or stop of a server.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Longest attempt to reach a server: a client library may wait for ever for a server that did not listen yet.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Time between two checks of a process.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A process that this run started. Dropping it kills it and its descendants.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a command as the head of a new process group; its output goes to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let file = File::create(log).with_context(|| format!("the log of {name}"))?;
        let errors = file.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0).spawn();
        let child =
            child.with_context(|| format!("{name} does not start: is it installed? `make bench` does"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process and its descendants.
    pub fn family(&self) -> Vec<u32> {
        family(self.id())
    }

    /// Fails if the process has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}", self.name),
        }
    }

    /// Sends SIGTERM and waits until the process has ended.
    pub async fn stop(mut self) -> Result<()> {
        signal(self.id(), libc::SIGTERM);
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > PATIENCE {
                bail!("{} does not stop", self.name);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // First the descendants, since a child may lead another group; the head is killed first and starts no new ones.
        // Then the whole group, of which no process may be left.
        if matches!(self.child.try_wait(), Ok(None)) {
            for id in self.family() {
                signal(id, libc::SIGKILL);
            }
        }
        signal_group(self.id(), libc::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats the attempt until it succeeds, while the process runs.
pub async fn until_ready<T, F>(process: &mut Process, attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    until_one_ends(process, ATTEMPT, attempt).await
}

async fn until_one_ends<T, F>(
    process: &mut Process,
    longest: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let start = Instant::now();
    loop {
        process.check()?;
        let ended = tokio::time::timeout(longest, attempt()).await;
        match ended.unwrap_or_else(|_| Err(anyhow!("an attempt took longer than {longest:?}"))) {
            Ok(ready) => return Ok(ready),
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(error.context("the server does not answer"));
            }
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// A free port of the loopback, outside of the range for outgoing connections.
pub fn free_address() -> Result<SocketAddr> {
    use rand::RngExt as _;
    let mut random = rand::rng();
    for _ in 0..1_000 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, random.random_range(10_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port between 10000 and 32000")
}

/// A process and its descendants.
pub fn family(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    all
}

#[allow(unsafe_code, reason = "kill(2) takes two numbers and touches no memory")]
fn signal(id: u32, number: i32) {
    if let Ok(id) = libc::pid_t::try_from(id) {
        // SAFETY: see the reason above.
        unsafe { libc::kill(id, number) };
    }
}

#[allow(unsafe_code, reason = "killpg(2) takes two numbers and touches no memory")]
fn signal_group(id: u32, number: i32) {
    if let Ok(id) = libc::pid_t::try_from(id) {
        // SAFETY: see the reason above.
        unsafe { libc::killpg(id, number) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_attempt_that_never_ends_is_not_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut process = Process::start("sleep", command, &folder.path().join("log")).unwrap();
        let mut attempts = 0;
        let ready = until_one_ends(&mut process, Duration::from_millis(10), || {
            attempts += 1;
            let first = attempts == 1;
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                Ok("ready")
            }
        });
        assert_eq!(ready.await.unwrap(), "ready");
        assert_eq!(attempts, 2);
    }
}
