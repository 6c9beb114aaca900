//! The one binary of Posthouse, as a library: `main.rs` only parses the command line and starts it.
//!
//! The modules of a command stand first, what they share after them.

use posthouse_server::ServeOptions;

use args::{Cli, Command};
use connect::connect;
use exit::{Exit, Failure};

pub mod consume;
pub mod dev;
pub mod ping;
pub mod publish;
pub mod queue;
pub mod serve;

pub mod args;
pub mod connect;
pub mod exit;
pub mod failure;
pub mod log;
pub mod shutdown;
pub mod time;

/// Runs a command to its end.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        Failure::new(Exit::Io, format!("cannot start threads: {error}"), "check the limits of this process")
    })?;
    let ran = runtime.block_on(dispatch(cli));
    // A thread may still wait for a line of stdin, or for somebody to read stdout.
    runtime.shutdown_background();
    ran
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let context = cli.context.as_deref();
    match &cli.command {
        Command::Dev { dir, listen } => dev::run::dev(dir, *listen).await,
        Command::Serve { config, accept_clock_jump } => {
            serve::serve(config, ServeOptions { accept_clock_jump: *accept_clock_jump }).await
        }
        Command::Publish(args) => publish::publish(context, args).await,
        Command::Consume(args) => consume::consume(context, args).await,
        Command::Queue { command } => queue::queue(&connect(context).await?, command).await,
        Command::Ping => ping::ping(&connect(context).await?).await,
    }
}
