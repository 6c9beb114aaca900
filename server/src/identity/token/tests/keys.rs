//! Headers, keys and signatures.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use serde_json::json;

use super::{is_malformed, setting};
use crate::identity::{
    IdentityError, Malformed,
    testing::{Signer, issuer, unsigned},
};

#[test]
fn algorithms_are_pinned_to_their_keys() {
    let setting = setting();
    for alg in
        ["none", "None", "nOnE", "", "HS256", "HS384", "HS512", "RS256", "eddsa", "Ed25519", "PS512", "ES512"]
    {
        assert!(is_malformed(&setting.judge_header(|header| header["alg"] = json!(alg))), "{alg}");
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": "key-1"}).to_string();
        let unsigned = unsigned(&header, &setting.claims().to_string());
        assert!(is_malformed(&setting.judge_token(&format!("{unsigned}."))), "{alg}");
        assert!(is_malformed(&setting.judge_token(&unsigned)), "{alg}");
    }
    for alg in ["ES256", "ES384", "PS256"] {
        let error = setting.judge_header(|header| header["alg"] = json!(alg));
        assert_eq!(error, Some(IdentityError::SignatureInvalid), "{alg}");
    }
}

#[test]
fn the_public_key_is_no_hmac_secret() {
    let setting = setting();
    for alg in ["HS256", "EdDSA"] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": "key-1"}).to_string();
        let signed = unsigned(&header, &setting.claims().to_string());
        let jwk = setting.signer.jwk().to_string();
        for secret in [setting.signer.public_key(), jwk.as_bytes()] {
            let mac = sign(signed.as_bytes(), &EncodingKey::from_secret(secret), Algorithm::HS256).unwrap();
            assert!(setting.judge_token(&format!("{signed}.{mac}")).is_some());
        }
    }
}

#[test]
fn signatures_are_checked() {
    let setting = setting();
    let token = setting.signer.sign(&setting.claims());
    let (signed, _) = token.rsplit_once('.').unwrap();
    let cases = [
        "".to_owned(),
        "AAAA".to_owned(),
        URL_SAFE_NO_PAD.encode([0; 64]),
        URL_SAFE_NO_PAD.encode([0xff; 4096]),
    ];
    for signature in cases {
        assert_eq!(
            setting.judge_token(&format!("{signed}.{signature}")),
            Some(IdentityError::SignatureInvalid)
        );
    }
    let (header, rest) = token.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let mut more = setting.claims();
    more["scope"] = json!("posthouse:manage:taxation/*/*");
    let forged = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(more.to_string()));
    assert_eq!(setting.judge_token(&forged), Some(IdentityError::SignatureInvalid));
    let stranger = Signer::new("key-1", Algorithm::EdDSA);
    assert_eq!(setting.judge_token(&stranger.sign(&setting.claims())), Some(IdentityError::SignatureInvalid));
}

#[test]
fn keys_are_looked_up_in_their_issuers_set_only() {
    let setting = setting();
    assert_eq!(setting.judge(|c| c["iss"] = json!("https://nobody")), Some(IdentityError::IssuerUnknown));
    assert_eq!(setting.judge(|c| c["iss"] = json!(issuer("Taxation"))), Some(IdentityError::IssuerUnknown));
    assert_eq!(setting.judge_header(|h| h["kid"] = json!("key-9")), Some(IdentityError::KeyUnknown));
    assert_eq!(setting.judge_header(|h| h["kid"] = json!("key-2")), Some(IdentityError::SignatureInvalid));
    for kid in [json!(null), json!(1), json!(""), json!(["key-1"])] {
        assert!(is_malformed(&setting.judge_header(|header| header["kid"] = kid.clone())), "{kid}");
    }
    // The other issuer has a key of the same name; ours does not pass for it.
    let error = setting.judge(|claims| claims["iss"] = json!(issuer("public-security")));
    assert_eq!(error, Some(IdentityError::SignatureInvalid));
}

#[test]
fn headers_that_change_the_reading_are_refused() {
    let setting = setting();
    for member in ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip"] {
        for value in [json!(null), json!(["exp"]), json!("x"), json!(true)] {
            let error = setting.judge_header(|header| header[member] = value.clone());
            assert_eq!(error, Some(Malformed::Forbidden { member }.into()));
        }
    }
    for typ in [
        json!("JWT"),
        json!("jwt"),
        json!(""),
        json!(null),
        json!("AT+JWT "),
        json!(" at+jwt"),
        json!("at-jwt"),
        json!("application/jwt"),
        json!("application/application/at+jwt"),
        json!(["at+jwt"]),
        json!("dpop+jwt"),
    ] {
        assert!(is_malformed(&setting.judge_header(|header| header["typ"] = typ.clone())), "{typ}");
    }
    for typ in ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+JWT"] {
        assert_eq!(setting.judge_header(|header| header["typ"] = json!(typ)), None, "{typ}");
    }
    for member in ["alg", "typ", "kid"] {
        let error = setting.judge_header(|header| drop(header.as_object_mut().unwrap().remove(member)));
        assert_eq!(error, Some(Malformed::Missing { member }.into()));
    }
}
