//! Key sets in the form in which products publish them. The keys are made for the test; the members beside them are
//! those that the products write.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{KeySet, SignatureAlgorithm, parse};
use crate::identity::testing::Signer;

/// A key with members of the product's own.
fn key(kid: &'static str, algorithm: Algorithm, more: &Value) -> Value {
    let mut key = Signer::new(kid, algorithm).jwk();
    key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    key
}

fn chain() -> Value {
    json!(["MIICpTCCAY0CBgF+", "MIIDdzCCAl+gAwIBAgIB"])
}

#[track_caller]
fn usable(set: &KeySet, kids: &[(&str, SignatureAlgorithm)]) {
    for (kid, algorithm) in kids {
        assert_eq!(set.algorithm(kid), Some(*algorithm), "{kid}: {:?}", set.remarks());
    }
}

#[test]
fn keycloak() {
    let x5 = json!({"use": "sig", "x5c": chain(), "x5t": "AQ", "x5t#S256": "AQID"});
    let with = |more: Value| {
        let mut all = x5.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let set = [
        key("FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE", Algorithm::PS256, &with(json!({"alg": "RS256"}))),
        key(
            "-yTKVLZbnIJLqB6JYHkqSwFwzY1Pxhxzl3W3HZO9zSk",
            Algorithm::PS256,
            &with(json!({"alg": "RSA-OAEP", "use": "enc"})),
        ),
        key("es", Algorithm::ES256, &json!({"alg": "ES256", "use": "sig"})),
        key("ed", Algorithm::EdDSA, &json!({"alg": "EdDSA", "use": "sig"})),
        key("ps", Algorithm::PS256, &with(json!({"alg": "PS256"}))),
        json!({"kid": "pq", "kty": "AKP", "alg": "ML-DSA-65", "use": "sig", "pub": "AAAA"}),
    ];
    let parsed = parse(&set).unwrap();
    let (es, ed, ps) = (SignatureAlgorithm::Es256, SignatureAlgorithm::EdDsa, SignatureAlgorithm::Ps256);
    usable(&parsed, &[("es", es), ("ed", ed), ("ps", ps)]);
    assert_eq!(parsed.remarks().len(), 3, "{:?}", parsed.remarks());
    assert!(parsed.remarks().iter().all(|remark| !remark.is_suspicious));
    // As it is installed: no key can be used here, and the error names its algorithm.
    let text = parse(&set[..2]).unwrap_err()[0].to_string();
    assert!(text.contains("\"RS256\"") && text.contains("\"enc\""), "{text}");
}

#[test]
fn entra_id() {
    // No alg; each key names its issuer, and the certificate's thumbprint is the kid.
    let more = json!({
        "use": "sig", "x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg", "x5c": chain(),
        "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0", "cloud_instance_name": "microsoftonline.com",
    });
    let set = parse(&[
        key("nOo3ZDrODXEK1jKWhXslHR_KXEg", Algorithm::PS256, &more),
        key("b", Algorithm::PS256, &more),
    ]);
    let set = set.unwrap();
    usable(&set, &[("b", SignatureAlgorithm::Ps256)]);
    let [remark] = set.remarks() else { panic!("{:?}", set.remarks()) };
    assert!(remark.text.contains("PS256 only") && remark.text.contains("RS256 are refused"), "{remark:?}");
}

#[test]
fn auth0_okta_and_google() {
    let auth0 = json!({"alg": "RS256", "use": "sig", "x5t": "AQ", "x5c": chain()});
    let okta = json!({"alg": "RS256", "use": "sig"});
    let google = json!({"alg": "RS256", "use": "sig"});
    for more in [auth0, okta, google] {
        let signed = key("k1", Algorithm::PS256, &more);
        assert!(parse(std::slice::from_ref(&signed)).is_err(), "{more}");
        // With a key of an accepted algorithm, which Auth0 and Okta can have.
        let set =
            parse(&[signed, key("k2", Algorithm::ES256, &json!({"alg": "ES256", "use": "sig"}))]).unwrap();
        usable(&set, &[("k2", SignatureAlgorithm::Es256)]);
        assert_eq!(set.remarks().len(), 1);
    }
}

#[test]
fn kubernetes_and_spire() {
    let kubernetes = json!({"use": "sig", "alg": "RS256"});
    assert!(parse(&[key("k1", Algorithm::PS256, &kubernetes)]).is_err());
    // SPIRE marks the keys of its tokens with a use of its own, and those of certificates with another.
    let spire = [
        key("jwt", Algorithm::ES256, &json!({"use": "jwt-svid"})),
        key("x", Algorithm::ES256, &json!({"use": "x509-svid", "x5c": chain()})),
    ];
    let text = parse(&spire).unwrap_err()[0].to_string();
    assert!(text.contains("\"jwt-svid\""), "{text}");
    let keys = [key("k", Algorithm::ES256, &json!({}))];
    let bundle = json!({"spiffe_sequence": 1, "spiffe_refresh_hint": 2, "keys": keys});
    usable(&KeySet::parse(bundle.to_string().as_bytes()).unwrap(), &[("k", SignatureAlgorithm::Es256)]);
}
