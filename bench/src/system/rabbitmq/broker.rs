//! Processes of RabbitMQ: the broker, and the port mapper (epmd) of Erlang nodes.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::super::process::{Process, free_address, until_ready};

/// The start script; the one on Debian's PATH would switch to another user.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const LOG: &str = "rabbitmq.log";

/// What [`CONFIG`] and [`ADVANCED`] change, for the report.
pub const SETTINGS_IN_WORDS: &str = "memory high watermark 0.6, backlog 1024, \
     quorum_commands_soft_limit 1024";

const CONFIG: &str = "\
vm_memory_high_watermark.relative = 0.6
tcp_listen_options.backlog = 1024
tcp_listen_options.nodelay = true
log.console = true
log.console.level = info
log.file = false
";

// A channel waits for the queue when it has not handled this many publishes.
const ADVANCED: &str = "[{rabbit, [{quorum_commands_soft_limit, 1024}]}].\n";

/// A node and its port mapper.
#[derive(Debug)]
pub struct Broker {
    // Declared first, so that it is dropped before the port mapper.
    node: Process,
    mapper: Process,
    address: SocketAddr,
    log: PathBuf,
}

impl Broker {
    /// Starts both and waits until the node accepts connections.
    pub async fn start(folder: &Path) -> Result<Self> {
        let mapper_port = free_address()?.port();
        let mapper = start_mapper(folder, mapper_port)?;
        let address = free_address()?;
        let log = folder.join(LOG);
        let node = Process::start("rabbitmq", node_command(folder, address, mapper_port)?, &log)?;
        let mut broker = Self { node, mapper, address, log };
        until_ready(&mut broker.node, || async move {
            // The node listens after everything else has started.
            super::connect(address, 0).await?.close(200, "ready".into()).await.context("closing a connection")
        })
        .await?;
        Ok(broker)
    }

    /// Address of the node.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processes of the node and the port mapper.
    pub fn family(&self) -> Vec<u32> {
        let mut all = self.node.family();
        all.extend(self.mapper.family());
        all
    }

    /// Version of the node, from its log.
    pub fn version(&self) -> Result<String> {
        let log = fs::read_to_string(&self.log).context("reading the log of RabbitMQ")?;
        let said = log.lines().find_map(|line| line.split_once("Starting RabbitMQ ").map(|(_, rest)| rest));
        let (version, erlang) = said
            .and_then(|said| said.split_once(" on Erlang "))
            .context("RabbitMQ does not say its version in its log")?;
        let erlang = erlang.split_whitespace().next().unwrap_or_default();
        Ok(format!("{version} on Erlang {erlang}"))
    }

    /// Stops the node, then the port mapper.
    pub async fn stop(self) -> Result<()> {
        self.node.stop().await?;
        self.mapper.stop().await
    }
}

// Otherwise Erlang would start one as a daemon that outlives the node.
fn start_mapper(folder: &Path, port: u16) -> Result<Process> {
    let mut command = Command::new("epmd");
    command.args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
    Process::start("epmd", command, &folder.join("epmd.log"))
}

fn node_command(folder: &Path, address: SocketAddr, mapper_port: u16) -> Result<Command> {
    let (config, advanced, plugins) =
        (folder.join("rabbitmq.conf"), folder.join("advanced.config"), folder.join("enabled_plugins"));
    fs::write(&config, CONFIG).context("writing rabbitmq.conf")?;
    fs::write(&advanced, ADVANCED).context("writing advanced.config")?;
    fs::write(&plugins, "[].\n").context("writing enabled_plugins")?;
    let data = folder.join("data");
    let mut command = Command::new(PROGRAM);
    command
        .current_dir(folder)
        // Erlang writes its cookie into the home folder.
        .env("HOME", folder)
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", mapper_port.to_string())
        // Without a shell between this process and the node.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
        .env("RABBITMQ_NODENAME", format!("bench{}@localhost", address.port()))
        .env("RABBITMQ_NODE_IP_ADDRESS", address.ip().to_string())
        .env("RABBITMQ_NODE_PORT", address.port().to_string())
        .env("RABBITMQ_DIST_PORT", free_address()?.port().to_string())
        .env("RABBITMQ_MNESIA_BASE", &data)
        .env("RABBITMQ_LOG_BASE", folder.join("logs"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", folder.join("generated"))
        .env("RABBITMQ_CONFIG_FILE", &config)
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", &advanced)
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins)
        .env("RABBITMQ_PID_FILE", folder.join("pid"))
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
        );
    Ok(command)
}
