//! Why a command failed, and which exit code the client's errors have.

use std::fmt;

use posthouse_client::{ConsumeError, Error, ErrorKind, PublishError};
use posthouse_server::out::Stream;
use posthouse_text::causes;

use crate::exit::Exit;

/// Why a command failed, and what its caller can do about it.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, with its causes.
    pub what: String,
    /// What to do next, unless that is said already.
    pub next: Option<String>,
}

impl Failure {
    /// A failure with its advice.
    pub fn new(exit: Exit, what: impl fmt::Display, next: impl Into<String>) -> Self {
        Self { exit, what: what.to_string(), next: Some(next.into()) }
    }

    /// A failure whose own words say what to do.
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

/// A call, or the opening of a stream, failed. The client's errors say themselves what to do next.
pub fn of_client(error: &Error) -> Failure {
    let exit = match error {
        // It came from the command line.
        Error::Name(_) => Exit::Usage,
        _ => exit(error.kind()),
    };
    Failure::advised(exit, causes(error))
}

/// A line could not be published.
pub fn of_publish(line: u64, error: &PublishError) -> Failure {
    Failure::advised(exit(error.kind()), format!("line {line}: {}", causes(error)))
}

/// A publisher ended, or did not take a message.
pub fn of_publisher(error: &PublishError) -> Failure {
    Failure::advised(exit(error.kind()), causes(error))
}

/// A consumer ended.
pub fn of_consume(error: &ConsumeError) -> Failure {
    Failure::advised(exit(error.kind()), causes(error))
}

/// Stdout is closed or full.
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
        // Unreachable, Unavailable, Internal, and what later versions add.
        _ => Exit::Unavailable,
    }
}
