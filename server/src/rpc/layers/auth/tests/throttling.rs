//! Throttling of connections and certificates whose tokens fail.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use posthouse_proto::v1::ErrorReason;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::{
    door::ConnectionAuth,
    identity::testing::{Signer, claims},
    limits::{MAX_AUTH_FAILURES, MAX_CERTIFICATE_FAILURES, MAX_THROTTLED_CALLS},
    rpc::layers::auth::tests::{HEALTH, PUBLISH, Setting, inner, refused, setting, unauthenticated},
};

impl Setting {
    /// Makes a call on a connection with this count of failures.
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

    /// A token with valid claims, signed by a key of the right name that is not the right key.
    fn forged(&self, number: u32) -> String {
        let scope = format!("posthouse:publish:taxation/returns/inbox{number}");
        Signer::new("key-1", Algorithm::EdDSA).sign(&claims(&self.connection, &scope))
    }

    /// How many signatures were verified.
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
            // A call that needs no token does not change the count.
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
    // Another connection with the same certificate is not throttled.
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
    // On a slow machine, failures may have expired meanwhile.
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
    // Tokens that were verified before still pass, and other certificates are not throttled.
    assert!(setting.call_on(&first, PUBLISH, &good).await.is_ok());
    // A connection that has had a good token may renew it, up to a limit.
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
