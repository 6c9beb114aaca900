//! `posthouse token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `posthouse token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Show what a token says: subject, audience, lifetime and grants. Verifies nothing.
    Inspect(TokenInspect),
}

/// `posthouse token inspect`.
#[derive(Debug, Args)]
#[command(
    long_about = "Show what a token says: subject, audience, lifetime and grants.\n\n\
        Nothing is verified: not the signature, nor whether a server would accept it. With a context, the certificate \
        that the token is bound to is compared with the context's. The signature is never printed.",
    after_help = "Examples:\n  \
        posthouse token inspect\n  \
        posthouse token inspect /run/secrets/token"
)]
pub struct TokenInspect {
    /// The token's file; - is stdin. Without it, the token file of the context.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}
