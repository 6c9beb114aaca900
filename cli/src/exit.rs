//! How the program ends: exit codes after sysexits, and a line on stderr that says what to do next.

use std::fmt;

/// The exit codes. Scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// EX_USAGE: the command line is wrong.
    Usage = 64,
    /// EX_DATAERR: the input is wrong.
    BadData = 65,
    /// EX_NOINPUT: what was named does not exist.
    NoInput = 66,
    /// EX_UNAVAILABLE: the server cannot be reached, or failed.
    Unavailable = 69,
    /// EX_IOERR: a file, stdin or stdout failed.
    Io = 74,
    /// EX_TEMPFAIL: not all of it was done; trying again later may help.
    TempFail = 75,
    /// EX_NOPERM: certificate, token or grant do not allow it.
    NoPermission = 77,
    /// EX_CONFIG: the configuration or the context is wrong.
    Config = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

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
