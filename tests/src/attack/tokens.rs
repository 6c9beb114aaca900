//! Tokens that are correct but for their signature.

use std::fs;

use aws_lc_rs::{
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use posthouse::dev::token::Claims;
use serde_json::{Value, json};

use crate::harness::site::{Site, TAXATION};

const KEY_ID: &str = "rsa";
const RSA_BYTES: usize = 256;

/// Adds an RSA key to the keys of the attacker's issuer; call it before the server starts.
pub fn add_rsa_key(site: &Site) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let (modulus, exponent) = (pair.public_key().modulus(), pair.public_key().exponent());
    let modulus = BASE64.encode(modulus.big_endian_without_leading_zero());
    let exponent = BASE64.encode(exponent.big_endian_without_leading_zero());
    let path = site.path(&format!("issuers/{TAXATION}.jwks.json"));
    let mut keys: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let key = json!({
        "kty": "RSA", "kid": KEY_ID, "alg": "PS256", "use": "sig", "n": modulus, "e": exponent
    });
    keys["keys"].as_array_mut().unwrap().push(key);
    fs::write(path, keys.to_string()).unwrap();
}

/// A token with another signature.
pub fn with_another_signature(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = BASE64.decode(signature).unwrap();
    // The second half stays below the order of the group, so that the signature is verified and not only parsed.
    signature[0] ^= 1;
    format!("{signed}.{}", BASE64.encode(signature))
}

/// A token as if signed with the key of [`add_rsa_key`].
pub fn as_if_by_rsa(claims: &Claims) -> String {
    let header = json!({"typ": "at+jwt", "alg": "PS256", "kid": KEY_ID});
    let encode = |value: &Value| BASE64.encode(value.to_string());
    let mut signature = [0x5a; RSA_BYTES];
    signature[0] = 0;
    let claims = serde_json::to_value(claims).unwrap();
    format!("{}.{}.{}", encode(&header), encode(&claims), BASE64.encode(signature))
}
