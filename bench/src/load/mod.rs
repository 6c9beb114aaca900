//! The load: what is sent and taken, and how it is measured.

pub mod payload;
