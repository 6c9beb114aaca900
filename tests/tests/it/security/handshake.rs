//! Connections that end in the handshake.

use posthouse::dev::{
    authority::{self, Authority, Issued, Leaf},
    spiffe_id,
};
use posthouse_tests::harness::{
    server::Server,
    site::{CIVIL, Site},
    tls,
};
use rustls::{
    AlertDescription,
    version::{TLS12, TLS13},
};

#[tokio::test(flavor = "multi_thread")]
async fn each_is_refused_with_its_alert() {
    let site = Site::new();
    let _server = Server::start(&site).await;
    let good = site.certificate(CIVIL);
    let client = Leaf::client(&spiffe_id(CIVIL));

    let none = tls::refusal(&site, tls::config(&site, &[&TLS13], None)).await;
    assert_eq!(none, Ok(AlertDescription::CertificateRequired));

    let old = tls::refusal(&site, tls::config(&site, &[&TLS12], Some(&good))).await;
    assert_eq!(old, Ok(AlertDescription::ProtocolVersion));

    let refusal = async |certificate: &Issued| {
        tls::refusal(&site, tls::config(&site, &[&TLS13], Some(certificate))).await
    };
    // An unknown authority with the name of a known one.
    let stranger = Authority::new(&format!("clients of {CIVIL}")).unwrap().issue(&client).unwrap();
    let refused = refusal(&stranger).await;
    assert!(
        matches!(refused, Ok(AlertDescription::UnknownCA | AlertDescription::DecryptError)),
        "{refused:?}"
    );
    let stranger = Authority::new("an authority of somebody else").unwrap().issue(&client).unwrap();
    assert_eq!(refusal(&stranger).await, Ok(AlertDescription::UnknownCA));
    let own = authority::Issued::self_signed(&client).unwrap();
    let refused = refusal(&own).await;
    assert!(
        matches!(refused, Ok(AlertDescription::UnknownCA | AlertDescription::BadCertificate)),
        "{refused:?}"
    );

    let hour = time::Duration::hours(1);
    let now = time::OffsetDateTime::now_utc();
    let expired = Leaf { not_before: now - hour * 2, not_after: now - hour, ..client.clone() };
    assert_eq!(refusal(&site.issue(CIVIL, &expired)).await, Ok(AlertDescription::CertificateExpired));
    let servers = Leaf { usages: Leaf::server(&[], &[]).usages, ..client };
    let refused = refusal(&site.issue(CIVIL, &servers)).await;
    assert!(refused.is_ok(), "a server's certificate was taken for a client's: {refused:?}");
}
