//! Issuers' key sets (JWKS), public keys of known algorithms only.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use thiserror::Error;

use super::{
    json::{Json, Object, parse_object},
    sha256,
};
use crate::limits::{MAX_ISSUER_KEYS, MAX_RSA_BITS, MAX_TOKEN_ID_BYTES, MIN_RSA_BITS};

/// The signature algorithms that are accepted. Each key has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// RSA-PSS with SHA-256.
    Ps256,
}

/// The public keys of one issuer, by `kid`.
#[derive(Clone)]
pub struct KeySet(BTreeMap<String, VerifyingKey>);

/// What is wrong with a key set. Keys count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// No JWKS at all.
    #[error("it is not a JSON object with a list \"keys\", without repeated members")]
    Shape,
    /// An issuer without keys could not be trusted with anything.
    #[error("it has no keys")]
    Empty,
    /// More keys than are accepted.
    #[error("it has more than {MAX_ISSUER_KEYS} keys")]
    TooMany,
    /// A key that cannot be used.
    #[error("key {number}: {problem}")]
    Key {
        /// Which key.
        number: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Whether a key still stands in its issuer's set. The key shares it with every principal that it has vouched for, so
/// that their rights end with it, on open streams too.
#[derive(Clone, Debug, Default)]
pub struct KeyLife(Arc<AtomicBool>);

#[derive(Clone)]
struct VerifyingKey {
    algorithm: SignatureAlgorithm,
    key: DecodingKey,
    /// SHA-256 over what the key is made of: another key may come under the same `kid`.
    fingerprint: [u8; 32],
    life: KeyLife,
}

impl KeyLife {
    /// The key has been removed.
    pub fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl SignatureAlgorithm {
    const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Es384, Self::Ps256];

    /// The name in a JOSE header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Ps256 => "PS256",
        }
    }

    /// Reads the name in a JOSE header, exactly as it is written there.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text)
    }

    fn in_library(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::Ps256 => Algorithm::PS256,
        }
    }
}

impl KeySet {
    /// Reads a JWKS and tells everything that is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<KeySetError>> {
        let members = parse_object(json, 4).ok_or_else(|| vec![KeySetError::Shape])?;
        let Some(Json::Array(keys)) = members.get("keys") else {
            return Err(vec![KeySetError::Shape]);
        };
        if keys.is_empty() {
            return Err(vec![KeySetError::Empty]);
        }
        if keys.len() > MAX_ISSUER_KEYS {
            return Err(vec![KeySetError::TooMany]);
        }
        let mut set = BTreeMap::new();
        let mut errors = Vec::new();
        for (key, number) in keys.iter().zip(1..) {
            match parse_key(key) {
                Ok((kid, _)) if set.contains_key(&kid) => {
                    errors.push(KeySetError::Key { number, problem: "its kid is another key's too" });
                }
                Ok((kid, key)) => {
                    set.insert(kid, key);
                }
                Err(problem) => errors.push(KeySetError::Key { number, problem }),
            }
        }
        if errors.is_empty() { Ok(Self(set)) } else { Err(errors) }
    }

    /// The algorithm of the key `kid`, if there is such a key.
    pub fn algorithm(&self, kid: &str) -> Option<SignatureAlgorithm> {
        self.0.get(kid).map(|key| key.algorithm)
    }

    /// The life of the key `kid`.
    pub(super) fn life(&self, kid: &str) -> Option<&KeyLife> {
        self.0.get(kid).map(|key| &key.life)
    }

    /// This set with the lives of those of its keys that stand in `older` too.
    pub(super) fn succeeding(mut self, older: &Self) -> Self {
        for (kid, key) in &mut self.0 {
            if let Some(same) = older.0.get(kid).filter(|old| old.fingerprint == key.fingerprint) {
                key.life = same.life.clone();
            }
        }
        self
    }

    /// Whether both have the same keys under the same names.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&VerifyingKey, &VerifyingKey)| one.fingerprint == other.fingerprint;
        self.0.keys().eq(other.0.keys()) && self.0.values().zip(other.0.values()).all(same)
    }

    /// Ends the lives of the keys that do not stand in `newer`.
    pub(super) fn end_all_but(&self, newer: &Self) {
        for (kid, key) in &self.0 {
            if newer.0.get(kid).is_none_or(|new| new.fingerprint != key.fingerprint) {
                key.life.end();
            }
        }
    }

    /// Whether the key `kid` made this signature (base64url) over this message, with the key's own algorithm.
    pub(super) fn verify(&self, kid: &str, message: &[u8], signature: &str) -> bool {
        self.0.get(kid).is_some_and(|key| {
            let algorithm = key.algorithm.in_library();
            jsonwebtoken::crypto::verify(signature, message, &key.key, algorithm).unwrap_or(false)
        })
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(kid, key)| (kid, key.algorithm))).finish()
    }
}

/// Members that only private and symmetric keys have.
const SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

fn parse_key(value: &Json) -> Result<(String, VerifyingKey), &'static str> {
    let Json::Object(members) = value else {
        return Err("it is not an object");
    };
    let kty = text(members, "kty").ok_or("\"kty\" is missing")?;
    if kty == "oct" || SECRET.iter().any(|member| members.contains_key(*member)) {
        return Err("it is a secret; a key set has public keys only");
    }
    let kid = text(members, "kid").ok_or("\"kid\" is missing")?;
    if kid.is_empty() || kid.len() > MAX_TOKEN_ID_BYTES || kid.chars().any(char::is_control) {
        return Err("its kid is empty, too long, or has control characters");
    }
    if members.get("use").is_some_and(|value| *value != Json::Text("sig".to_owned())) {
        return Err("its \"use\" is not sig");
    }
    if members.get("key_ops").is_some_and(|value| !allows_verify(value)) {
        return Err("its \"key_ops\" does not list verify");
    }
    let (algorithm, key) = match (kty, text(members, "crv")) {
        ("OKP", Some("Ed25519")) => (SignatureAlgorithm::EdDsa, ed25519(members)?),
        ("EC", Some("P-256")) => (SignatureAlgorithm::Es256, elliptic(members, SignatureAlgorithm::Es256)?),
        ("EC", Some("P-384")) => (SignatureAlgorithm::Es384, elliptic(members, SignatureAlgorithm::Es384)?),
        ("RSA", None) => (SignatureAlgorithm::Ps256, rsa(members)?),
        _ => return Err("its type or curve is not one of Ed25519, P-256, P-384 and RSA"),
    };
    if members.get("alg").is_some_and(|value| *value != Json::Text(algorithm.as_str().to_owned())) {
        return Err("its \"alg\" is not the one for keys of its type (EdDSA, ES256, ES384, PS256)");
    }
    let material = ["kty", "crv", "x", "y", "n", "e"].map(|member| text(members, member).unwrap_or_default());
    let fingerprint = sha256(&[material.join(".").as_bytes()]);
    Ok((kid.to_owned(), VerifyingKey { algorithm, key, fingerprint, life: KeyLife::default() }))
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

#[cfg(test)]
mod tests;
