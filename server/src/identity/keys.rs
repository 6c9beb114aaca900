//! Issuers' key sets (JWKS), public keys of known algorithms only.

mod read;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jsonwebtoken::{Algorithm, DecodingKey};
use thiserror::Error;

use crate::limits::MAX_ISSUER_KEYS;

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
pub struct KeySet {
    keys: BTreeMap<String, VerifyingKey>,
    remarks: Vec<KeyRemark>,
}

/// A remark for an operator about keys of an accepted set. Nothing of a key is repeated but its `kid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRemark {
    /// Which key, and why it is not used.
    pub text: String,
    /// It may be a mistake. Sets of ordinary issuers have keys for other purposes, which are none.
    pub is_suspicious: bool,
}

/// The fault of a key set. Keys count from 1.
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
    /// A key for which the whole set is refused.
    #[error("key {number}: {problem}")]
    Key {
        /// Which key.
        number: usize,
        /// The fault.
        problem: &'static str,
    },
    /// Not one key that tokens could be verified with.
    #[error("none of its keys can verify a token (EdDSA, ES256, ES384 or PS256): {}", .0.join("; "))]
    NoneUsable(Vec<String>),
}

/// Whether a key is still in its issuer's set. The key shares it with every principal whose token it has signed, so
/// that their rights end with it, on open streams too.
#[derive(Clone, Debug, Default)]
pub struct KeyLife(Arc<AtomicBool>);

#[derive(Clone)]
struct VerifyingKey {
    algorithm: SignatureAlgorithm,
    key: DecodingKey,
    /// SHA-256 over the key's parameters: another key may have the same `kid`.
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
    /// Remarks for an operator about its keys.
    pub fn remarks(&self) -> &[KeyRemark] {
        &self.remarks
    }

    /// The algorithm of the key `kid`, if there is such a key.
    pub fn algorithm(&self, kid: &str) -> Option<SignatureAlgorithm> {
        self.keys.get(kid).map(|key| key.algorithm)
    }

    /// The life of the key `kid`.
    pub(super) fn life(&self, kid: &str) -> Option<&KeyLife> {
        self.keys.get(kid).map(|key| &key.life)
    }

    /// This set with the lives of those of its keys that are in `older` too.
    pub(super) fn succeeding(mut self, older: &Self) -> Self {
        for (kid, key) in &mut self.keys {
            if let Some(same) = older.keys.get(kid).filter(|old| old.fingerprint == key.fingerprint) {
                key.life = same.life.clone();
            }
        }
        self
    }

    /// Whether both have the same keys under the same names.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&VerifyingKey, &VerifyingKey)| one.fingerprint == other.fingerprint;
        self.keys.keys().eq(other.keys.keys()) && self.keys.values().zip(other.keys.values()).all(same)
    }

    /// Ends the lives of the keys that are not in `newer`.
    pub(super) fn end_all_but(&self, newer: &Self) {
        for (kid, key) in &self.keys {
            if newer.keys.get(kid).is_none_or(|new| new.fingerprint != key.fingerprint) {
                key.life.end();
            }
        }
    }

    /// Whether the key `kid` made this signature (base64url) over this message, with the key's own algorithm.
    pub(super) fn verify(&self, kid: &str, message: &[u8], signature: &str) -> bool {
        self.keys.get(kid).is_some_and(|key| {
            let algorithm = key.algorithm.in_library();
            jsonwebtoken::crypto::verify(signature, message, &key.key, algorithm).unwrap_or(false)
        })
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.keys.iter().map(|(kid, key)| (kid, key.algorithm))).finish()
    }
}

#[cfg(test)]
mod tests;
