//! The command line, command by command.

mod apply;
mod definitions;
mod messages;
mod ndjson;
mod shells;
mod stdout;
mod store_check;
mod token;
