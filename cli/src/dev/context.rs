//! Context files: all that a client of one tenant needs to reach a server.

use std::net::SocketAddr;

use serde::Serialize;

use super::SERVER_NAME;

/// Paths are relative to the context file's folder.
#[derive(Serialize)]
struct Context<'a> {
    endpoint: String,
    server_name: &'static str,
    tenant: &'a str,
    authority: &'static str,
    certificate: String,
    key: String,
    token_file: String,
}

/// The text of a tenant's context.
pub fn context(tenant: &str, listen: SocketAddr) -> Result<String, toml::ser::Error> {
    toml::to_string(&Context {
        endpoint: listen.to_string(),
        server_name: SERVER_NAME,
        tenant,
        authority: "../server-authority.pem",
        certificate: format!("{tenant}.pem"),
        key: format!("{tenant}.key"),
        token_file: format!("{tenant}.token"),
    })
}
