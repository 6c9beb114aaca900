use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{KeySet, KeySetError, SignatureAlgorithm};
use crate::identity::testing::Signer;

fn parse(keys: &[Value]) -> Result<KeySet, Vec<KeySetError>> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

#[test]
fn each_key_has_one_algorithm() {
    let set = parse(&[
        Signer::new("ed", Algorithm::EdDSA).jwk(),
        Signer::new("p256", Algorithm::ES256).jwk(),
        Signer::new("p384", Algorithm::ES384).jwk(),
        Signer::new("rsa", Algorithm::PS256).jwk(),
    ])
    .unwrap();
    assert_eq!(set.algorithm("ed"), Some(SignatureAlgorithm::EdDsa));
    assert_eq!(set.algorithm("p256"), Some(SignatureAlgorithm::Es256));
    assert_eq!(set.algorithm("p384"), Some(SignatureAlgorithm::Es384));
    assert_eq!(set.algorithm("rsa"), Some(SignatureAlgorithm::Ps256));
    assert_eq!(set.algorithm("ED"), None);
}

#[test]
fn secrets_are_refused() {
    let ed = || Signer::new("a", Algorithm::EdDSA).jwk();
    let secret =
        Err(vec![KeySetError::Key { number: 1, problem: "it is a secret; a key set has public keys only" }]);
    let oct = json!({"kty": "oct", "kid": "a", "k": "c2VjcmV0"});
    for key in [oct, with(ed(), "d", json!("AAAA")), with(ed(), "k", json!("AAAA"))] {
        assert_eq!(parse(&[key]).map(drop), secret);
    }
}

#[test]
fn unusable_keys_are_refused_all_at_once() {
    let ed = || Signer::new("a", Algorithm::EdDSA).jwk();
    let p256 = || Signer::new("a", Algorithm::ES256).jwk();
    let rsa = Signer::new("a", Algorithm::PS256).jwk();
    let bad = [
        json!(1),
        json!({}),
        with(ed(), "kid", json!(1)),
        with(ed(), "kid", json!("")),
        with(ed(), "kid", json!("a\nb")),
        with(ed(), "use", json!("enc")),
        with(ed(), "key_ops", json!(["sign"])),
        with(ed(), "alg", json!("ES256")),
        with(ed(), "alg", json!("HS256")),
        with(ed(), "x", json!("AAAA")),
        with(ed(), "crv", json!("Ed448")),
        with(p256(), "y", json!("AAAA")),
        with(p256(), "y", p256()["x"].clone()),
        with(p256(), "crv", json!("P-384")),
        with(p256(), "crv", json!("secp256k1")),
        with(p256(), "kty", json!("RSA")),
        with(rsa.clone(), "e", json!("Aw")),
        with(rsa.clone(), "e", json!("")),
        with(rsa.clone(), "n", json!("AQAB")),
        with(rsa.clone(), "n", json!("")),
        with(rsa, "alg", json!("RS256")),
        json!({"kty": "EC", "kid": "a"}),
        json!({"kty": "none", "kid": "a"}),
    ];
    let errors = parse(&bad).unwrap_err();
    let numbers: Vec<usize> = errors
        .iter()
        .filter_map(|e| if let KeySetError::Key { number, .. } = e { Some(*number) } else { None })
        .collect();
    assert_eq!(numbers, (1..=bad.len()).collect::<Vec<_>>(), "{errors:#?}");
}

#[test]
fn a_kid_is_one_keys_only() {
    let keys = [Signer::new("a", Algorithm::EdDSA).jwk(), Signer::new("a", Algorithm::ES256).jwk()];
    assert_eq!(parse(&keys).unwrap_err().len(), 1);
}

#[test]
fn what_is_no_key_set_is_refused() {
    for text in
        ["", "[]", "{}", "null", "{\"keys\":{}}", "{\"keys\":1}", "<html>", "{\"keys\":[],\"keys\":[]}"]
    {
        assert_eq!(KeySet::parse(text.as_bytes()).unwrap_err(), [KeySetError::Shape], "{text}");
    }
    assert_eq!(parse(&[]).unwrap_err(), [KeySetError::Empty]);
    assert_eq!(parse(&vec![json!({}); 65]).unwrap_err(), [KeySetError::TooMany]);
}

#[test]
fn what_is_shown_has_no_key_in_it() {
    let signer = Signer::new("key-name", Algorithm::EdDSA);
    let set = parse(&[signer.jwk()]).unwrap();
    assert_eq!(format!("{set:?}"), "{\"key-name\": EdDsa}");
}
