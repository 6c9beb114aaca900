//! Verifying tokens: JWT `at+jwt` (RFC 9068), bound to the certificate of the connection (RFC 8705).
//!
//! The library only checks a signature: header and claims are read and judged here, because its defaults treat a claim
//! of the wrong type as absent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    grants::{Action, Grants},
    identity::{
        Binding, ConnIdentity, IdentityError, KeyLife, KeySet, Malformed, Principal, SignatureAlgorithm,
        cache::TokenCache,
        claims::{Claims, Header},
        sha256,
    },
    limits::{MAX_TOKEN_BYTES, TOKEN_LEEWAY},
    names::TenantName,
};

/// An issuer of tokens, and its tenants.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The keys it signs with.
    pub keys: KeySet,
    /// The tenants it may mint for.
    pub tenants: BTreeSet<TenantName>,
    /// How its tokens are bound to a certificate.
    pub binding: Binding,
}

/// The requirements of every token, whoever issued it.
#[derive(Clone, Debug)]
pub struct TokenPolicy {
    /// The audience that tokens must name in `aud`, alone or among others.
    pub audience: String,
    /// The longest `exp - iat` accepted.
    pub max_lifetime: Duration,
}

/// Makes a [`Principal`] of a token and its connection.
#[derive(Debug)]
pub struct TokenVerifier {
    policy: TokenPolicy,
    /// Replaced as a whole: one verification sees one state.
    issuers: ArcSwap<BTreeMap<String, Issuer>>,
    verified: TokenCache,
    hits: AtomicU64,
    misses: AtomicU64,
    /// Of [`Action::WITHOUT_EFFECT`].
    without_effect: [AtomicU64; Action::WITHOUT_EFFECT.len()],
}

impl TokenVerifier {
    /// A verifier that trusts these issuers and no others.
    pub fn new(policy: TokenPolicy, issuers: impl IntoIterator<Item = Issuer>) -> Self {
        let issuers: BTreeMap<_, _> =
            issuers.into_iter().map(|issuer| (issuer.issuer.clone(), issuer)).collect();
        Self {
            policy,
            issuers: ArcSwap::from_pointee(issuers),
            verified: TokenCache::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            without_effect: Default::default(),
        }
    }

    /// Replaces the keys of an issuer; false if they are unchanged. Grants by tokens of a removed key end at once. It
    /// must be called by one caller at a time.
    pub fn replace_keys(&self, issuer: &str, keys: KeySet) -> bool {
        let mut issuers = BTreeMap::clone(&self.issuers.load());
        let Some(issuer) = issuers.get_mut(issuer).filter(|issuer| !issuer.keys.is_same(&keys)) else {
            return false;
        };
        let keys = keys.succeeding(&issuer.keys);
        let older = std::mem::replace(&mut issuer.keys, keys.clone());
        self.issuers.store(Arc::new(issuers));
        older.end_all_but(&keys);
        true
    }

