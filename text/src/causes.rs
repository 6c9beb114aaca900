//! Errors with their causes. Many libraries keep the system's message in `source()` only, so that `{error}` loses it.

use std::{error::Error, fmt};

/// Shows an error, followed by those of its causes that its text does not contain.
#[derive(Clone, Copy, Debug)]
pub struct Causes<'a>(&'a (dyn Error + 'a));

/// The error with all its causes, for a message or a log field.
pub fn causes<'a>(error: &'a (dyn Error + 'a)) -> Causes<'a> {
    Causes(error)
}

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let words = cause.to_string();
            // The texts of most of our errors contain their causes, as in some libraries.
            if !words.is_empty() && !said.contains(&words) {
                write!(f, ": {words}")?;
                said.push_str(&words);
            }
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use thiserror::Error;

    use super::causes;

    #[derive(Debug, Error)]
    #[error("no connection")]
    struct Silent(#[source] Wrapped);

    #[derive(Debug, Error)]
    #[error("cannot open the store: {0}")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn every_cause_is_named_once() {
        let error = Silent(Wrapped(io::Error::from_raw_os_error(30)));
        let message = causes(&error).to_string();
        assert_eq!(message, "no connection: cannot open the store: Read-only file system (os error 30)");
    }

    #[test]
    fn an_error_without_causes_is_shown_alone() {
        assert_eq!(causes(&io::Error::other("alone")).to_string(), "alone");
    }

    #[test]
    fn the_error_that_an_io_error_wraps_is_shown() {
        let error = io::Error::other(Silent(Wrapped(io::Error::from_raw_os_error(28))));
        let message = causes(&error).to_string();
        assert!(
            message.starts_with("no connection: ") && message.contains("No space left on device"),
            "{message}"
        );
    }
}
