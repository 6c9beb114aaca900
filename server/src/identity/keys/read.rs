//! Makes a [`KeySet`] of a JWKS (RFC 7517). Sets of ordinary issuers contain keys for encryption, of algorithms that
//! are not accepted here, and of unknown kinds: they are skipped, with a remark.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;

use super::{KeyLife, KeyRemark, KeySet, KeySetError, SignatureAlgorithm, VerifyingKey};
use crate::{
    identity::{
        json::{Json, Object, parse_object},
        sha256,
    },
    limits::{MAX_ISSUER_KEYS, MAX_KEY_SET_DEPTH, MAX_RSA_BITS, MAX_TOKEN_ID_BYTES, MIN_RSA_BITS},
};

/// How much of a text of the set goes into a message.
const MAX_SHOWN_CHARACTERS: usize = 64;

/// Why a key is passed over, as RFC 7517 section 5 has it.
#[derive(Debug)]
struct Skipped {
    problem: String,
    /// It is of a kind that is used here, and not as it should be.
    is_broken: bool,
}

impl KeySet {
    /// Reads a JWKS. Keys that cannot be used here are skipped; a secret, or two keys of one name, refuse the set, and
    /// all reasons are reported.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<KeySetError>> {
        let members = parse_object(json, MAX_KEY_SET_DEPTH).ok_or_else(|| vec![KeySetError::Shape])?;
        let Some(Json::Array(keys)) = members.get("keys") else {
            return Err(vec![KeySetError::Shape]);
        };
        if keys.is_empty() {
            return Err(vec![KeySetError::Empty]);
        }
        if keys.len() > MAX_ISSUER_KEYS {
            return Err(vec![KeySetError::TooMany]);
        }
        let errors = refusals(keys);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut set = Self { keys: BTreeMap::new(), remarks: Vec::new() };
        for (members, number) in keys.iter().filter_map(Json::as_object).zip(1..) {
            match parse_key(members) {
                Ok((kid, key)) => drop(set.keys.insert(kid, key)),
                Err(Skipped { problem, is_broken }) => {
                    let text = format!("{}: {problem}", called(members, number));
                    set.remarks.push(KeyRemark { text, is_suspicious: is_broken });
                }
            }
        }
        if set.keys.is_empty() {
            let problems = set.remarks.into_iter().map(|remark| remark.text).collect();
            return Err(vec![KeySetError::NoneUsable(problems)]);
        }
        set.remarks.extend(remark_on_rsa(keys));
        Ok(set)
    }
}

/// Members that only private and symmetric keys have: RFC 7518, and `priv` of keys of the type AKP.
const SECRET: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// For what the set as a whole is refused.
fn refusals(keys: &[Json]) -> Vec<KeySetError> {
    let mut kids = BTreeSet::new();
    let mut errors = Vec::new();
    for (key, number) in keys.iter().zip(1..) {
        let mut refuse = |problem| errors.push(KeySetError::Key { number, problem });
        let Some(members) = key.as_object() else {
            refuse("it is not an object");
            continue;
        };
        if text(members, "kty") == Some("oct") || SECRET.iter().any(|member| members.contains_key(*member)) {
            refuse("it is a secret; a key set has public keys only");
        }
        // A reader that chooses the other one of two keys of a name reads another set, whether both are used or not.
        if text(members, "kid").is_some_and(|kid| !kids.insert(kid)) {
            refuse("its kid is another key's too");
        }
    }
    errors
}

/// A key that has no `alg` verifies with the one algorithm of its type. For RSA, issuers mean another one by that.
fn remark_on_rsa(keys: &[Json]) -> Option<KeyRemark> {
    let is_meant = |members: &Object| {
        text(members, "kty") == Some("RSA") && !members.contains_key("alg") && parse_key(members).is_ok()
    };
    let keys = keys.iter().filter_map(Json::as_object).zip(1..);
    let named: Vec<_> = keys
        .filter(|(members, _)| is_meant(members))
        .map(|(members, number)| called(members, number))
        .collect();
    let text = format!(
        "{}: RSA without \"alg\", used for PS256 only; tokens signed with RS256 are refused",
        named.join(", ")
    );
    (!named.is_empty()).then_some(KeyRemark { text, is_suspicious: false })
}

