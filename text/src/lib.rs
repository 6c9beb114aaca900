//! What the server, the client and the command line share about text: how a file that a person saved is read, and how
//! an error is told with everything that caused it.

mod causes;
mod encoding;
mod file;

pub use causes::{Causes, causes};
pub use encoding::{WrongEncoding, pem, pem_fault, text, without_mark};
pub use file::{read, read_from, read_regular};
