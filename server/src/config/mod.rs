//! The configuration of `posthouse serve`: one TOML file and the certificates, keys and key sets that it names.
//!
//! All of it is read and checked before a port opens, and all problems are reported at once. Certificates, keys and key
//! sets are read again while the server runs (see [`crate::reload`]); the rest needs a restart.

mod error;
pub(crate) mod files;
mod observe;
mod read;
mod section;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use error::{ConfigError, ConfigErrors, ConfigNotice, Severity};
pub use observe::{
    AccessConfig, AccessSink, LogConfig, LogFormat, ObserveConfig, RecordedAccess, TelemetryConfig,
};

use crate::{
    identity::{Issuer, TokenPolicy, TrustDomain},
    names::{DepartmentName, TenantName},
};

/// A configuration that has been checked whole.
#[derive(Debug)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[tls]`.
    pub tls: TlsConfig,
    /// `[identity]`.
    pub identity: IdentityConfig,
    /// `[[authority]]`.
    pub authorities: Vec<Authority>,
    /// `[[issuer]]`.
    pub issuers: Vec<Issuer>,
    /// `[[tenant]]`.
    pub tenants: Vec<Tenant>,
    /// The files of certificates, keys and key sets.
    pub files: Files,
    /// `[management]`, `[metrics]`, `[log]`, `[access]` and `[telemetry]`.
    pub observe: ObserveConfig,
    /// Notices for the operator, in the order of the lines.
    pub notices: Vec<ConfigNotice>,
}

/// The address and the data folder of the server, and how it stops.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// The data folder, resolved against the configuration file's.
    pub data_dir: PathBuf,
    /// Number of shards; fixed when the data folder is created.
    pub shards: u32,
    /// From SIGTERM to exit.
    pub drain_deadline: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// How long a connection lives, about, before its client is asked to open another.
    pub max_connection_age: Duration,
    /// Publishes are refused with less free disk space than this.
    pub min_free_disk_bytes: u64,
}

/// The server's own certificate.
#[derive(Debug)]
pub struct TlsConfig {
    /// The certificate and what leads from it to its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
    /// The names that the certificate must fit, however it is renewed.
    pub names: BTreeSet<String>,
}

/// Requirements of every caller.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// The trust domain of callers' certificates.
    pub trust_domain: TrustDomain,
    /// Requirements of tokens.
    pub tokens: TokenPolicy,
    /// The longest that callers' certificates may be valid, where that is limited.
    pub max_certificate_lifetime: Option<Duration>,
}

/// An authority for client certificates, and the tenants it may speak for.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its root certificates.
    pub roots: Vec<CertificateDer<'static>>,
    /// The tenants.
    pub tenants: BTreeSet<TenantName>,
}

/// A tenant and its departments.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// Its departments.
    pub departments: BTreeSet<DepartmentName>,
    /// What it may use.
    pub caps: TenantCaps,
}

/// What one tenant may use of a server that it shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantCaps {
    /// Bytes of messages that are stored.
    pub max_stored_bytes: u64,
    /// Queues.
    pub max_queues: u64,
    /// Publish and consume streams at once.
    pub max_streams: u64,
    /// Payload of one message, whatever a queue's own limit.
    pub max_message_bytes: u32,
    /// Connections at once; three quarters of the server's unless set.
    pub max_connections: Option<usize>,
    /// Calls in a second, streams that are opened included; as many as it makes unless set.
    pub max_calls_per_second: Option<u64>,
}

/// The files that are read again when they change.
#[derive(Clone, Debug)]
pub struct Files {
    /// `tls.certificate`.
    pub certificate: PathBuf,
    /// `tls.key`.
    pub key: PathBuf,
    /// `certificates` of each `[[authority]]`, in their order.
    pub authorities: Vec<PathBuf>,
    /// `jwks` of each `[[issuer]]`, in their order.
    pub key_sets: Vec<PathBuf>,
}

#[cfg(test)]
mod tests;
