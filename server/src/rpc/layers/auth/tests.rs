mod throttling;

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
    identity::{
        Binding, CertificateError, ConnIdentity, Issuer, KeySet, RefusedIdentity, TokenPolicy, TokenVerifier,
        testing::{Signer, claims, connection, issuer, tenants},
    },
    policy::{Admitted, methods},
    quota::Quota,
    rpc::layers::auth::{Auth, AuthLayer, CallLimits},
};

const PUBLISH: &str = "/posthouse.v1.Publisher/Publish";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

struct Setting {
    layer: AuthLayer,
    signer: Signer,
    connection: Arc<ConnIdentity>,
}

fn unlimited() -> CallLimits {
    let refused = IntCounter::new("refused", "Refused calls.").unwrap();
    CallLimits { quota: Quota::new([], &Arc::default()), refused }
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

#[test]
fn the_door_takes_routes_behind_the_layer() {
    fn accepts<S: crate::door::Calls>() {}
    accepts::<Auth<tonic::service::Routes>>();
}
