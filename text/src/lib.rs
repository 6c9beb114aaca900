//! Text functions of the server, the client and the command line: reading files that people saved, warning of exposed
//! secrets ([`exposed()`]), showing errors with their causes, and escaping text from elsewhere ([`shown`]).

// The print macros panic if stdout or stderr is closed, and block while nobody reads it.
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
