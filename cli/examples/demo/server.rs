//! The server as a process, so that the demo can kill it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use crate::Failed;

/// Longest start of a server, with recovery on a slow machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// `posthouse dev` on one folder and port.
pub struct Server {
    binary: PathBuf,
    folder: PathBuf,
    listen: SocketAddr,
    process: Child,
}

impl Server {
    /// Starts a server on a free port.
    pub async fn start(folder: &Path) -> Result<Self, Failed> {
        let binary = beside_this_program("posthouse")?;
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let process = spawn(&binary, folder, listen)?;
        let mut server = Self { binary, folder: folder.to_owned(), listen, process };
        server.wait_until_it_answers().await?;
        Ok(server)
    }

    /// The context file of a tenant.
    pub fn context(&self, tenant: &str) -> PathBuf {
        self.folder.join(format!("contexts/{tenant}.toml"))
    }

    /// Sends SIGKILL, and runs the same command again. Returns the time until the server answers.
    pub async fn kill_and_restart(&mut self) -> Result<Duration, Failed> {
        self.process.kill().await?;
        let killed = Instant::now();
        self.process = spawn(&self.binary, &self.folder, self.listen)?;
        self.wait_until_it_answers().await?;
        Ok(killed.elapsed())
    }

    /// Sends SIGTERM and waits for the exit.
    pub async fn stop(mut self) -> Result<(), Failed> {
        let id = self.process.id().ok_or("the server has ended by itself")?;
        // The shell's `kill`: a minimal system has no other.
        Command::new("sh").args(["-c", &format!("kill {id}")]).status().await?;
        let status = self.process.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }

    /// Runs `posthouse ping` until it succeeds.
    async fn wait_until_it_answers(&mut self) -> Result<(), Failed> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("the server ended with {status}").into());
            }
            let context = self.context("civil-affairs");
            let mut ping = Command::new(&self.binary);
            ping.arg("--context").arg(context).arg("ping").stdout(Stdio::null()).stderr(Stdio::null());
            if ping.status().await?.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err("the server does not answer".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn spawn(binary: &Path, folder: &Path, listen: SocketAddr) -> Result<Child, Failed> {
    let mut command = Command::new(binary);
    command.arg("dev").arg("--dir").arg(folder).arg("--listen").arg(listen.to_string());
    // Warnings of the server are shown, its progress is not.
    command.env("POSTHOUSE_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command.spawn().map_err(|error| format!("{}: {error}", binary.display()).into())
}

/// Cargo puts examples into a folder below that of the binaries.
fn beside_this_program(name: &str) -> Result<PathBuf, Failed> {
    let here = std::env::current_exe()?;
    let folder = here.ancestors().nth(2).ok_or("this program stands nowhere")?;
    Ok(folder.join(name))
}
