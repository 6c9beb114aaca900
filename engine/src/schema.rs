//! What is logged and stored: prost messages of package `posthouse.store.v1`, documented in `engine/schema/`.

#![allow(missing_docs, clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/posthouse.store.v1.rs"));

pub use command_record::Command;
