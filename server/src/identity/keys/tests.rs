mod issuers;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{KeyRemark, KeySet, KeySetError, SignatureAlgorithm};
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

/// The reasons for which keys were passed over in a set that has a good one besides.
fn skipped(key: Value) -> Vec<KeyRemark> {
    let set = parse(&[key, Signer::new("good", Algorithm::EdDSA).jwk()]).unwrap();
    assert_eq!(set.algorithm("good"), Some(SignatureAlgorithm::EdDsa));
    assert_eq!(set.algorithm("a"), None);
    set.remarks().to_vec()
}

#[test]
fn secrets_refuse_the_whole_set() {
    let ed = || Signer::new("a", Algorithm::EdDSA).jwk();
    let good = Signer::new("good", Algorithm::EdDSA).jwk();
    let secret = [KeySetError::Key { number: 2, problem: "it is a secret; a key set has public keys only" }];
    let unknown = json!({"kty": "AKP", "kid": "a", "alg": "ML-DSA-65", "pub": "AAAA", "priv": "AAAA"});
    let for_encryption = with(with(ed(), "use", json!("enc")), "d", json!("AAAA"));
    for key in [
        json!({"kty": "oct", "kid": "a", "k": "c2VjcmV0"}),
        json!({"kty": "oct", "use": "enc"}),
        json!({"kid": "a", "d": null}),
        with(ed(), "d", json!("AAAA")),
        with(ed(), "k", json!("AAAA")),
        unknown,
        for_encryption,
    ] {
        assert_eq!(parse(&[good.clone(), key]).unwrap_err(), secret);
    }
}

#[test]
fn keys_for_something_else_are_passed_over() {
    let ed = || Signer::new("a", Algorithm::EdDSA).jwk();
    let p256 = || Signer::new("a", Algorithm::ES256).jwk();
    let rsa = || Signer::new("a", Algorithm::PS256).jwk();
    let mut nameless = ed();
    nameless.as_object_mut().unwrap().remove("kid");
    for (key, why) in [
        (with(rsa(), "use", json!("enc")), "key 1 (\"a\"): its \"use\" is \"enc\", not sig"),
        (with(rsa(), "use", json!(["sig"])), "its \"use\" is no text, not sig"),
        (with(ed(), "key_ops", json!(["sign"])), "its \"key_ops\" does not list verify"),
        (with(ed(), "key_ops", json!("verify")), "its \"key_ops\" does not list verify"),
        (with(rsa(), "alg", json!("RS256")), "its \"alg\" is \"RS256\"; keys of its type are used for PS256"),
        (with(rsa(), "alg", json!("RSA-OAEP")), "its \"alg\" is \"RSA-OAEP\""),
        (with(rsa(), "alg", json!("PS512")), "its \"alg\" is \"PS512\""),
        (with(ed(), "alg", json!("ES256")), "its \"alg\" is \"ES256\"; keys of its type are used for EdDSA"),
        (with(ed(), "alg", json!("HS256")), "its \"alg\" is \"HS256\""),
        (with(ed(), "alg", json!(7)), "its \"alg\" is no text"),
        (with(ed(), "crv", json!("Ed448")), "it is not one of Ed25519, P-256, P-384 and RSA"),
        (with(ed(), "crv", json!("X25519")), "it is not one of"),
        (with(p256(), "crv", json!("P-521")), "it is not one of"),
        (with(p256(), "crv", json!("secp256k1")), "it is not one of"),
        (json!({"kty": "AKP", "kid": "a", "alg": "ML-DSA-65", "pub": "AAAA"}), "it is not one of"),
        (json!({"kty": "of later times", "kid": "a", "x": {"y": [[{"z": 1.5}]]}}), "it is not one of"),
        (nameless, "key 1: it has no \"kid\" for tokens to name it by"),
        (with(ed(), "kid", json!(1)), "it has no \"kid\""),
    ] {
        let [remark] = &skipped(key)[..] else { panic!("{why}") };
        assert!(remark.text.contains(why) && !remark.is_suspicious, "{why:?} is not in {remark:?}");
    }
}

#[test]
fn keys_that_are_broken_are_passed_over_and_warned_of() {
    let ed = || Signer::new("a", Algorithm::EdDSA).jwk();
    let p256 = || Signer::new("a", Algorithm::ES256).jwk();
    let rsa = || Signer::new("a", Algorithm::PS256).jwk();
    for key in [
        json!({}),
        with(ed(), "kty", json!(1)),
        with(ed(), "kid", json!("")),
        with(ed(), "kid", json!("a\nb")),
        with(ed(), "kid", json!("a".repeat(129))),
        with(ed(), "x", json!("AAAA")),
        with(p256(), "y", json!("AAAA")),
        with(p256(), "y", p256()["x"].clone()),
        with(p256(), "crv", json!("P-384")),
        with(p256(), "kty", json!("RSA")),
        with(rsa(), "e", json!("Aw")),
        with(rsa(), "e", json!("")),
        with(rsa(), "n", json!("AQAB")),
        with(rsa(), "n", json!("")),
        json!({"kty": "EC", "crv": "P-256", "kid": "a"}),
    ] {
        let [remark] = &skipped(key.clone())[..] else { panic!("{key}") };
        assert!(remark.text.starts_with("key 1") && remark.is_suspicious, "{key}: {remark:?}");
    }
}

#[test]
fn a_set_without_a_usable_key_is_refused_with_all_reasons() {
    let rsa = with(Signer::new("a", Algorithm::PS256).jwk(), "alg", json!("RS256"));
    let weak = with(Signer::new("b", Algorithm::PS256).jwk(), "n", json!("AQAB"));
    let [error] = &parse(&[rsa, weak]).unwrap_err()[..] else { panic!() };
    let text = error.to_string();
    for part in ["none of its keys", "ES256", "key 1 (\"a\"): its \"alg\" is \"RS256\"", "fewer than 2048"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn a_kid_is_one_keys_only_whether_it_is_used_or_not() {
    let [one, two] = [Algorithm::EdDSA, Algorithm::ES256].map(|algorithm| Signer::new("a", algorithm).jwk());
    let repeated = [KeySetError::Key { number: 2, problem: "its kid is another key's too" }];
    assert_eq!(parse(&[one.clone(), two.clone()]).unwrap_err(), repeated);
    assert_eq!(parse(&[one, with(two, "use", json!("enc"))]).unwrap_err(), repeated);
    assert_eq!(
        parse(&[json!(1)]).unwrap_err(),
        [KeySetError::Key { number: 1, problem: "it is not an object" }]
    );
}

#[test]
fn a_text_of_the_set_is_shown_cut_and_escaped() {
    let key = with(Signer::new("a", Algorithm::EdDSA).jwk(), "alg", json!("\u{1b}[2J".repeat(100)));
    let [remark] = &skipped(key)[..] else { panic!() };
    assert!(!remark.text.contains('\u{1b}') && remark.text.len() < 400, "{remark:?}");
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
