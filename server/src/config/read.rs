//! From TOML to [`Config`].

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use posthouse_engine::limits::MAX_MAX_MESSAGE_BYTES;
use posthouse_text::exposed;
use rustls_pki_types::{CertificateDer, ServerName};
use toml::de::DeTable;

use crate::{
    certificates::{self, Judgement},
    config::{
        Authority, Config, ConfigError, ConfigErrors, Files, IdentityConfig, ObserveConfig, ServerConfig,
        Severity, Tenant, TenantCaps, TlsConfig, files,
        section::{Located, Problems, Section},
    },
    identity::{Binding, Issuer, KeyRemark, TokenPolicy, TrustDomain},
    limits::{
        CERTIFICATE_LIFETIME_SECONDS, CONNECTION_AGE_SECONDS, CONNECTIONS, DEFAULT_CONNECTION_AGE,
        DEFAULT_DRAIN_DEADLINE, DEFAULT_MAX_CONNECTIONS, DEFAULT_MIN_FREE_DISK_BYTES, DEFAULT_SHARDS,
        DEFAULT_TENANT_QUEUES, DEFAULT_TENANT_STORED_BYTES, DEFAULT_TENANT_STREAMS, DEFAULT_TOKEN_LIFETIME,
        MAX_CLAIM_TEXT_BYTES, MAX_DRAIN_DEADLINE, MAX_SHARDS, MAX_TENANT_CALLS_PER_SECOND, MAX_TENANT_QUEUES,
        MAX_TENANT_STREAMS, MAX_TOKEN_LIFETIME, MIN_FREE_DISK_BYTES, MIN_SHARDS, TENANT_CONNECTIONS,
        TENANT_STORED_BYTES,
    },
    names::{DepartmentName, TenantName},
};

impl Config {
    /// Reads and checks a configuration and every file it names.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let whole = |problem: String| vec![ConfigError { line: None, key: String::new(), problem }];
        let read = || {
            let bytes = files::read(path).map_err(whole)?;
            let text = posthouse_text::text(&bytes).map_err(|error| whole(error.to_string()))?;
            parse(text, folder)
        };
        read().map_err(|errors| ConfigErrors { file: path.to_owned(), errors })
    }
}

/// What the sections after `[[tenant]]` refer to.
struct Context<'a> {
    folder: &'a Path,
    tenants: BTreeSet<TenantName>,
}

fn parse(text: &str, folder: &Path) -> Result<Config, Vec<ConfigError>> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    let problems = Problems::new(text);
    for error in &syntax {
        problems.add(error.span().map(|span| problems.line(&span)), "", error.message());
    }
    if !syntax.is_empty() {
        // A partly read configuration would give wrong errors.
        return Err(problems.into_errors());
    }
    let config = read_document(&Section::document(document.get_ref(), &problems), folder);
    let (mut errors, notices) = problems.into_found();
    match config {
        Some(config) if errors.is_empty() => Ok(Config { notices, ..config }),
        _ => {
            // The refusals of clients are reported with the rest, so that they need no second round.
            let refused = notices.into_iter().filter(|notice| notice.severity == Severity::Refused);
            errors.extend(refused.map(|notice| notice.what));
            errors.sort_by_key(|error| error.line.unwrap_or(0));
            Err(errors)
        }
    }
}

fn read_document(document: &Section<'_>, folder: &Path) -> Option<Config> {
    let server = document.section("server").and_then(|section| read_server(&section, folder));
    let tls = document.section("tls").and_then(|section| read_tls(&section, folder));
    let identity = document.section("identity").and_then(|section| read_identity(&section));
    let tenants = read_tenants(&document.sections("tenant"));
    let context = Context { folder, tenants: tenants.iter().map(|tenant| tenant.name.clone()).collect() };
    let (authorities, root_files) = read_authorities(&document.sections("authority"), &context);
    let (issuers, key_sets) = read_issuers(&document.sections("issuer"), &context);
    let observe = ObserveConfig::read(document, folder);
    document.report_unknown();
    let (tls, certificate, key) = tls?;
    let files = Files { certificate, key, authorities: root_files, key_sets };
    let (server, identity) = (server?, identity?);
    Some(Config { server, tls, identity, authorities, issuers, tenants, files, observe, notices: Vec::new() })
}

