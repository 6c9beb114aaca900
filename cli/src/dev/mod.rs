//! `posthouse dev`: a throwaway agency landscape in a folder, and the ordinary server on it.
//!
//! Nothing here is known to the server: it gets a configuration file like any other, and keys like any other's.
//!
//! ```text
//! DIR/posthouse.toml                        the serve configuration
//! DIR/server.pem .key                       the server's certificate
//! DIR/server-authority.pem .key             what the clients trust
//! DIR/authorities/TENANT.pem .key           what the server trusts for a tenant's clients
//! DIR/issuers/TENANT.jwks.json .key         what the server trusts for a tenant's tokens
//! DIR/contexts/TENANT.toml .pem .key .token what a client of the tenant needs
//! DIR/data/                                 the server's store
//! ```

use std::{path::PathBuf, time::Duration};

pub mod authority;
pub mod config;
pub mod context;
pub mod folder;
pub mod landscape;
pub mod renew;
pub mod run;
pub mod tenants;
pub mod token;

/// The audience of the tokens.
pub const AUDIENCE: &str = "posthouse";
/// The trust domain of the certificates' SPIFFE ids.
pub const TRUST_DOMAIN: &str = "posthouse.internal";
/// The name that the server's certificate carries.
pub const SERVER_NAME: &str = "localhost";
/// How long a token lasts.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a throwaway server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// A port that other machines could reach.
    #[error("`posthouse dev` hands out keys to everything, so it listens on loopback only, not on {0}")]
    NotLoopback(std::net::SocketAddr),
    /// A port that changes with every start.
    #[error("`posthouse dev` writes its address into the contexts, so it needs a port, not 0")]
    NoPort,
    /// The folder holds something else.
    #[error("{0} is not empty and was not made by `posthouse dev`")]
    ForeignFolder(PathBuf),
    /// The folder, or something in it, is another user's.
    #[error("{path} belongs to the user {owner}, and `posthouse dev` trusts only what is its own user's")]
    ForeignOwner {
        /// What.
        path: PathBuf,
        /// Whose, by number.
        owner: u32,
    },
    /// A symbolic link where a file or folder of ours should be.
    #[error("{0} is a symbolic link, and `posthouse dev` follows none in its folder")]
    Link(PathBuf),
    /// A file that others than its user may have written.
    #[error("{0} can be written to by everybody, so others may have written it")]
    Writable(PathBuf),
    /// A folder above in which everybody can exchange ours for another.
    #[error("{0} can be written to by everybody, so others could exchange the folder below it")]
    OpenToAll(PathBuf),
    /// Another process works in the folder.
    #[error("another `posthouse dev` runs on {0}")]
    Locked(PathBuf),
    /// A file or folder could not be read or written.
    #[error("{path} cannot be read or written: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Authority(#[from] authority::AuthorityError),
    /// A token could not be minted.
    #[error(transparent)]
    Token(#[from] token::TokenError),
    /// A file could not be written as TOML.
    #[error("writing a configuration failed: {0}")]
    Toml(#[from] toml::ser::Error),
}

/// The SPIFFE id of a tenant's sample client.
pub fn spiffe_id(tenant: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/tenant/{tenant}/service/sample")
}
