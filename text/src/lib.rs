//! What the server, the client and the command line share about text: how a file that a person saved is read, who else can
//! read one with a secret ([`exposed()`]), how an error is told with everything that caused it, and how text from elsewhere is
//! shown ([`shown`]).

// They panic when stdout or stderr is gone, and wait while nobody reads it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod causes;
mod encoding;
mod exposed;
mod file;
pub mod shown;

pub use causes::{Causes, causes};
pub use encoding::{WrongEncoding, key_fault, pem, pem_fault, text, without_mark};
pub use exposed::exposed;
pub use file::{read, read_from, read_regular};