fn read_server(section: &Section<'_>, folder: &Path) -> Option<ServerConfig> {
    let listen = section.text("listen").and_then(|field| {
        field.parse(|text| {
            text.parse().map_err(|_| "must be an address and a port, for example 127.0.0.1:7443")
        })
    });
    let data_dir = section.text("data_dir").map(|field| folder.join(field.value));
    let shards = section.optional_integer("shards", MIN_SHARDS.into()..=MAX_SHARDS.into());
    let deadline = section.optional_integer("drain_deadline_seconds", 1..=MAX_DRAIN_DEADLINE.as_secs());
    let connections = section.optional_size("max_connections", CONNECTIONS);
    let age = section.optional_integer("max_connection_age_seconds", CONNECTION_AGE_SECONDS);
    let min_free = section.optional_integer("min_free_disk_bytes", MIN_FREE_DISK_BYTES);
    section.report_unknown();
    Some(ServerConfig {
        listen: listen?,
        data_dir: data_dir?,
        shards: shards.and_then(|shards| u32::try_from(shards).ok()).unwrap_or(DEFAULT_SHARDS),
        drain_deadline: deadline.map_or(DEFAULT_DRAIN_DEADLINE, Duration::from_secs),
        max_connections: connections.unwrap_or(DEFAULT_MAX_CONNECTIONS),
        max_connection_age: age.map_or(DEFAULT_CONNECTION_AGE, Duration::from_secs),
        min_free_disk_bytes: min_free.unwrap_or(DEFAULT_MIN_FREE_DISK_BYTES),
    })
}

fn read_tls(section: &Section<'_>, folder: &Path) -> Option<(TlsConfig, PathBuf, PathBuf)> {
    let certificate = section.text("certificate");
    let field = section.text("key");
    let names = distinct(section.optional_texts("names"), |text| {
        let name = text.to_ascii_lowercase();
        match ServerName::try_from(name.as_str()) {
            Ok(_) => Ok(name),
            Err(_) => Err("must be a DNS name without wildcards, or an IP address"),
        }
    });
    section.report_unknown();
    let located = certificate.as_ref();
    let chain = located.and_then(|field| {
        let path = folder.join(field.value);
        let chain = field.parse(|_| files::certificates(&path, &files::read(&path)?))?;
        Some((path, chain))
    });
    let field = field?;
    let path = folder.join(field.value);
    let key = field.parse(|_| files::private_key(&path, &files::read(&path)?));
    if let Some(problem) = exposed(&path) {
        field.notice(Severity::Warning, problem);
    }
    let ((certificate_path, chain), key) = (chain?, key?);
    field.parse(|_| certificates::check_certificate(&chain, &key))?;
    let tls = TlsConfig { chain, key, names };
    let judgement = Judgement::of(&tls.chain, &tls.names, SystemTime::now());
    if let Some(field) = located.filter(|_| !judgement.is_good()) {
        field
            .notice(Severity::Refused, format!("clients refuse {}: {judgement}", certificate_path.display()));
    }
    Some((tls, certificate_path, path))
}

fn read_identity(section: &Section<'_>) -> Option<IdentityConfig> {
    let trust_domain = section.text("trust_domain").and_then(|field| {
        field.parse(|text| TrustDomain::parse(text).ok_or("must be 1 to 255 of a-z, 0-9, '.', '-' and '_'"))
    });
    let audience = section.text("audience").and_then(|field| field.parse(|text| claim_text(text)));
    let lifetime = section.optional_integer("max_token_lifetime_seconds", 1..=MAX_TOKEN_LIFETIME.as_secs());
    let certificates =
        section.optional_integer("max_certificate_lifetime_seconds", CERTIFICATE_LIFETIME_SECONDS);
    section.report_unknown();
    let max_lifetime = lifetime.map_or(DEFAULT_TOKEN_LIFETIME, Duration::from_secs);
    Some(IdentityConfig {
        trust_domain: trust_domain?,
        tokens: TokenPolicy { audience: audience?, max_lifetime },
        max_certificate_lifetime: certificates.map(Duration::from_secs),
    })
}

