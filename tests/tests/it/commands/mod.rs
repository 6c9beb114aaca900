//! The command line, command by command.

mod apply;
mod causes;
mod definitions;
mod encodings;
mod messages;
mod ndjson;
mod shells;
mod signals;
mod stdio;
mod stdout;
mod store_check;
mod token;
