//! The binary of Posthouse as a library; `main.rs` only parses the command line.
//!
//! The modules of the commands are first, then those that they share.

// The print macros panic if stdout or stderr is closed, and block while nobody reads it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use posthouse_server::ServeOptions;
use rustix::fs::Mode;

use args::{Cli, Command};
use connect::connect;
use exit::Exit;
use failure::Failure;
use serve::OnHangup;

pub mod apply;
pub mod bench;
pub mod consume;
pub mod dev;
pub mod message;
pub mod ping;
pub mod publish;
pub mod queue;
pub mod serve;
pub mod shell;
pub mod stats;
pub mod store;
pub mod token;

pub mod args;
pub mod connect;
pub mod exit;
pub mod failure;
pub mod log;
pub mod ndjson;
pub mod progress;
pub mod shutdown;
pub mod stderr;
pub mod stdio;
pub mod stdout;
pub mod time;

/// Runs a command to its end.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        Failure::new(Exit::Io, format!("cannot start threads: {error}"), "check the limits of this process")
    })?;
    let ran = runtime.block_on(dispatch(cli));
    // A thread may still be blocked by stdin or stdout.
    runtime.shutdown_background();
    ran
}

async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let context = cli.context.as_deref();
    let quiet = cli.quiet;
    if matches!(cli.command, Command::Dev { .. } | Command::Serve { .. } | Command::Store { .. }) {
        // RocksDB creates its files, which contain messages, with the umask of the process.
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
    }
    if answers(&cli.command) {
        stdout::check()?;
    }
    match &cli.command {
        Command::Dev { dir, listen } => dev::run::dev(dir, *listen).await?,
        Command::Serve { config, check: true, .. } => serve::check(config)?,
        Command::Serve { config, check: false, accept_clock_jump } => {
            let options = ServeOptions { accept_clock_jump: *accept_clock_jump, ..ServeOptions::default() };
            serve::serve(config, options, OnHangup::Reread).await?;
        }
        Command::Publish(args) => publish::publish(context, args, quiet).await?,
        Command::Consume(args) => consume::consume(context, args, quiet).await?,
        Command::Queue { command } => queue::queue(&connect(context).await?, command).await?,
        Command::Apply(args) => return apply::apply(context, args).await,
        Command::Message { command: args::MessageCommand::Find(args) } => {
            message::find(&connect(context).await?, args).await?;
        }
        Command::Bench { command } => bench::bench(context, command).await?,
        Command::DeadLetters { command } => {
            message::dead_letters::dead_letters(&connect(context).await?, command, quiet).await?;
        }
        Command::Token { command: args::Token::Inspect(args) } => token::inspect(context, args)?,
        Command::Store { command: args::Store::Check(args) } => store::check(args, quiet)?,
        Command::Store { command: args::Store::Skip(args) } => store::skip(args, quiet)?,
        Command::Store { command: args::Store::Reopen(args) } => store::reopen(args, quiet)?,
        Command::Ping => ping::ping(&connect(context).await?).await?,
        Command::Completions { shell } => shell::completions(*shell)?,
        Command::Man(args) => shell::man(args)?,
    }
    Ok(Exit::Ok)
}

/// Whether a command answers on stdout. Such a command does nothing when stdout is closed.
fn answers(command: &Command) -> bool {
    match command {
        Command::Dev { .. }
        | Command::Serve { .. }
        | Command::Queue { command: args::QueueCommand::Delete { .. } } => false,
        Command::Man(args) => args.dir.is_none(),
        _ => true,
    }
}