fn read_tenants(sections: &[Section<'_>]) -> Vec<Tenant> {
    let mut names = BTreeSet::new();
    let mut tenants = Vec::new();
    for section in sections {
        let field = section.text("name");
        let departments = distinct(section.texts("departments"), DepartmentName::parse);
        let caps = read_caps(section);
        section.report_unknown();
        let Some(field) = field else { continue };
        let Some(name) = field.parse(|text| TenantName::parse(text)) else { continue };
        if names.insert(name.clone()) {
            tenants.push(Tenant { name, departments, caps });
        } else {
            field.problem("this tenant is declared twice");
        }
    }
    tenants
}

fn read_caps(section: &Section<'_>) -> TenantCaps {
    let message = section.optional_integer("max_message_bytes", 1..=MAX_MAX_MESSAGE_BYTES.into());
    TenantCaps {
        max_stored_bytes: section
            .optional_integer("max_stored_bytes", TENANT_STORED_BYTES)
            .unwrap_or(DEFAULT_TENANT_STORED_BYTES),
        max_queues: section
            .optional_integer("max_queues", 1..=MAX_TENANT_QUEUES)
            .unwrap_or(DEFAULT_TENANT_QUEUES),
        max_streams: section
            .optional_integer("max_streams", 1..=MAX_TENANT_STREAMS)
            .unwrap_or(DEFAULT_TENANT_STREAMS),
        max_message_bytes: message
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(MAX_MAX_MESSAGE_BYTES),
        max_connections: section.optional_size("max_connections", TENANT_CONNECTIONS),
        max_calls_per_second: section
            .optional_integer("max_calls_per_second", 1..=MAX_TENANT_CALLS_PER_SECOND),
    }
}

fn read_authorities(sections: &[Section<'_>], context: &Context<'_>) -> (Vec<Authority>, Vec<PathBuf>) {
    let mut known: HashSet<CertificateDer<'static>> = HashSet::new();
    let mut authorities = (Vec::new(), Vec::new());
    for section in sections {
        let field = section.text("certificates");
        let tenants = context.known_tenants(section);
        section.report_unknown();
        let Some(field) = field else { continue };
        let path = context.folder.join(field.value);
        let Some(roots) = field.parse(|_| files::roots(&path, &files::read(&path)?)) else { continue };
        for root in &roots {
            if !known.insert(root.clone()) {
                field.problem("has a certificate that is listed already; list all its tenants in one place");
            }
        }
        authorities.0.push(Authority { roots, tenants });
        authorities.1.push(path);
    }
    authorities
}

fn read_issuers(sections: &[Section<'_>], context: &Context<'_>) -> (Vec<Issuer>, Vec<PathBuf>) {
    let mut names = BTreeSet::new();
    let mut issuers = (Vec::new(), Vec::new());
    for section in sections {
        let field = section.text("issuer");
        let keys = section.text("jwks").and_then(|field| {
            let path = context.folder.join(field.value);
            let json = files::read(&path).map_err(|error| vec![error]);
            let keys = json.and_then(|json| files::key_set(&path, &json));
            let keys =
                keys.map_err(|errors| errors.into_iter().for_each(|error| field.problem(error))).ok()?;
            for KeyRemark { text, is_suspicious } in keys.remarks() {
                let severity = if *is_suspicious { Severity::Warning } else { Severity::Information };
                field.notice(severity, format!("{}: {text}", path.display()));
            }
            Some((path, keys))
        });
        let tenants = context.known_tenants(section);
        let binding = section.optional_text("binding").and_then(|field| {
            field.parse(|text| Binding::parse(text).ok_or("must be \"x5t#S256\" or \"spiffe\""))
        });
        section.report_unknown();
        let Some(field) = field else { continue };
        if !names.insert(field.value) {
            field.problem("this issuer is declared twice");
        }
        if let (Some(issuer), Some((path, keys))) = (field.parse(|text| claim_text(text)), keys) {
            issuers.0.push(Issuer { issuer, keys, tenants, binding: binding.unwrap_or_default() });
            issuers.1.push(path);
        }
    }
    issuers
}

impl Context<'_> {
    /// The section's `tenants`, each of which must be declared.
    fn known_tenants(&self, section: &Section<'_>) -> BTreeSet<TenantName> {
        distinct(section.texts("tenants"), |text| {
            let name = TenantName::parse(text).map_err(|error| error.to_string())?;
            if !self.tenants.contains(&name) {
                return Err(format!("there is no [[tenant]] with the name {name}"));
            }
            Ok(name)
        })
    }
}

/// The names of a list, each reported if it cannot be read or is listed twice.
fn distinct<N: Ord, E: ToString>(
    fields: Vec<Located<'_, &str>>,
    parse: impl Fn(&str) -> Result<N, E>,
) -> BTreeSet<N> {
    let mut names = BTreeSet::new();
    for field in fields {
        if let Some(name) = field.parse(|text| parse(text))
            && !names.insert(name)
        {
            field.problem("is listed twice");
        }
    }
    names
}

/// A text that a token's claim could equal.
fn claim_text(text: &str) -> Result<String, String> {
    if text.len() > MAX_CLAIM_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(format!("must have at most {MAX_CLAIM_TEXT_BYTES} bytes and no control characters"));
    }
    Ok(text.to_owned())
}
