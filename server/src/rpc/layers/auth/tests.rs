use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use jsonwebtoken::Algorithm;
use posthouse_proto::v1::ErrorReason;
use prometheus::IntCounter;
use serde_json::json;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{
    door::ConnectionAuth,
    identity::{
        Binding, CertificateError, ConnIdentity, Issuer, KeySet, RefusedIdentity, TokenPolicy, TokenVerifier,
        testing::{Signer, claims, connection, issuer, tenants},
    },
    limits::{MAX_AUTH_FAILURES, MAX_CERTIFICATE_FAILURES, MAX_THROTTLED_CALLS},
    policy::{Admitted, methods},
    quota::Quota,
    rpc::layers::auth::{Auth, AuthLayer, Calls},
};

const PUBLISH: &str = "/posthouse.v1.Publisher/Publish";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

struct Setting {
    layer: AuthLayer,
    signer: Signer,
    connection: Arc<ConnIdentity>,
}

fn unlimited() -> Calls {
    let refused = IntCounter::new("refused", "Refused calls.").unwrap();
    Calls { quota: Quota::new([], &Arc::default()), refused }
}

fn setting() -> Setting {
    let signer = Signer::new("key-1", Algorithm::EdDSA);
    let keys = KeySet::parse(json!({"keys": [signer.jwk()]}).to_string().as_bytes()).unwrap();
    let policy = TokenPolicy { audience: "posthouse".to_owned(), max_lifetime: Duration::from_secs(3600) };
    let trusted = Issuer {
        issuer: issuer("taxation"),
        keys,
        tenants: tenants(&["taxation"]),
        binding: Binding::CertificateHash,
    };
    let verifier = TokenVerifier::new(policy, [trusted]);
    Setting {
        layer: AuthLayer::new(Arc::new(verifier), unlimited()),
        signer,
        connection: Arc::new(connection("taxation", "returns")),
    }
}

/// Answers with the subject it finds, and fails if the token came this far.
async fn inner(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    assert!(!request.headers().contains_key("authorization"), "the token was handed on");
    let admitted = request.extensions().get::<Admitted>();
    let admission = admitted.and_then(Admitted::to::<methods::Publish>);
    let subject = match (&admission, admitted) {
        (Some(admission), _) => admission.principal().subject.as_str(),
        (None, Some(_)) => "admitted to another method",
        (None, None) => "nobody",
    };
    let response = Response::builder().header("subject", subject).body(Body::empty());
    Ok(response.unwrap())
}

impl Setting {
    fn token(&self, scope: &str) -> String {
        self.signer.sign(&claims(&self.connection, scope))
    }

