//! The configuration of a throwaway server.

use std::net::{Ipv4Addr, SocketAddr};

use posthouse_server::limits::DEFAULT_MANAGEMENT_PORT;
use serde::Serialize;

use super::{AUDIENCE, TOKEN_LIFETIME, TRUST_DOMAIN, tenants::SampleTenant};

/// Default data port.
const USUAL_PORT: u16 = 7443;

/// First lines of the file, so that nobody edits it in vain.
const HEADING: &str = "\
# Written by `posthouse dev` at every start. To change it, copy it and run `posthouse serve --config COPY`.
# Relative paths are relative to this file's folder.

";

#[derive(Serialize)]
struct File<'a> {
    server: Server,
    management: Management,
    tls: Tls,
    identity: Identity,
    authority: Vec<Authority<'a>>,
    issuer: Vec<Issuer<'a>>,
    tenant: Vec<Tenant<'a>>,
}

#[derive(Serialize)]
struct Server {
    listen: SocketAddr,
    data_dir: &'static str,
}

#[derive(Serialize)]
struct Management {
    listen: SocketAddr,
}

#[derive(Serialize)]
struct Tls {
    certificate: &'static str,
    key: &'static str,
}

#[derive(Serialize)]
struct Identity {
    trust_domain: &'static str,
    audience: &'static str,
    max_token_lifetime_seconds: u64,
}

#[derive(Serialize)]
struct Authority<'a> {
    certificates: String,
    tenants: [&'a str; 1],
}

#[derive(Serialize)]
struct Issuer<'a> {
    issuer: String,
    jwks: String,
    tenants: [&'a str; 1],
    binding: &'static str,
}

#[derive(Serialize)]
struct Tenant<'a> {
    name: &'a str,
    departments: &'a [&'a str],
}

/// The issuer of a tenant's tokens, as in `iss`.
pub fn issuer_url(tenant: &str) -> String {
    format!("https://issuer.{tenant}.{TRUST_DOMAIN}")
}

/// Address of probes and metrics: the default port beside the default data port; otherwise one that the system chooses
/// and the log names, so that several servers can run.
fn management(listen: SocketAddr) -> SocketAddr {
    let usual = listen.port() == USUAL_PORT;
    SocketAddr::from((Ipv4Addr::LOCALHOST, if usual { DEFAULT_MANAGEMENT_PORT } else { 0 }))
}

/// The text of the configuration for these tenants.
pub fn serve_config(listen: SocketAddr, tenants: &[SampleTenant]) -> Result<String, toml::ser::Error> {
    let names = || tenants.iter().map(|tenant| tenant.name);
    let file = File {
        server: Server { listen, data_dir: "data" },
        management: Management { listen: management(listen) },
        tls: Tls { certificate: "server.pem", key: "server.key" },
        identity: Identity {
            trust_domain: TRUST_DOMAIN,
            audience: AUDIENCE,
            // An hour more than the lifetime, for clocks that differ.
            max_token_lifetime_seconds: TOKEN_LIFETIME.as_secs() + 3600,
        },
        authority: names()
            .map(|name| Authority { certificates: format!("authorities/{name}.pem"), tenants: [name] })
            .collect(),
        issuer: names()
            .map(|name| Issuer {
                issuer: issuer_url(name),
                jwks: format!("issuers/{name}.jwks.json"),
                tenants: [name],
                binding: "x5t#S256",
            })
            .collect(),
        tenant: tenants
            .iter()
            .map(|tenant| Tenant { name: tenant.name, departments: tenant.departments })
            .collect(),
    };
    Ok(format!("{HEADING}{}", toml::to_string(&file)?))
}
