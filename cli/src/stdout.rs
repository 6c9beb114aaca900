//! What a command says on stdout.

use std::io::Write as _;

use crate::exit::Failure;
use crate::failure::of_stdout;

/// Writes all of it.
pub fn write(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()).map_err(|error| of_stdout(&error))
}
