//! From TOML to [`Config`].

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    time::Duration,
};

use rustls_pki_types::CertificateDer;
use toml::de::DeTable;

use super::{
    Authority, Config, ConfigError, ConfigErrors, IdentityConfig, ObserveConfig, ServerConfig, Tenant,
    TlsConfig, files,
    section::{Located, Problems, Section},
};
use crate::{
    door,
    identity::{Binding, Issuer, TokenPolicy, TrustDomain},
    limits::{
        DEFAULT_DRAIN_DEADLINE, DEFAULT_SHARDS, DEFAULT_TOKEN_LIFETIME, MAX_CLAIM_TEXT_BYTES,
        MAX_DRAIN_DEADLINE, MAX_SHARDS, MAX_TOKEN_LIFETIME, MIN_SHARDS,
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
            let text = String::from_utf8(bytes).map_err(|_| whole("it is not UTF-8".to_owned()))?;
            parse(&text, folder)
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
        // What could be recovered would give errors that are none.
        return Err(problems.into_errors());
    }
    let config = read_document(&Section::document(document.get_ref(), &problems), folder);
    let errors = problems.into_errors();
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(errors),
    }
}

fn read_document(document: &Section<'_>, folder: &Path) -> Option<Config> {
    let server = document.section("server").and_then(|section| read_server(&section, folder));
    let tls = document.section("tls").and_then(|section| read_tls(&section, folder));
    let identity = document.section("identity").and_then(|section| read_identity(&section));
    let tenants = read_tenants(&document.sections("tenant"));
    let context = Context { folder, tenants: tenants.iter().map(|tenant| tenant.name.clone()).collect() };
    let authorities = read_authorities(&document.sections("authority"), &context);
    let issuers = read_issuers(&document.sections("issuer"), &context);
    let observe = ObserveConfig::read(document, folder);
    document.report_unknown();
    Some(Config { server: server?, tls: tls?, identity: identity?, authorities, issuers, tenants, observe })
}

fn read_server(section: &Section<'_>, folder: &Path) -> Option<ServerConfig> {
    let listen = section.text("listen").and_then(|place| {
        place.parse(|text| {
            text.parse().map_err(|_| "must be an address and a port, for example 127.0.0.1:7443")
        })
    });
    let data_dir = section.text("data_dir").map(|place| folder.join(place.value));
    let shards = section.optional_integer("shards", MIN_SHARDS.into()..=MAX_SHARDS.into());
    let deadline = section.optional_integer("drain_deadline_seconds", 1..=MAX_DRAIN_DEADLINE.as_secs());
    section.report_unknown();
    Some(ServerConfig {
        listen: listen?,
        data_dir: data_dir?,
        shards: shards.and_then(|shards| u32::try_from(shards).ok()).unwrap_or(DEFAULT_SHARDS),
        drain_deadline: deadline.map_or(DEFAULT_DRAIN_DEADLINE, Duration::from_secs),
    })
}

fn read_tls(section: &Section<'_>, folder: &Path) -> Option<TlsConfig> {
    let chain = section.text("certificate");
    let place = section.text("key");
    section.report_unknown();
    let chain = chain.and_then(|place| place.parse(|name| files::certificates(&folder.join(name))));
    let place = place?;
    let key = place.parse(|name| files::private_key(&folder.join(name)));
    let (chain, key) = (chain?, key?);
    place.parse(|_| door::check_certificate(&chain, &key))?;
    Some(TlsConfig { chain, key })
}

fn read_identity(section: &Section<'_>) -> Option<IdentityConfig> {
    let trust_domain = section.text("trust_domain").and_then(|place| {
        place.parse(|text| TrustDomain::parse(text).ok_or("must be 1 to 255 of a-z, 0-9, '.', '-' and '_'"))
    });
    let audience = section.text("audience").and_then(|place| place.parse(|text| claim_text(text)));
    let lifetime = section.optional_integer("max_token_lifetime_seconds", 1..=MAX_TOKEN_LIFETIME.as_secs());
    section.report_unknown();
    let max_lifetime = lifetime.map_or(DEFAULT_TOKEN_LIFETIME, Duration::from_secs);
    Some(IdentityConfig {
        trust_domain: trust_domain?,
        tokens: TokenPolicy { audience: audience?, max_lifetime },
    })
}

fn read_tenants(sections: &[Section<'_>]) -> Vec<Tenant> {
    let mut names = BTreeSet::new();
    let mut tenants = Vec::new();
    for section in sections {
        let place = section.text("name");
        let departments = distinct(section.texts("departments"), DepartmentName::parse);
        section.report_unknown();
        let Some(place) = place else { continue };
        let Some(name) = place.parse(|text| TenantName::parse(text)) else { continue };
        if names.insert(name.clone()) {
            tenants.push(Tenant { name, departments });
        } else {
            place.problem("this tenant is declared twice");
        }
    }
    tenants
}

fn read_authorities(sections: &[Section<'_>], context: &Context<'_>) -> Vec<Authority> {
    let mut known: HashSet<CertificateDer<'static>> = HashSet::new();
    let mut authorities = Vec::new();
    for section in sections {
        let place = section.text("certificates");
        let tenants = context.known_tenants(section);
        section.report_unknown();
        let Some(place) = place else { continue };
        let Some(roots) = place.parse(|name| files::roots(&context.folder.join(name))) else { continue };
        for root in &roots {
            if !known.insert(root.clone()) {
                place.problem("has a certificate that is listed already; list all its tenants in one place");
            }
        }
        authorities.push(Authority { roots, tenants });
    }
    authorities
}

fn read_issuers(sections: &[Section<'_>], context: &Context<'_>) -> Vec<Issuer> {
    let mut names = BTreeSet::new();
    let mut issuers = Vec::new();
    for section in sections {
        let place = section.text("issuer");
        let keys = section.text("jwks").and_then(|place| {
            let keys = files::key_set(&context.folder.join(place.value));
            keys.map_err(|errors| errors.into_iter().for_each(|error| place.problem(error))).ok()
        });
        let tenants = context.known_tenants(section);
        let binding = section.optional_text("binding").and_then(|place| {
            place.parse(|text| Binding::parse(text).ok_or("must be \"x5t#S256\" or \"spiffe\""))
        });
        section.report_unknown();
        let Some(place) = place else { continue };
        if !names.insert(place.value) {
            place.problem("this issuer is declared twice");
        }
        if let (Some(issuer), Some(keys)) = (place.parse(|text| claim_text(text)), keys) {
            issuers.push(Issuer { issuer, keys, tenants, binding: binding.unwrap_or_default() });
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

/// The names of a list, each reported when it cannot be read or stands there twice.
fn distinct<N: Ord, E: ToString>(
    places: Vec<Located<'_, &str>>,
    parse: impl Fn(&str) -> Result<N, E>,
) -> BTreeSet<N> {
    let mut names = BTreeSet::new();
    for place in places {
        if let Some(name) = place.parse(|text| parse(text))
            && !names.insert(name)
        {
            place.problem("is listed twice");
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
