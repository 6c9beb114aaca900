//! Key sets and tokens in the form that issuers' products give them.

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use posthouse::dev::{
    AUDIENCE,
    config::issuer_url,
    spiffe_id,
    token::{Algorithm, Claims, Issuer},
};
use posthouse_proto::v1::GetQueueRequest;
use posthouse_tests::harness::{
    binaries, eventually,
    probe::{scrape, value},
    refusal::assert_refused,
    scene::Scene,
    site::{CIVIL, Credentials, Site},
    wire::Caller,
};
use serde_json::{Value, json};
use tonic::Code;

/// A modulus of 2048 bits: a valid key that no test signs with.
fn rsa(kid: &str, more: &Value) -> Value {
    let modulus = format!("{}{}", "v".repeat(341), "w");
    let mut key =
        json!({"kty": "RSA", "kid": kid, "n": modulus, "e": "AQAB", "x5c": ["MIICmzCCAYMCBgF"], "x5t": "Aa"});
    key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    key
}

/// The key set of a Keycloak realm that has one of our keys too.
fn keycloak(issuer: &Issuer) -> Value {
    let own: Value = serde_json::from_str(&issuer.key_set()).unwrap();
    json!({"keys": [
        rsa("sig", &json!({"alg": "RS256", "use": "sig"})),
        rsa("enc", &json!({"alg": "RSA-OAEP", "use": "enc"})),
        own["keys"][0],
        {"kty": "AKP", "kid": "pq", "alg": "ML-DSA-65", "use": "sig", "pub": "AAAA"},
        {"kty": "OKP", "crv": "X25519", "use": "enc", "x": "AAAA"},
    ]})
}

fn write(site: &Site, keys: &Value) {
    fs::write(site.path("new"), keys.to_string()).unwrap();
    fs::rename(site.path("new"), site.path(&format!("issuers/{CIVIL}.jwks.json"))).unwrap();
}

