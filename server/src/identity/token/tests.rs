mod claims;
mod keys;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    grants::Action,
    identity::{
        Binding, ConnIdentity, IdentityError, KeySet, Malformed,
        testing::{Signer, claims, connection, issuer, tenants},
        token::{Issuer, TokenPolicy, TokenVerifier},
    },
};

const SCOPE: &str = "posthouse:publish:taxation/returns/inbox";

/// A verifier with one issuer each for two tenants, and what is needed to mint for the first.
struct Setting {
    verifier: TokenVerifier,
    signer: Signer,
    connection: ConnIdentity,
}

fn keys(signers: &[&Signer]) -> KeySet {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn setting_with(algorithm: Algorithm, binding: Binding) -> Setting {
    let signer = Signer::new("key-1", algorithm);
    let other = Signer::new("key-2", Algorithm::ES256);
    let foreign = Signer::new("key-1", Algorithm::EdDSA);
    let trusted =
        |tenant: &str, keys| Issuer { issuer: issuer(tenant), keys, tenants: tenants(&[tenant]), binding };
    let issuers =
        [trusted("taxation", keys(&[&signer, &other])), trusted("public-security", keys(&[&foreign]))];
    let policy = TokenPolicy { audience: "posthouse".to_owned(), max_lifetime: Duration::from_secs(3600) };
    let verifier = TokenVerifier::new(policy, issuers);
    Setting { verifier, signer, connection: connection("taxation", "returns") }
}

fn setting() -> Setting {
    setting_with(Algorithm::EdDSA, Binding::CertificateHash)
}

impl Setting {
    fn claims(&self) -> Value {
        claims(&self.connection, SCOPE)
    }

    /// Judges correct claims after one change.
    fn judge(&self, change: impl FnOnce(&mut Value)) -> Option<IdentityError> {
        let mut claims = self.claims();
        change(&mut claims);
        self.judge_token(&self.signer.sign(&claims))
    }

    fn judge_header(&self, change: impl FnOnce(&mut Value)) -> Option<IdentityError> {
        let mut header = self.signer.header();
        change(&mut header);
        self.judge_token(&self.signer.sign_text(&header.to_string(), &self.claims().to_string()))
    }

    /// A token with a claim that is written so.
    fn token_with_raw(&self, claim: &str, text: &str) -> String {
        let mut claims = self.claims();
        claims[claim] = json!("@");
        let claims = claims.to_string().replace("\"@\"", text);
        self.signer.sign_text(&self.signer.header().to_string(), &claims)
    }

    fn judge_raw(&self, claim: &str, text: &str) -> Option<IdentityError> {
        self.judge_token(&self.token_with_raw(claim, text))
    }

    fn judge_token(&self, token: &str) -> Option<IdentityError> {
        self.verifier.verify(token, &self.connection, SystemTime::now()).err()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn is_malformed(error: &Option<IdentityError>) -> bool {
    matches!(error, Some(IdentityError::Malformed(_)))
}

#[test]
fn a_key_that_is_replaced_ends_what_it_vouched_for() {
    let Setting { verifier, signer, connection } = setting();
    let token = signer.sign(&claims(&connection, SCOPE));
    let verify = || verifier.verify(&token, &connection, SystemTime::now());
    let principal = verify().unwrap();
    let name = issuer("taxation");
    assert!(!verifier.replace_keys("https://nobody.example", keys(&[&signer])));
    // The old keys and another one: nothing ends.
    let next = Signer::new("key-3", Algorithm::ES256);
    assert!(verifier.replace_keys(&name, keys(&[&signer, &next])));
    assert!(!verifier.replace_keys(&name, keys(&[&next, &signer])));
    assert!(!principal.key.has_ended());
    verify().unwrap();
    // Another key under the same name, though the token is in the cache.
    let other = Signer::new("key-1", Algorithm::EdDSA);
    assert!(verifier.replace_keys(&name, keys(&[&other])));
    assert!(principal.key.has_ended());
    assert_eq!(verify().unwrap_err(), IdentityError::SignatureInvalid);
    assert!(verifier.replace_keys(&name, keys(&[&next])));
    assert_eq!(verify().unwrap_err(), IdentityError::KeyUnknown);
    // And back: the token is good again, the principal of before is not.
    assert!(verifier.replace_keys(&name, keys(&[&signer])));
    assert!(!verify().unwrap().key.has_ended() && principal.key.has_ended());
}

#[test]
fn a_good_token_of_every_algorithm_makes_a_principal() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES384, Algorithm::PS256] {
        let setting = setting_with(algorithm, Binding::CertificateHash);
        let token = setting.signer.sign(&setting.claims());
        let principal = setting.verifier.verify(&token, &setting.connection, SystemTime::now()).unwrap();
        assert_eq!(principal.tenant.as_str(), "taxation");
        assert_eq!(principal.subject, setting.connection.spiffe_id.as_str());
        assert_eq!((principal.client_id.as_str(), principal.jti.as_str()), ("app", "token-1"));
        assert!(principal.grants.name(Action::Publish));
        let shown = format!("{principal:?}");
        assert!(token.split('.').all(|part| !shown.contains(part)), "{shown}");
        // Again: from the cache, the very same principal.
        let again = setting.verifier.verify(&token, &setting.connection, SystemTime::now()).unwrap();
        assert!(Arc::ptr_eq(&principal, &again));
    }
}

#[test]
fn times_are_judged() {
    let setting = setting();
    let times = |iat: u64, exp: u64| {
        setting.judge(|claims| (claims["iat"], claims["exp"]) = (json!(iat), json!(exp)))
    };
    let now = now();
    assert_eq!(times(now - 3500, now + 60), None);
    assert_eq!(times(now - 3600, now - 1), Some(IdentityError::Expired));
    assert_eq!(times(now - 3600, now), Some(IdentityError::Expired));
    assert_eq!(times(0, 0), Some(IdentityError::Expired));
    assert_eq!(times(now + 20, now + 600), None);
    assert_eq!(times(now + 90, now + 600), Some(IdentityError::NotYetValid));
    assert_eq!(times(u64::MAX, u64::MAX), Some(IdentityError::NotYetValid));
    assert_eq!(times(now, now + 3601), Some(IdentityError::LifetimeTooLong));
    assert_eq!(times(now, u64::MAX), Some(IdentityError::LifetimeTooLong));
    assert_eq!(times(0, u64::MAX), Some(IdentityError::LifetimeTooLong));
    assert!(is_malformed(&times(now + 20, now + 10)));
    assert_eq!(setting.judge(|claims| claims["nbf"] = json!(now + 20)), None);
    assert_eq!(setting.judge(|claims| claims["nbf"] = json!(now + 90)), Some(IdentityError::NotYetValid));
    assert_eq!(setting.judge(|claims| claims["nbf"] = json!(u64::MAX)), Some(IdentityError::NotYetValid));
}

#[test]
fn a_token_from_the_cache_expires_too() {
    let setting = setting();
    let token = setting.signer.sign(&setting.claims());
    let principal = setting.verifier.verify(&token, &setting.connection, SystemTime::now()).unwrap();
    let error = setting.verifier.verify(&token, &setting.connection, principal.expires_at).unwrap_err();
    assert_eq!(error, IdentityError::Expired);
}

#[test]
fn a_clock_before_1970_lets_nothing_in() {
    let setting = setting();
    let token = setting.signer.sign(&setting.claims());
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert!(setting.verifier.verify(&token, &setting.connection, early).is_err());
}

#[test]
fn tenants_of_certificate_token_and_issuer_agree() {
    let setting = setting();
    let error = setting.judge(|claims| claims["tenant"] = json!("public-security"));
    assert_eq!(error, Some(IdentityError::TenantMismatch));
    assert!(is_malformed(&setting.judge(|claims| claims["tenant"] = json!("Taxation"))));
    // Taxation's issuer signs for the other tenant, and the token is sent with that tenant's certificate.
    let foreign = connection("public-security", "licences");
    let mut claims = claims(&foreign, "posthouse:publish:public-security/a/b");
    claims["iss"] = json!(issuer("taxation"));
    let token = setting.signer.sign(&claims);
    let error = setting.verifier.verify(&token, &foreign, SystemTime::now()).unwrap_err();
    assert_eq!(error, IdentityError::IssuerUnknown);
}

#[test]
fn a_token_is_bound_to_its_certificate() {
    let setting = setting();
    let token = setting.signer.sign(&setting.claims());
    assert_eq!(setting.judge_token(&token), None);
    // Also after the token has been seen on the right connection.
    let other = connection("taxation", "elsewhere");
    let error = setting.verifier.verify(&token, &other, SystemTime::now()).unwrap_err();
    assert_eq!(error, IdentityError::CertificateMismatch);
    let error = setting.judge(|claims| drop(claims.as_object_mut().unwrap().remove("cnf")));
    assert_eq!(error, Some(IdentityError::CertificateMismatch));
    let wrong = URL_SAFE_NO_PAD.encode([1; 32]);
    let error = setting.judge(|claims| claims["cnf"]["x5t#S256"] = json!(wrong));
    assert_eq!(error, Some(IdentityError::CertificateMismatch));
    let own = URL_SAFE_NO_PAD.encode(setting.connection.certificate_sha256);
    for hash in
        [json!(""), json!("AAAA"), json!(format!("{own}=")), json!(format!("{own}AA")), json!(1), json!(null)]
    {
        assert!(is_malformed(&setting.judge(|claims| claims["cnf"]["x5t#S256"] = hash.clone())), "{hash}");
    }
    assert!(is_malformed(&setting.judge(|claims| claims["cnf"] = json!({"jkt": own}))));
}

#[test]
fn a_spiffe_binding_survives_a_new_certificate_only() {
    let setting = setting_with(Algorithm::EdDSA, Binding::SpiffeId);
    let without_hash = |claims: &mut Value| drop(claims.as_object_mut().unwrap().remove("cnf"));
    assert_eq!(setting.judge(without_hash), None);
    let mut claims = setting.claims();
    without_hash(&mut claims);
    let token = setting.signer.sign(&claims);
    let mut renewed = connection("taxation", "returns");
    renewed.certificate_sha256 = [9; 32];
    assert!(setting.verifier.verify(&token, &renewed, SystemTime::now()).is_ok());
    let other = connection("taxation", "elsewhere");
    let error = setting.verifier.verify(&token, &other, SystemTime::now()).unwrap_err();
    assert_eq!(error, IdentityError::CertificateMismatch);
    // A hash that is there is not ignored.
    let hashed = setting.signer.sign(&setting.claims());
    let error = setting.verifier.verify(&hashed, &renewed, SystemTime::now()).unwrap_err();
    assert_eq!(error, IdentityError::CertificateMismatch);
}

#[test]
fn only_three_parts_of_bounded_size_are_read() {
    let setting = setting();
    let good = setting.signer.sign(&setting.claims());
    assert_eq!(setting.judge_token(""), Some(IdentityError::TokenMissing));
    assert_eq!(setting.judge_token(&"a".repeat(8193)), Some(Malformed::TooLarge.into()));
    for token in [
        "a",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good}.{good}"),
        &format!("{good}="),
        &format!("{good} "),
        &format!(" {good}"),
        &good.replace('.', ".."),
        &good.replacen('.', "=.", 1),
        "a.b.c",
        "é.é.é",
        "e30.e30.e30",
        "bnVsbA.bnVsbA.AAAA",
    ] {
        assert!(is_malformed(&setting.judge_token(token)), "{token}");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}|[a-zA-Z0-9_-]{0,60}[.][a-zA-Z0-9_-]{0,60}[.][a-zA-Z0-9_-]{0,60}") {
        prop_assert!(setting().judge_token(&text).is_some());
    }

    #[test]
    fn a_token_with_one_byte_changed_is_refused(at in any::<prop::sample::Index>(), with in "[a-zA-Z0-9_.=-]") {
        let setting = setting();
        let mut token = setting.signer.sign(&setting.claims());
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != with);
        token.replace_range(at..=at, &with);
        prop_assert!(setting.judge_token(&token).is_some(), "{}", token);
    }
}
