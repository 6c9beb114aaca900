//! Calls that are refused: each with its code and reason.

use bytes::Bytes;
use posthouse::dev::{
    authority::Leaf,
    token::{Claims, Confirmation},
};
use posthouse_proto::v1::{GetQueueRequest, PublishRequest};
use posthouse_tests::harness::{
    raw,
    refusal::{Refusal, assert_refused},
    scene::{Scene, message, queue_name},
    site::{CIVIL, Credentials, TAXATION},
    wire::Caller,
};
use prost::Message as _;
use tonic::{
    Code, Status,
    codegen::http::{HeaderName, HeaderValue},
};

async fn describe(caller: &Caller) -> Result<(), Status> {
    let request = GetQueueRequest { name: queue_name("q") };
    caller.queues().get_queue(caller.request(request)).await.map(|_| ())
}

async fn publish(caller: &Caller) -> Result<(), Status> {
    let messages = vec![message("a")];
    let request = PublishRequest { queue: queue_name("q"), messages, ..PublishRequest::default() };
    caller.publisher().publish(caller.request(request)).await.map(|_| ())
}

/// Changes a good token's claims.
type Spoil = fn(&mut Claims);

#[tokio::test(flavor = "multi_thread")]
async fn a_spoiled_token_is_refused_with_its_reason() {
    let scene = Scene::start().await;
    scene.plain_queue("q").await;
    describe(&scene.caller).await.unwrap();
    let spoils: &[(&str, Spoil)] = &[
        ("TOKEN_EXPIRED", |claims| {
            claims.iat -= 3600;
            claims.exp = claims.iat + 600;
        }),
        ("TOKEN_NOT_YET_VALID", |claims| claims.iat += 1800),
        ("TOKEN_ISSUER_UNKNOWN", |claims| claims.iss = "https://issuer.example".to_owned()),
        ("TOKEN_AUDIENCE_WRONG", |claims| claims.aud = "another".to_owned()),
        ("TOKEN_LIFETIME_TOO_LONG", |claims| claims.exp = claims.iat + 100_000),
        ("TOKEN_SCOPE_INVALID", |claims| claims.scope.push_str(" posthouse:consume:civil-affairs/**")),
        ("TOKEN_CERTIFICATE_MISMATCH", |claims| {
            claims.cnf = Some(Confirmation { thumbprint: "A".repeat(43) });
        }),
        ("TOKEN_CERTIFICATE_MISMATCH", |claims| claims.cnf = None),
    ];
    for (reason, spoil) in spoils {
        let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
        spoil(&mut claims);
        let caller = scene.caller.with_token(Some(&scene.site.mint(CIVIL, &claims)));
        assert_refused(describe(&caller).await, Code::Unauthenticated, reason);
        assert_refused(publish(&caller).await, Code::Unauthenticated, reason);
    }
    let none = scene.caller.with_token(None);
    assert_refused(describe(&none).await, Code::Unauthenticated, "TOKEN_MISSING");
    let malformed = scene.caller.with_token(Some("not.a.token"));
    assert_refused(describe(&malformed).await, Code::Unauthenticated, "TOKEN_MALFORMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_is_refused() {
    let scene = Scene::start().await;
    let token = &scene.credentials.token;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{first}{}", &signature[1..]);
    let caller = scene.caller.with_token(Some(&forged));
    assert_refused(describe(&caller).await, Code::Unauthenticated, "TOKEN_SIGNATURE_INVALID");
    let unsigned = scene.caller.with_token(Some(&format!("{signed}.")));
    assert_eq!(describe(&unsigned).await.unwrap_err().code(), Code::Unauthenticated);
    // Correctly signed, with a key that is not its issuer's.
    let claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    let stranger = scene.caller.with_token(Some(&scene.site.mint(TAXATION, &claims)));
    assert_refused(describe(&stranger).await, Code::Unauthenticated, "TOKEN_KEY_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_and_token_must_be_of_one_caller() {
    let scene = Scene::start().await;
    let site = &scene.site;
    // Another certificate of the same tenant.
    let other = Credentials { certificate: site.certificate(CIVIL), token: scene.credentials.token.clone() };
    let caller = Caller::connect(site, &other).await;
    assert_refused(describe(&caller).await, Code::Unauthenticated, "TOKEN_CERTIFICATE_MISMATCH");
    // A token of another tenant, bound to this certificate.
    let token = site.mint(TAXATION, &site.claims(TAXATION, &scene.credentials.certificate));
    let caller = scene.caller.with_token(Some(&token));
    assert_refused(describe(&caller).await, Code::Unauthenticated, "TENANT_MISMATCH");
    // An issuer that signs for another tenant.
    let mut claims = site.claims(TAXATION, &scene.credentials.certificate);
    claims.tenant = CIVIL.to_owned();
    let caller = scene.caller.with_token(Some(&site.mint(TAXATION, &claims)));
    assert_refused(describe(&caller).await, Code::Unauthenticated, "TOKEN_ISSUER_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_needs_an_identity_that_its_authority_may_give() {
    let scene = Scene::start().await;
    let site = &scene.site;
    let uri = |path: &str| Leaf::client(&format!("spiffe://{path}"));
    let two = Leaf {
        uris: vec![
            posthouse::dev::spiffe_id(CIVIL),
            "spiffe://posthouse.internal/tenant/civil-affairs/x".to_owned(),
        ],
        ..uri("posthouse.internal/tenant/civil-affairs/x")
    };
    for leaf in [
        uri("elsewhere.internal/tenant/civil-affairs/service/a"),
        uri("posthouse.internal/tenant/taxation/service/a"),
        uri("posthouse.internal/civil-affairs"),
        Leaf { uris: Vec::new(), ..uri("posthouse.internal/tenant/civil-affairs/x") },
        two,
    ] {
        let certificate = site.issue(CIVIL, &leaf);
        let token = site.mint(CIVIL, &site.claims(CIVIL, &certificate));
        let caller = Caller::connect(site, &Credentials { certificate, token }).await;
        assert_refused(describe(&caller).await, Code::Unauthenticated, "CERTIFICATE_IDENTITY_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_covers_its_action_and_its_names_only() {
    let scene = Scene::start().await;
    scene.plain_queue("q").await;
    let caller = |scope: &str| {
        let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
        claims.scope = scope.to_owned();
        scene.caller.with_token(Some(&scene.site.mint(CIVIL, &claims)))
    };
    let consumes = caller("posthouse:consume:civil-affairs/*/*");
    assert_refused(publish(&consumes).await, Code::PermissionDenied, "GRANT_MISSING");
    assert_refused(describe(&consumes).await, Code::PermissionDenied, "GRANT_MISSING");
    let elsewhere = caller("posthouse:publish:civil-affairs/identity-cards/*");
    assert_refused(publish(&elsewhere).await, Code::PermissionDenied, "GRANT_MISSING");
    let another = caller("posthouse:publish:civil-affairs/household-registry/p");
    assert_refused(publish(&another).await, Code::PermissionDenied, "GRANT_MISSING");
    // No issuer can give rights in another tenant: such a token is refused.
    let foreign = caller("posthouse:publish:civil-affairs/*/* posthouse:publish:taxation/*/*");
    assert_refused(publish(&foreign).await, Code::Unauthenticated, "TOKEN_SCOPE_INVALID");
    publish(&caller("posthouse:publish:civil-affairs/household-registry/q")).await.unwrap();
    publish(&caller("posthouse:publish:civil-affairs/*/q")).await.unwrap();
}

/// Headers in which proxies, gateways and other systems name the caller.
const CLAIMED: [&str; 14] = [
    "x-posthouse-tenant",
    "x-posthouse-subject",
    "x-tenant",
    "tenant",
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-forwarded-client-cert",
    "x-ssl-client-cert",
    "x-forwarded-access-token",
    "x-forwarded-user",
    "proxy-authorization",
    "x-goog-iam-authorization-token",
    "cookie",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_says_of_itself_in_metadata_is_nothing() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let path = "/posthouse.v1.Queues/GetQueue";
    let request = || Bytes::from(GetQueueRequest { name: queue.clone() }.encode_to_vec());
    let said = [
        CIVIL.to_owned(),
        scene.credentials.token.clone(),
        format!("Bearer {}", scene.credentials.token),
        "127.0.0.1".to_owned(),
        format!("URI=spiffe://posthouse.internal/tenant/{CIVIL}/service/sample"),
        String::new(),
    ];
    let stranger = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    let nobody = scene.caller.with_token(None);
    let plain = raw::unary(&stranger, path, request()).await.unwrap_err();
    for said in &said {
        let said = HeaderValue::from_str(said).unwrap();
        let edit = |http: &mut tonic::codegen::http::Request<tonic::body::Body>| {
            for name in CLAIMED {
                http.headers_mut().append(HeaderName::from_static(name), said.clone());
                // Each header twice, up to the number of headers that is accepted.
                if said.len() < 100 {
                    http.headers_mut().append(HeaderName::from_static(name), said.clone());
                }
            }
        };
        let answer = raw::edited(&stranger, path, request(), edit).await.unwrap_err();
        assert_eq!(Refusal::from(&answer), Refusal::from(&plain));
        let answer = raw::edited(&nobody, path, request(), edit).await;
        assert_refused(answer, Code::Unauthenticated, "TOKEN_MISSING");
    }
    // Nor do they take a right away.
    let edit = |http: &mut tonic::codegen::http::Request<tonic::body::Body>| {
        for name in CLAIMED {
            http.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(TAXATION));
        }
    };
    raw::edited(&scene.caller, path, request(), edit).await.unwrap();
}