    /// Recognises a token that it has verified on the same certificate (its expiry is checked in `cache.rs`); verifies
    /// another one if `may` allows it.
    pub fn verify_if(
        &self,
        token: &str,
        connection: &ConnIdentity,
        now: SystemTime,
        may: impl FnOnce() -> Result<(), IdentityError>,
    ) -> Result<Arc<Principal>, IdentityError> {
        if token.is_empty() {
            return Err(IdentityError::TokenMissing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Malformed::TooLarge.into());
        }
        let key = sha256(&[token.as_bytes(), &connection.certificate_sha256]);
        if let Some(principal) = self.verified.get(&key, now) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(principal);
        }
        may()?;
        self.misses.fetch_add(1, Ordering::Relaxed);
        let principal = Arc::new(self.verify_anew(token, connection, now)?);
        self.count_without_effect(&principal.grants);
        self.verified.insert(key, Arc::clone(&principal));
        Ok(principal)
    }

    /// How often a token was recognised, and how often not.
    pub(crate) fn cache_lookups(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// Grants of actions that open nothing, in tokens that were verified and not recognised: each action, and how many.
    pub(crate) fn grants_without_effect(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.without_effect.iter().map(|count| count.load(Ordering::Relaxed));
        Action::WITHOUT_EFFECT.into_iter().zip(counts)
    }

    fn count_without_effect(&self, grants: &Grants) {
        for found in grants.without_effect() {
            let mut counts = Action::WITHOUT_EFFECT.iter().zip(&self.without_effect);
            if let Some((_, count)) = counts.find(|(action, _)| *action == found) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn verify_anew(
        &self,
        token: &str,
        connection: &ConnIdentity,
        now: SystemTime,
    ) -> Result<Principal, IdentityError> {
        let parts = Parts::split(token)?;
        let header = Header::parse(&decode(parts.header, "header")?)?;
        let claims = Claims::parse(&decode(parts.claims, "claims")?)?;
        let issuers = self.issuers.load();
        let issuer = issuers.get(&claims.iss).ok_or(IdentityError::IssuerUnknown)?;
        // Many streams of an honest client may send the same expired token at once: no signature is verified for it.
        if is_over(&claims, now) {
            return Err(IdentityError::Expired);
        }
        let key = check_signature(&header, &issuer.keys, &parts)?;
        let expires_at = self.check_times(&claims, now)?;
        if !claims.aud.contains(&self.policy.audience) {
            return Err(IdentityError::AudienceWrong);
        }
        let tenant = TenantName::parse(&claims.tenant)
            .map_err(|_| Malformed::Member { member: "tenant", expected: "a tenant's name" })?;
        if tenant != connection.tenant {
            return Err(IdentityError::TenantMismatch);
        }
        if !issuer.tenants.contains(&tenant) {
            return Err(IdentityError::IssuerUnknown);
        }
        issuer.binding.check(&claims, connection)?;
        Ok(Principal {
            grants: Grants::parse(&claims.scope, &tenant)?,
            tenant,
            subject: claims.sub,
            client_id: claims.client_id,
            jti: claims.jti,
            expires_at,
            key,
            certificate_sha256: connection.certificate_sha256,
        })
    }

    /// Leeway is given to `iat` and `nbf` only: rights end at `exp`, on a stream as at its start.
    fn check_times(&self, claims: &Claims, now: SystemTime) -> Result<SystemTime, IdentityError> {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let latest_start = (since_epoch + TOKEN_LEEWAY).as_secs();
        let expires = Duration::from_secs(claims.exp);
        if claims.iat > latest_start || claims.nbf.is_some_and(|nbf| nbf > latest_start) {
            return Err(IdentityError::NotYetValid);
        }
        let lifetime = claims
            .exp
            .checked_sub(claims.iat)
            .ok_or(Malformed::Member { member: "exp", expected: "after \"iat\"" })?;
        if lifetime > self.policy.max_lifetime.as_secs() {
            return Err(IdentityError::LifetimeTooLong);
        }
        SystemTime::UNIX_EPOCH.checked_add(expires).ok_or(IdentityError::LifetimeTooLong)
    }
}

/// Why every server refuses a token, by the token alone; nothing is verified.
pub fn malformed(token: &str) -> Option<Malformed> {
    if token.len() > MAX_TOKEN_BYTES {
        return Some(Malformed::TooLarge);
    }
    let read = |token| {
        let parts = Parts::split(token)?;
        Header::parse(&decode(parts.header, "header")?)?;
        Claims::parse(&decode(parts.claims, "claims")?)
    };
    read(token).err()
}

/// The parts of a token, undecoded.
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    /// Header and claims with the dot between: what is signed.
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, Malformed> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Malformed::Parts)?;
        let (header, claims) = signed.split_once('.').ok_or(Malformed::Parts)?;
        if claims.contains('.') || header.is_empty() || claims.is_empty() {
            return Err(Malformed::Parts);
        }
        Ok(Self { header, claims, signed, signature })
    }
}

fn is_over(claims: &Claims, now: SystemTime) -> bool {
    Duration::from_secs(claims.exp) <= now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn decode(part: &str, name: &'static str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed::Base64 { part: name })
}

/// The key is looked up in its issuer's set only, and it verifies only with its own algorithm.
fn check_signature(header: &Header, keys: &KeySet, parts: &Parts<'_>) -> Result<KeyLife, IdentityError> {
    let stated = SignatureAlgorithm::parse(&header.alg)
        .ok_or(Malformed::Member { member: "alg", expected: "EdDSA, ES256, ES384 or PS256" })?;
    let own = keys.algorithm(&header.kid).ok_or(IdentityError::KeyUnknown)?;
    decode(parts.signature, "signature")?;
    if stated != own || !keys.verify(&header.kid, parts.signed.as_bytes(), parts.signature) {
        return Err(IdentityError::SignatureInvalid);
    }
    keys.life(&header.kid).cloned().ok_or(IdentityError::KeyUnknown)
}

#[cfg(test)]
mod tests;
