//! The servers of `echo` and `bare` under load, each in a process of its own, as every measured server is.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use posthouse::bench::latency;
use posthouse_proto::v1::{PublishStreamRequest, PublishStreamResponse};
use tokio::{
    task::JoinSet,
    time::{sleep_until, timeout},
};
use tonic::transport::Channel;

use super::{
    BARE_COMMAND, ECHO_COMMAND, Limit, LimitLoad, certificates, door,
    load::{self, Answer, LimitTally, Span},
    usage::Usage,
};
use crate::{
    row::Row,
    system::process::{PATIENCE, Process, free_address, until_ready},
};

const WARM_UP: Duration = Duration::from_secs(2);

/// Measures `echo`.
pub async fn measure_echo(folder: &Path, load: LimitLoad) -> Result<Row> {
    let child = Child::start(own_program()?, ECHO_COMMAND, folder).await?;
    child.measure::<PublishStreamRequest>(Limit::Echo, load).await
}

/// Measures `bare`.
pub async fn measure_bare(folder: &Path, load: LimitLoad) -> Result<Row> {
    let child = Child::start(own_program()?, BARE_COMMAND, folder).await?;
    child.measure::<PublishStreamResponse>(Limit::Bare, load).await
}

fn own_program() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("where is this program?")?))
}

/// The process of a limit's server. Dropping it kills the process.
#[derive(Debug)]
pub struct Child {
    process: Process,
    address: SocketAddr,
    certificates: PathBuf,
}

impl Child {
    /// Starts this program with the subcommand. Its certificates, data and log are below `folder`.
    pub async fn start(mut program: Command, subcommand: &str, folder: &Path) -> Result<Self> {
        let (certificates, data, address) =
            (folder.join("certificates"), folder.join("data"), free_address()?);
        certificates::write(&certificates)?;
        fs::create_dir_all(&data)?;
        program.arg(subcommand).arg("--listen").arg(address.to_string());
        program.arg("--certificates").arg(&certificates).arg("--data").arg(&data);
        let mut process = Process::start(subcommand, program, &folder.join(format!("{subcommand}.log")))?;
        until_ready(&mut process, || door::connect(address, &certificates)).await?;
        Ok(Self { process, address, certificates })
    }

    /// Opens a new connection.
    pub async fn connect(&self) -> Result<Channel> {
        door::connect(self.address, &self.certificates).await
    }

    /// Measures the server under this load, and stops it.
    pub async fn measure<A: Answer>(self, limit: Limit, load: LimitLoad) -> Result<Row> {
        let from = Instant::now() + WARM_UP;
        let span = Span { from, until: from + Duration::from_secs_f64(load.seconds) };
        let mut connections = JoinSet::new();
        for _ in 0..load.connections {
            let channel = self.connect().await?;
            connections.spawn(load::run::<A>(channel, load, span));
        }
        let (tally, used) = tokio::join!(collect(connections, span), self.watch(span));
        let (tally, [server, client]) = (tally?, used?);
        let mut row = load.row(limit);
        load::fill(&mut row, tally.messages, load.seconds, &tally.latencies);
        (row.server_cpu_seconds, row.client_cpu_seconds) = (server.cpu_seconds, client.cpu_seconds);
        row.disk_bytes = server.written_bytes;
        self.process.stop().await?;
        Ok(row)
    }

    /// What the server and this process use during the span.
    async fn watch(&self, span: Span) -> Result<[Usage; 2]> {
        let now = || Ok::<_, anyhow::Error>((Usage::of(self.process.id())?, Usage::own()?));
        sleep_until(span.from.into()).await;
        let (server, client) = now()?;
        sleep_until(span.until.into()).await;
        let (server_then, client_then) = now()?;
        Ok([server_then.since(server), client_then.since(client)])
    }
}

async fn collect(mut connections: JoinSet<Result<LimitTally>>, span: Span) -> Result<LimitTally> {
    let mut all = LimitTally { messages: 0, latencies: latency::histogram()? };
    let patience = span.until.saturating_duration_since(Instant::now()) + PATIENCE;
    let joined = timeout(patience, async {
        while let Some(tally) = connections.join_next().await {
            let tally = tally??;
            all.messages += tally.messages;
            all.latencies.add(&tally.latencies)?;
        }
        Ok::<_, anyhow::Error>(())
    });
    joined.await.context("the server does not answer any more")??;
    Ok(all)
}