fn check(site: &Site) -> Output {
    Command::new(binaries::posthouse())
        .args(["serve", "--check", "--config"])
        .arg(site.config())
        .output()
        .unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A site whose tenant's tokens come from an issuer with a key set like Keycloak's.
struct Fixture {
    scene: Scene,
    issuer: Issuer,
    queue: String,
}

impl Fixture {
    async fn new() -> Self {
        let site = Site::new();
        let issuer = Issuer::new(&issuer_url(CIVIL), Algorithm::EdDsa).unwrap();
        write(&site, &keycloak(&issuer));
        let certificate = site.certificate(CIVIL);
        let lifetime = Duration::from_secs(1800);
        let thumbprint = certificate.thumbprint().unwrap();
        let claims = Claims::bound(&issuer, CIVIL, &spiffe_id(CIVIL), &thumbprint, lifetime);
        let token = issuer.mint(&claims).unwrap();
        let scene = Scene::with(site, Credentials { certificate, token }).await;
        let queue = scene.plain_queue("q").await;
        Self { scene, issuer, queue }
    }

    fn claims(&self) -> Value {
        let thumbprint = self.scene.credentials.certificate.thumbprint().unwrap();
        let claims =
            Claims::bound(&self.issuer, CIVIL, &spiffe_id(CIVIL), &thumbprint, Duration::from_secs(1800));
        serde_json::to_value(claims).unwrap()
    }

    /// Describes a queue with a token of these claims.
    async fn call(&self, typ: &str, claims: &Value) -> Result<(), tonic::Status> {
        let mut header = self.issuer.header();
        header.typ = Some(typ.to_owned());
        self.ask(&self.scene.caller.with_token(Some(&self.issuer.mint_with(&header, claims).unwrap()))).await
    }

    async fn ask(&self, caller: &Caller) -> Result<(), tonic::Status> {
        let request = caller.request(GetQueueRequest { name: self.queue.clone() });
        caller.queues().get_queue(request).await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_for_other_purposes_are_passed_over_and_told() {
    let fixture = Fixture::new().await;
    fixture.ask(&fixture.scene.caller).await.unwrap();
    let site = &fixture.scene.site;
    let passed_over = [
        "key 1 (\"sig\"): its \"alg\" is \"RS256\"",
        "key 2 (\"enc\"): its \"use\" is \"enc\"",
        "key 4 (\"pq\")",
        "key 5",
    ];
    let checked = check(site);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let shown = String::from_utf8(checked.stdout).unwrap();
    for words in passed_over {
        assert!(
            shown.lines().any(|line| line.starts_with("note: line ") && line.contains(words)),
            "{words}: {shown}"
        );
        let log = fixture.scene.server.log();
        assert!(log.lines().any(|line| line.contains("INFO") && line.contains(words)), "{words}: {log}");
    }
    assert!(shown.ends_with("is in order\n"), "{shown}");

    // The same when the set is replaced while the server runs; a key that may be a mistake causes a warning.
    let mut keys = keycloak(&fixture.issuer);
    keys["keys"]
        .as_array_mut()
        .unwrap()
        .push(json!({"kty": "EC", "crv": "P-256", "kid": "torn", "x": "AA", "y": "AA"}));
    let other = Issuer::new("https://other.example", Algorithm::Es256).unwrap();
    let own: Value = serde_json::from_str(&other.key_set()).unwrap();
    keys["keys"].as_array_mut().unwrap().push(own["keys"][0].clone());
    write(site, &keys);
    eventually("the warning", async || {
        let log = fixture.scene.server.log();
        log.lines().any(|line| line.contains("WARN") && line.contains("key 6 (\"torn\")")).then_some(())
    })
    .await;
    fixture.ask(&fixture.scene.caller).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_cannot_be_trusted_is_refused_whole() {
    let fixture = Fixture::new().await;
    let site = &fixture.scene.site;
    let with = |more: Value| {
        let mut keys = keycloak(&fixture.issuer);
        keys["keys"].as_array_mut().unwrap().push(more);
        keys
    };
    let (signing, encrypting) = (json!({"alg": "RS256", "use": "sig"}), json!({"use": "enc"}));
    let only_others = json!({"keys": [rsa("sig", &signing), rsa("enc", &encrypting)]});
    for (keys, words) in [
        (only_others, "none of its keys can verify a token"),
        (with(json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0"})), "key 6: it is a secret"),
        (with(rsa("r", &json!({"d": "AAAA"}))), "key 6: it is a secret"),
        (
            with(json!({"kty": "AKP", "kid": "p", "alg": "ML-DSA-44", "pub": "AA", "priv": "AA"})),
            "key 6: it is a secret",
        ),
        (with(rsa("sig", &json!({"alg": "PS256"}))), "key 6: its kid is another key's too"),
        (json!({"keys": []}), "it has no keys"),
    ] {
        write(site, &keys);
        eventually(words, async || {
            let log = fixture.scene.server.log();
            log.lines().any(|line| line.contains("cannot be used") && line.contains(words)).then_some(())
        })
        .await;
        fixture.ask(&fixture.scene.caller).await.unwrap();
        let checked = check(site);
        let printed = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(78), "{printed}");
        assert!(printed.contains(words) && printed.contains("issuer["), "{words:?} is not in {printed}");
    }
    // Other files are no key sets either: a gateway's error page, a half-written file, an endless one.
    let path = site.path(&format!("issuers/{CIVIL}.jwks.json"));
    for (bytes, words) in [
        (b"<html>502 Bad Gateway</html>".to_vec(), "it is not a JSON object"),
        (Vec::new(), "it is not a JSON object"),
        (vec![b' '; (4 << 20) + 1], "bytes"),
    ] {
        let failed = async || {
            value(
                &scrape(site.management()).await,
                "posthouse_reloads_total{result=\"failed\",what=\"key_set\"}",
            )
        };
        let before = failed().await;
        fs::write(&path, bytes).unwrap();
        eventually("a reload that fails", async || (failed().await > before).then_some(())).await;
        fixture.ask(&fixture.scene.caller).await.unwrap();
        let checked = check(site);
        let printed = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(78), "{printed}");
        assert!(printed.contains(words), "{words:?} is not in {printed}");
    }
    assert!(!fixture.scene.server.log().contains("c2VjcmV0"), "a secret is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_as_issuers_make_them_are_taken() {
    let fixture = Fixture::new().await;
    let with = |name: &str, value: Value| {
        let mut claims = fixture.claims();
        claims[name] = value;
        claims
    };
    let scope = fixture.claims()["scope"].as_str().unwrap().to_owned();
    let accepted = [
        with("aud", json!(["account", AUDIENCE])),
        with("aud", json!([AUDIENCE])),
        with("exp", json!(now() as f64 + 600.75)),
        with("iat", json!(now() as f64 - 5.25)),
        with("nbf", json!(now() as f64 - 5.25)),
        with("scope", json!(format!("openid  profile {scope}   email "))),
        with("realm_access", json!({"roles": ["offline_access", 1.5e3, null]})),
    ];
    for claims in &accepted {
        fixture.call("at+jwt", claims).await.unwrap_or_else(|status| panic!("{claims}: {status:?}"));
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        fixture.call(typ, &fixture.claims()).await.unwrap_or_else(|status| panic!("{typ}: {status:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_issuer_should_make_stays_refused() {
    let fixture = Fixture::new().await;
    let with = |name: &str, value: Value| {
        let mut claims = fixture.claims();
        claims[name] = value;
        claims
    };
    let scope = fixture.claims()["scope"].as_str().unwrap().to_owned();
    let refused = [
        (with("aud", json!(["account", "other"])), "TOKEN_AUDIENCE_WRONG"),
        (with("aud", json!([AUDIENCE, 7])), "TOKEN_MALFORMED"),
        (with("aud", json!([])), "TOKEN_MALFORMED"),
        (with("exp", json!((now() + 600).to_string())), "TOKEN_MALFORMED"),
        (with("exp", json!(1e30)), "TOKEN_MALFORMED"),
        (with("exp", json!(-1.5)), "TOKEN_MALFORMED"),
        (with("iat", json!(-1)), "TOKEN_MALFORMED"),
        (with("exp", json!(now() as f64 - 0.5)), "TOKEN_EXPIRED"),
        (with("nbf", json!(now() as f64 + 120.5)), "TOKEN_NOT_YET_VALID"),
        (with("scope", json!(format!("{scope} posthouse:publish:{CIVIL}"))), "TOKEN_SCOPE_INVALID"),
        (with("scope", json!(format!("{scope} posthouse:fly:{CIVIL}/*/*"))), "TOKEN_SCOPE_INVALID"),
        (
            with("scope", json!(vec![format!("posthouse:stats:{CIVIL}/a/b"); 65].join(" "))),
            "TOKEN_SCOPE_INVALID",
        ),
    ];
    for (claims, reason) in refused {
        assert_refused(fixture.call("at+jwt", &claims).await, Code::Unauthenticated, reason);
    }
    for typ in ["JWT", "at", "at+jwt ", "application/jwt"] {
        assert_refused(fixture.call(typ, &fixture.claims()).await, Code::Unauthenticated, "TOKEN_MALFORMED");
    }
    // A token without any of our claims gives no rights.
    let others = fixture.call("at+jwt", &with("scope", json!("openid profile"))).await;
    assert_refused(others, Code::PermissionDenied, "GRANT_MISSING");
}
