//! Context files: what a client of a tenant needs to reach the server.

use std::net::SocketAddr;

use serde::Serialize;

use super::SERVER_NAME;

/// A context file; its paths are relative to its folder.
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

/// The text of a tenant's context file.
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
