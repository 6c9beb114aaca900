//! Failures of commands, and the exit codes of the client's errors.

use std::fmt;

use posthouse_client::{ConsumeError, Error, ErrorKind, PublishError};
use posthouse_server::out::Stream;
use posthouse_text::causes;

use crate::exit::Exit;

/// The failure of a command, with advice for the caller.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What failed, with its causes.
    pub what: String,
    /// What to do next, unless `what` says it.
    pub next: Option<String>,
}

impl Failure {
    /// A failure with advice.
    pub fn new(exit: Exit, what: impl fmt::Display, next: impl Into<String>) -> Self {
        Self { exit, what: what.to_string(), next: Some(next.into()) }
    }

    /// A failure whose text already says what to do.
    pub fn advised(exit: Exit, what: impl fmt::Display) -> Self {
        Self { exit, what: what.to_string(), next: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "posthouse: {}", self.what)?;
        match &self.next {
            Some(next) => write!(f, "\n  next: {next}"),
            None => Ok(()),
        }
    }
}

/// A call, or the opening of a stream, failed. The client's errors contain advice.
pub fn of_client(error: &Error) -> Failure {
    let exit = match error {
        // The name is from the command line.
        Error::Name(_) => Exit::Usage,
        _ => exit(error.kind()),
    };
    Failure::advised(exit, causes(error))
}

/// A line could not be published.
pub fn of_publish(line: u64, error: &PublishError) -> Failure {
    Failure::advised(exit(error.kind()), format!("line {line}: {}", causes(error)))
}

/// A publisher ended, or refused a message.
pub fn of_publisher(error: &PublishError) -> Failure {
    Failure::advised(exit(error.kind()), causes(error))
}

/// A consumer ended.
pub fn of_consume(error: &ConsumeError) -> Failure {
    Failure::advised(exit(error.kind()), causes(error))
}

/// Stdout is closed, or a write to it failed.
pub fn of_stdout(error: &std::io::Error) -> Failure {
    if !Stream::Stdout.is_open() {
        return Failure::new(
            Exit::Io,
            error,
            "give it a file or a pipe; to throw away what is written there, use `> /dev/null`",
        );
    }
    Failure::new(
        Exit::Io,
        format!("writing to stdout failed: {error}"),
        "look at what reads stdout, or at the disk",
    )
}

fn exit(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::Configuration => Exit::Config,
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => Exit::NoPermission,
        ErrorKind::NotFound => Exit::NoInput,
        ErrorKind::AlreadyExists | ErrorKind::InvalidArgument | ErrorKind::Conflict => Exit::BadData,
        ErrorKind::LimitReached | ErrorKind::LeaseLost | ErrorKind::Closed => Exit::TempFail,
        // Unreachable, Unavailable, Internal, and kinds of later versions.
        _ => Exit::Unavailable,
    }
}
