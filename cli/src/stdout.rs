//! What a command says on stdout.

use std::io::Write as _;

use crate::exit::Failure;
use crate::failure::of_stdout;
use crate::stdio;

/// Writes all of it.
pub fn write(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let written = stdio::stdout().and_then(|mut stdout| stdout.write_all(bytes.as_ref()));
    written.map_err(|error| of_stdout(&error))
}
