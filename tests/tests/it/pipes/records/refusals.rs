//! Records of refused calls are summed up, so that a flood of them hides nothing.

use std::time::Instant;

use posthouse_tests::harness::{
    eventually,
    refusal::assert_refused,
    site::{CIVIL, Site, TAXATION},
    wire::Caller,
};
use serde_json::Value;
use tonic::Code;

use super::{Fixture, Sink, refused_call, sum};

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_noise_hides_nobody_elses_probing_and_has_a_bound() {
    for sink in [Sink::File, Sink::Log] {
        let mut fixture = Fixture::with(sink, Site::with_sections(&sink.sections("changes"))).await;
        fixture.unstick();
        let scene = &fixture.scene;
        let queue = scene.plain_queue("q").await;
        let noisy = scene.site.credentials(TAXATION);
        let noisy = Caller::connect(&scene.site, &noisy).await.with_token(None);
        let (probing, begun) =
            (scene.scoped("posthouse:stats:civil-affairs/household-registry/other"), Instant::now());
        let mut noise = 0;
        for _ in 0..40 {
            let calls: Vec<_> = (0..60).map(|_| refused_call(&noisy, &queue)).collect();
            for refused in futures_util::future::join_all(calls).await {
                noise += u64::from(refused.unwrap_err().code() == Code::Unauthenticated);
            }
            assert_refused(refused_call(&probing, &queue).await, Code::PermissionDenied, "GRANT_MISSING");
        }
        let intervals = begun.elapsed().as_secs() / 10 + 1;
        fixture.scene.server.terminate();
        assert_eq!(fixture.scene.server.ended().await.code(), Some(0));
        let of = |tenant: &str| -> Vec<Value> {
            fixture.of("refused").into_iter().filter(|record| record["tenant"] == tenant).collect()
        };
        eventually("every refusal", async || {
            (sum(&of(CIVIL)) >= 40 && sum(&of(TAXATION)) >= noise).then_some(())
        })
        .await;
        // The last answer of a connection that is closed for its failures may be lost, but it is recorded.
        let recorded = sum(&of(TAXATION));
        assert!(
            sum(&of(CIVIL)) == 40 && (noise..=noise + 40).contains(&recorded),
            "{sink:?}: {recorded} of {noise}"
        );
        assert!(noise > 1_000, "{noise}");
        assert!(of(CIVIL).iter().filter(|record| record["count"].is_null()).count() >= 20, "{sink:?}");
        assert!((of(TAXATION).len() as u64) < 30 * (intervals + 1), "{sink:?}: {}", of(TAXATION).len());
        let many = of(TAXATION).into_iter().find(|record| record["count"].is_u64()).unwrap();
        let times = ["first_time", "last_time", "time"].map(|key| many[key].as_str().map(str::to_owned));
        assert!(times[0] <= times[1] && times[0].is_some() && many["reason"] == "TOKEN_MISSING", "{many}");
    }
}
