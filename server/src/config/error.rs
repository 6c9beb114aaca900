//! Problems of a configuration. They repeat nothing of a certificate, key or key set.

use std::{fmt, path::PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The line of the configuration file, from 1, where there is one.
    pub line: Option<usize>,
    /// The key, for example `server.listen` or `issuer[2].jwks`; empty for the file as a whole.
    pub key: String,
    /// The problem and what to do.
    pub problem: String,
}

/// A notice for an operator about a configuration that a server can be run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigNotice {
    /// The position and the text.
    pub what: ConfigError,
    /// How much it matters.
    pub severity: Severity,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong.
    Information,
    /// It may be a mistake.
    Warning,
    /// Clients refuse the certificate that the server would show. A check of the configuration fails; a server serves
    /// nevertheless, since its clock may be wrong.
    Refused,
}

/// Everything that is wrong, in the order of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The configuration file.
    pub file: PathBuf,
    /// Never empty.
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len();
        let noun = if count == 1 { "error" } else { "errors" };
        write!(f, "the configuration {} has {count} {noun}:", self.file.display())?;
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