fn parse_key(members: &Object) -> Result<(String, VerifyingKey), Skipped> {
    let kty = text(members, "kty").ok_or_else(|| Skipped::broken("it has no \"kty\""))?;
    if let Some(purpose) = members.get("use").filter(|purpose| **purpose != Json::Text("sig".to_owned())) {
        return Err(Skipped::other(format!("its \"use\" is {}, not sig", shown(purpose))));
    }
    if members.get("key_ops").is_some_and(|value| !allows_verify(value)) {
        return Err(Skipped::other("its \"key_ops\" does not list verify"));
    }
    let algorithm = match (kty, text(members, "crv")) {
        ("OKP", Some("Ed25519")) => SignatureAlgorithm::EdDsa,
        ("EC", Some("P-256")) => SignatureAlgorithm::Es256,
        ("EC", Some("P-384")) => SignatureAlgorithm::Es384,
        ("RSA", _) => SignatureAlgorithm::Ps256,
        _ => return Err(Skipped::other("it is not one of Ed25519, P-256, P-384 and RSA")),
    };
    if let Some(alg) = members.get("alg").filter(|alg| **alg != Json::Text(algorithm.as_str().to_owned())) {
        let what = format!("its \"alg\" is {}; keys of its type are used for {algorithm}", shown(alg));
        return Err(Skipped::other(what));
    }
    let kid =
        text(members, "kid").ok_or_else(|| Skipped::other("it has no \"kid\" for tokens to name it by"))?;
    if kid.is_empty() || kid.len() > MAX_TOKEN_ID_BYTES || kid.chars().any(char::is_control) {
        return Err(Skipped::broken("its kid is empty, too long, or has control characters"));
    }
    let key = match algorithm {
        SignatureAlgorithm::EdDsa => ed25519(members),
        SignatureAlgorithm::Es256 | SignatureAlgorithm::Es384 => elliptic(members, algorithm),
        SignatureAlgorithm::Ps256 => rsa(members),
    };
    let key = key.map_err(Skipped::broken)?;
    let material = ["kty", "crv", "x", "y", "n", "e"].map(|member| text(members, member).unwrap_or_default());
    let fingerprint = sha256(&[material.join(".").as_bytes()]);
    Ok((kid.to_owned(), VerifyingKey { algorithm, key, fingerprint, life: KeyLife::default() }))
}

impl Skipped {
    /// Meant for something else.
    fn other(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), is_broken: false }
    }

    fn broken(problem: &str) -> Self {
        Self { problem: problem.to_owned(), is_broken: true }
    }
}

/// How a key is called in messages.
fn called(members: &Object, number: usize) -> String {
    match members.get("kid") {
        Some(kid) => format!("key {number} ({})", shown(kid)),
        None => format!("key {number}"),
    }
}

/// A value that may be anything, as far as it goes into a message.
fn shown(value: &Json) -> String {
    match value {
        Json::Text(text) => {
            let short: String = text.chars().take(MAX_SHOWN_CHARACTERS).collect();
            let cut = if short.len() < text.len() { "..." } else { "" };
            format!("\"{}{cut}\"", short.escape_default())
        }
        _ => "no text".to_owned(),
    }
}

fn text<'a>(members: &'a Object, member: &str) -> Option<&'a str> {
    match members.get(member) {
        Some(Json::Text(text)) => Some(text),
        _ => None,
    }
}

fn allows_verify(value: &Json) -> bool {
    matches!(value, Json::Array(values) if values.contains(&Json::Text("verify".to_owned())))
}

fn bytes(members: &Object, member: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(members, member)?).ok()
}

fn ed25519(members: &Object) -> Result<DecodingKey, &'static str> {
    const PROBLEM: &str = "it is not a valid Ed25519 key";
    let point = bytes(members, "x").filter(|x| x.len() == 32).ok_or(PROBLEM)?;
    ParsedPublicKey::new(&ED25519, &point).map_err(|_| PROBLEM)?;
    Ok(DecodingKey::from_ed_der(&point))
}

fn elliptic(members: &Object, algorithm: SignatureAlgorithm) -> Result<DecodingKey, &'static str> {
    const PROBLEM: &str = "it is not a valid key of its curve";
    let (parameters, size) = match algorithm {
        SignatureAlgorithm::Es384 => (&ECDSA_P384_SHA384_FIXED, 48),
        _ => (&ECDSA_P256_SHA256_FIXED, 32),
    };
    let x = bytes(members, "x").filter(|x| x.len() == size).ok_or(PROBLEM)?;
    let y = bytes(members, "y").filter(|y| y.len() == size).ok_or(PROBLEM)?;
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    ParsedPublicKey::new(parameters, &point).map_err(|_| PROBLEM)?;
    Ok(DecodingKey::from_ec_der(&point))
}

fn rsa(members: &Object) -> Result<DecodingKey, &'static str> {
    let modulus = bytes(members, "n").ok_or("its modulus cannot be read")?;
    let bits = match modulus.as_slice() {
        [] | [0, ..] => return Err("its modulus is empty or begins with zeros"),
        [first, ..] => modulus.len() * 8 - first.leading_zeros() as usize,
    };
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err("its modulus has fewer than 2048 or more than 8192 bits");
    }
    let exponent = bytes(members, "e").ok_or("its exponent cannot be read")?;
    if exponent != [1, 0, 1] {
        return Err("its exponent is not 65537");
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}