    fn request(&self, path: &str, authorization: &[&str]) -> Request<Body> {
        let mut builder = Request::post(path).extension(Arc::clone(&self.connection));
        for value in authorization {
            builder = builder.header("authorization", *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    /// The subject that the handler saw, or the refusal.
    async fn call(&self, request: Request<Body>) -> Result<String, (Code, String)> {
        let response = self.layer.layer(service_fn(inner)).oneshot(request).await.unwrap();
        match response.headers().get("subject") {
            Some(subject) => Ok(subject.to_str().unwrap().to_owned()),
            None => {
                let status = Status::from_header_map(response.headers()).unwrap();
                Err((status.code(), status.get_details_error_info().unwrap().reason))
            }
        }
    }
}

fn unauthenticated(reason: ErrorReason) -> Result<String, (Code, String)> {
    refused(Code::Unauthenticated, reason)
}

fn refused(code: Code, reason: ErrorReason) -> Result<String, (Code, String)> {
    Err((code, reason.as_str_name().trim_start_matches("ERROR_REASON_").to_owned()))
}

#[tokio::test]
async fn a_good_token_puts_the_principal_into_the_request() {
    let setting = setting();
    let token = setting.token("posthouse:publish:taxation/returns/inbox");
    let subject = setting.connection.spiffe_id.as_str();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = setting.request(PUBLISH, &[&format!("{scheme} {token}")]);
        assert_eq!(setting.call(request).await.as_deref(), Ok(subject));
    }
}

#[tokio::test]
async fn exactly_one_bearer_token_is_taken() {
    let setting = setting();
    let token = setting.token("posthouse:publish:taxation/returns/inbox");
    let good = format!("Bearer {token}");
    let none = setting.request(PUBLISH, &[]);
    assert_eq!(setting.call(none).await, unauthenticated(ErrorReason::TokenMissing));
    assert_eq!(
        setting.call(setting.request(PUBLISH, &["Bearer "])).await,
        unauthenticated(ErrorReason::TokenMissing)
    );
    let cases: [&[&str]; 8] = [
        &[&good, &good],
        &[""],
        &["Bearer"],
        &[&token],
        &[&format!("Basic {token}")],
        &[&format!("Bearer  {token}")],
        &[&format!("{good},{good}")],
        &[&format!("Bearer\t{token}")],
    ];
    for case in cases {
        let answer = setting.call(setting.request(PUBLISH, case)).await;
        assert_eq!(answer, unauthenticated(ErrorReason::TokenMalformed), "{case:?}");
    }
}

#[tokio::test]
async fn an_unlisted_method_is_refused_to_everybody() {
    let setting = setting();
    let good = format!("Bearer {}", setting.token("posthouse:publish:taxation/*/*"));
    for path in [
        "/posthouse.v1.Publisher/Nothing",
        "/",
        "/posthouse.v1.Publisher/publish",
        "/grpc.health.v1.Health/List",
    ] {
        let answer = setting.call(setting.request(path, &[&good])).await;
        assert_eq!(answer, refused(Code::PermissionDenied, ErrorReason::MethodNotAllowed), "{path}");
    }
}

#[tokio::test]
async fn health_asks_for_a_certificate_only() {
    let setting = setting();
    assert_eq!(setting.call(setting.request(HEALTH, &[])).await.as_deref(), Ok("nobody"));
    assert_eq!(setting.call(setting.request(HEALTH, &["Bearer rubbish"])).await.as_deref(), Ok("nobody"));
}

#[tokio::test]
async fn a_method_needs_its_action() {
    let setting = setting();
    let answers = [
        ("publish", PUBLISH, true),
        ("consume", PUBLISH, false),
        ("manage", PUBLISH, false),
        ("consume", "/posthouse.v1.Consumer/Settle", true),
        ("browse", "/posthouse.v1.Consumer/Receive", false),
        ("publish", "/posthouse.v1.Queues/GetQueue", false),
        ("stats", "/posthouse.v1.Queues/GetQueue", true),
        ("manage", "/posthouse.v1.Queues/ListQueues", true),
        ("stats", "/posthouse.v1.Queues/DeleteQueue", false),
        ("manage", "/posthouse.v1.Queues/PurgeQueue", true),
    ];
    for (action, path, allowed) in answers {
        let token = setting.token(&format!("posthouse:{action}:taxation/*/*"));
        let answer = setting.call(setting.request(path, &[&format!("Bearer {token}")])).await;
        match answer {
            Ok(_) => assert!(allowed, "{action} {path}"),
            Err(_) => {
                assert!(!allowed, "{action} {path}");
                assert_eq!(answer, refused(Code::PermissionDenied, ErrorReason::GrantMissing));
            }
        }
    }
}

#[tokio::test]
async fn without_an_identity_nothing_is_answered() {
    let setting = setting();
    let token = format!("Bearer {}", setting.token("posthouse:publish:taxation/*/*"));
    for path in [PUBLISH, HEALTH] {
        let mut request = setting.request(path, &[&token]);
        request.extensions_mut().remove::<Arc<ConnIdentity>>();
        let (error, peer) = (CertificateError::UriCount { count: 2 }, "127.0.0.1:1".parse().unwrap());
        let refused = RefusedIdentity::new(b"", BTreeSet::new(), error, peer);
        request.extensions_mut().insert(Arc::new(refused));
        assert_eq!(setting.call(request).await, unauthenticated(ErrorReason::CertificateIdentityInvalid));
        let mut request = setting.request(path, &[&token]);
        request.extensions_mut().remove::<Arc<ConnIdentity>>();
        assert_eq!(setting.call(request).await, unauthenticated(ErrorReason::CertificateIdentityInvalid));
    }
}

impl Setting {
    /// A call on a connection that stands so.
    async fn call_on(
        &self,
        auth: &ConnectionAuth,
        path: &str,
        token: &str,
    ) -> Result<String, (Code, String)> {
        let mut request = self.request(path, &[&format!("Bearer {token}")]);
        request.extensions_mut().insert(auth.clone());
        self.call(request).await
    }

    fn auth(&self) -> ConnectionAuth {
        ConnectionAuth::for_tests(self.connection.certificate_sha256)
    }

    /// A token with all claims in order, by a key that only has the right name.
    fn forged(&self, number: u32) -> String {
        let scope = format!("posthouse:publish:taxation/returns/inbox{number}");
        Signer::new("key-1", Algorithm::EdDSA).sign(&claims(&self.connection, &scope))
    }

    /// How many tokens were verified.
    fn verified(&self) -> u64 {
        self.layer.tokens.cache_lookups().1
    }
}

fn throttled() -> Result<String, (Code, String)> {
    refused(Code::ResourceExhausted, ErrorReason::LimitReached)
}

#[tokio::test]
async fn after_too_many_failures_nothing_more_is_verified_on_a_connection() {
    let setting = setting();
    let auth = setting.auth();
    for number in 0..MAX_AUTH_FAILURES {
        let answer = setting.call_on(&auth, PUBLISH, &setting.forged(number)).await;
        assert_eq!(answer, unauthenticated(ErrorReason::TokenSignatureInvalid), "{number}");
        if number < MAX_AUTH_FAILURES - 1 {
            // Which says nothing of the connection, with whatever token.
            assert!(setting.call_on(&auth, HEALTH, "").await.is_ok());
        }
    }
    let verified = setting.verified();
    let good = setting.token("posthouse:publish:taxation/returns/inbox");
    for path in [PUBLISH, HEALTH, "/x/y"] {
        for token in [&good, &setting.forged(99)] {
            assert_eq!(setting.call_on(&auth, path, token).await, throttled(), "{path}");
        }
    }
    assert_eq!(setting.verified(), verified);
    // The same certificate on another connection.
    assert!(setting.call_on(&auth.sibling(), PUBLISH, &good).await.is_ok());
    for _ in 0..MAX_THROTTLED_CALLS {
        assert_eq!(setting.call_on(&auth, PUBLISH, &good).await, throttled());
    }
    tokio::time::timeout(Duration::from_secs(60), auth.goes_on()).await.expect("it is not cut off");
}

#[tokio::test]
async fn calls_without_a_token_and_of_no_method_count_and_a_good_token_resets() {
    let setting = setting();
    let auth = setting.auth();
    let good = setting.token("posthouse:publish:taxation/returns/inbox");
    for _ in 0..10 {
        for _ in 0..MAX_AUTH_FAILURES / 2 - 1 {
            assert!(setting.call_on(&auth, "/x/y", &good).await.is_err());
            let mut request = setting.request(PUBLISH, &[]);
            request.extensions_mut().insert(auth.clone());
            assert_eq!(setting.call(request).await, unauthenticated(ErrorReason::TokenMissing));
        }
        assert!(setting.call_on(&auth, PUBLISH, &good).await.is_ok());
    }
    for _ in 0..MAX_AUTH_FAILURES {
        assert!(setting.call_on(&auth, "/x/y", &good).await.is_err());
    }
    assert_eq!(setting.call_on(&auth, PUBLISH, &good).await, throttled());
}

#[tokio::test]
async fn a_certificate_that_fails_again_and_again_keeps_what_was_verified_before() {
    let setting = setting();
    let first = setting.auth();
    let good = setting.token("posthouse:publish:taxation/returns/inbox");
    assert!(setting.call_on(&first, PUBLISH, &good).await.is_ok());
    let mut auth = first.sibling();
    for number in 0..MAX_CERTIFICATE_FAILURES {
        if number % MAX_AUTH_FAILURES == 0 {
            auth = first.sibling();
        }
        let answer = setting.call_on(&auth, PUBLISH, &setting.forged(number)).await;
        assert_eq!(answer, unauthenticated(ErrorReason::TokenSignatureInvalid), "{number}");
    }
    // Some are forgiven meanwhile, if this machine is slow.
    let verified = setting.verified();
    let mut request = setting.request(PUBLISH, &[&format!("Bearer {}", setting.forged(999))]);
    request.extensions_mut().insert(first.sibling());
    let response = setting.layer.layer(service_fn(inner)).oneshot(request).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    if status.code() == Code::ResourceExhausted {
        assert_eq!(setting.verified(), verified);
        let retry = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(retry >= Duration::from_secs(1) && retry < Duration::from_secs(60), "{retry:?}");
    } else {
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    let refused = (0..MAX_CERTIFICATE_FAILURES).map(async |number| {
        setting.call_on(&first.sibling(), PUBLISH, &setting.forged(number)).await == throttled()
    });
    let refused = futures_util::future::join_all(refused).await;
    assert!(refused.iter().filter(|throttled| **throttled).count() > 100, "{refused:?}");
    // What was verified goes on, and another certificate is not concerned.
    assert!(setting.call_on(&first, PUBLISH, &good).await.is_ok());
    // A connection that has had a good token may renew it, if not as often as it likes.
    let next = |number: u32| {
        setting.token(&format!(
            "posthouse:publish:taxation/returns/inbox posthouse:publish:taxation/returns/a{number}"
        ))
    };
    assert!(setting.call_on(&first, PUBLISH, &next(0)).await.is_ok());
    let refused = (1..MAX_CERTIFICATE_FAILURES)
        .map(async |number| setting.call_on(&first, PUBLISH, &next(number)).await == throttled());
    let refused = futures_util::future::join_all(refused).await;
    assert!(refused.iter().filter(|throttled| **throttled).count() > 100, "{refused:?}");
    let other = ConnectionAuth::for_tests([9; 32]);
    let answer = setting.call_on(&other, PUBLISH, &setting.forged(7)).await;
    assert_eq!(answer, unauthenticated(ErrorReason::TokenSignatureInvalid));
}

#[tokio::test]
async fn an_expired_token_costs_no_signature() {
    let setting = setting();
    let auth = setting.auth();
    let mut old = claims(&setting.connection, "posthouse:publish:taxation/returns/inbox");
    (old["exp"], old["iat"]) = (json!(2_000), json!(1_000));
    let old = setting.signer.sign(&old);
    for _ in 0..2 * MAX_CERTIFICATE_FAILURES {
        let answer = setting.call_on(&auth.sibling(), PUBLISH, &old).await;
        assert_eq!(answer, unauthenticated(ErrorReason::TokenExpired));
    }
    let fresh = setting.token("posthouse:publish:taxation/returns/inbox");
    assert!(setting.call_on(&auth.sibling(), PUBLISH, &fresh).await.is_ok());
}

#[test]
fn the_door_takes_routes_behind_the_layer() {
    fn takes<S: crate::door::Calls>() {}
    takes::<Auth<tonic::service::Routes>>();
}
