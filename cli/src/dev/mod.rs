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

/// Audience of the tokens.
pub const AUDIENCE: &str = "posthouse";
/// Trust domain of the certificates' SPIFFE ids.
pub const TRUST_DOMAIN: &str = "posthouse.internal";
/// Name in the server's certificate.
pub const SERVER_NAME: &str = "localhost";
/// Lifetime of a token.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a throwaway server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Other machines could reach the address.
    #[error("`posthouse dev` hands out keys to everything, so it listens on loopback only, not on {0}")]
    NotLoopback(std::net::SocketAddr),
    /// Port 0 changes with every start.
    #[error("`posthouse dev` writes its address into the contexts, so it needs a port, not 0")]
    NoPort,
    /// The folder is not empty and not ours.
    #[error("{0} is not empty and was not made by `posthouse dev`")]
    ForeignFolder(PathBuf),
    /// The folder, or an entry in it, belongs to another user.
    #[error("{path} belongs to the user {owner}, and `posthouse dev` trusts only what is its own user's")]
    ForeignOwner {
        /// The folder or entry.
        path: PathBuf,
        /// User id of its owner.
        owner: u32,
    },
    /// There is a symbolic link in place of our file or folder.
    #[error("{0} is a symbolic link, and `posthouse dev` follows none in its folder")]
    Link(PathBuf),
    /// Other users may have written the file.
    #[error("{0} can be written to by everybody, so others may have written it")]
    Writable(PathBuf),
    /// In a folder above, everybody can replace ours.
    #[error("{0} can be written to by everybody, so others could exchange the folder below it")]
    OpenToAll(PathBuf),
    /// Another process uses the folder.
    #[error("another `posthouse dev` runs on {0}")]
    Locked(PathBuf),
    /// A file or folder could not be read or written.
    #[error("{path} cannot be read or written: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
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
