//! Refused callers: each with its TLS alert, or its code and reason.

mod calls;
mod files;
mod floods;
mod foreign;
mod handshake;
mod matrix;
mod neighbours;
mod rights;
mod secrets;
