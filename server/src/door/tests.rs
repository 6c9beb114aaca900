//! The door over real sockets, with certificates minted for each test.

mod client;
mod setting;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use rustls::{AlertDescription, version::TLS12};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use self::{
    client::Client,
    setting::{PATIENCE, Setting},
};
use crate::{
    identity::testing::{authority, leaf, uri},
    limits::MAX_HANDSHAKES,
};

fn own() -> String {
    uri("taxation", "returns")
}

#[tokio::test]
async fn a_client_of_the_authority_is_served_and_known() {
    let setting = Setting::open().await;
    let mut client = setting.client(&leaf(&[&own()])).connect().await.unwrap();
    assert_eq!(client.get("/who").await.unwrap(), own());
    assert_eq!(client.get("/who").await.unwrap(), own());
}

#[tokio::test]
async fn connections_without_a_good_certificate_get_their_alert() {
    let setting = Setting::open().await;
    let refusal = |client: Client| async move { client.connect().await.err().unwrap() };
    let bare = setting.bare_client();
    assert_eq!(refusal(bare).await, AlertDescription::CertificateRequired);
    let stranger = authority("Stranger");
    let wrong = setting.client_of(&stranger, &leaf(&[&own()]));
    assert_eq!(refusal(wrong).await, AlertDescription::UnknownCA);
    // Same name, other key: names of authorities prove nothing.
    let imitation = setting.client_of(&authority("Taxation"), &leaf(&[&own()]));
    let alert = refusal(imitation).await;
    assert!(alert == AlertDescription::UnknownCA || alert == AlertDescription::DecryptError, "{alert:?}");
    let mut expired = leaf(&[&own()]);
    expired.not_before = OffsetDateTime::now_utc() - Duration::from_secs(7200);
    expired.not_after = OffsetDateTime::now_utc() - Duration::from_secs(3600);
    assert_eq!(refusal(setting.client(&expired)).await, AlertDescription::CertificateExpired);
    let mut early = leaf(&[&own()]);
    early.not_before = OffsetDateTime::now_utc() + Duration::from_secs(3600);
    let alert = refusal(setting.client(&early)).await;
    assert!(
        alert == AlertDescription::BadCertificate || alert == AlertDescription::CertificateExpired,
        "{alert:?}"
    );
    let mut server_only = leaf(&[&own()]);
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let alert = refusal(setting.client(&server_only)).await;
    assert!(
        alert == AlertDescription::UnsupportedCertificate || alert == AlertDescription::BadCertificate,
        "{alert:?}"
    );
    let self_signed = setting.self_signed_client(&leaf(&[&own()]));
    let alert = refusal(self_signed).await;
    assert!(alert == AlertDescription::UnknownCA || alert == AlertDescription::BadCertificate, "{alert:?}");
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let setting = Setting::open().await;
    let client = setting.client(&leaf(&[&own()])).version(&TLS12);
    assert_eq!(client.connect().await.err().unwrap(), AlertDescription::ProtocolVersion);
}

#[tokio::test]
async fn only_h2_is_spoken() {
    let setting = Setting::open().await;
    let client = setting.client(&leaf(&[&own()])).alpn(&["http/1.1"]);
    assert_eq!(client.connect().await.err().unwrap(), AlertDescription::NoApplicationProtocol);
    // A client that asks for nothing completes the handshake and is closed before a byte of HTTP.
    let mut stream = setting.client(&leaf(&[&own()])).alpn(&[]).handshake().await.unwrap();
    let read = timeout(PATIENCE, stream.read(&mut [0; 64])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_certificate_without_a_usable_identity_is_told_so() {
    let setting = Setting::open().await;
    let cases: [&[&str]; 4] = [
        &[],
        &[&own(), &uri("taxation", "other")],
        &["spiffe://other.internal/tenant/taxation/x"],
        &[&uri("public-security", "x")],
    ];
    for uris in cases {
        let mut client = setting.client(&leaf(uris)).connect().await.unwrap();
        let answer = client.get("/who").await.unwrap();
        assert!(answer.starts_with("refused: "), "{uris:?}: {answer}");
    }
}

#[tokio::test]
async fn each_authority_speaks_for_its_own_tenants() {
    let setting = Setting::open().await;
    let police = uri("public-security", "licences");
    let mut client = setting.client_of(&setting.other_authority, &leaf(&[&police])).connect().await.unwrap();
    assert_eq!(client.get("/who").await.unwrap(), police);
    let mut client = setting.client_of(&setting.other_authority, &leaf(&[&own()])).connect().await.unwrap();
    assert_eq!(client.get("/who").await.unwrap(), "refused: its authority may not speak for its tenant");
}

#[tokio::test]
async fn sessions_are_never_resumed() {
    let setting = Setting::open().await;
    let client = setting.client(&leaf(&[&own()]));
    let config = Arc::new(client.config());
    for _ in 0..2 {
        let mut connection = client.connect_with(Arc::clone(&config)).await.unwrap();
        assert_eq!(connection.get("/who").await.unwrap(), own());
        assert_eq!(connection.handshake, Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let setting = Setting::open().await;
    let mut short = leaf(&[&own()]);
    short.not_after = OffsetDateTime::now_utc() + Duration::from_secs(3);
    let mut client = setting.client(&short).connect().await.unwrap();
    assert_eq!(client.get("/who").await.unwrap(), own());
    timeout(PATIENCE, client.closed()).await.expect("the connection outlived its certificate");
}

#[tokio::test]
async fn a_silent_handshake_ends_at_its_deadline() {
    let setting = Setting::open().await;
    let mut stream = TcpStream::connect(setting.address).await.unwrap();
    let read = timeout(PATIENCE, stream.read(&mut [0; 64])).await.expect("still open after the deadline");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn the_beginnings_of_handshakes_take_no_turns() {
    let setting = Setting::open().await;
    // From as many networks as there are slots, so that none has more than one: a first byte, and half of a first
    // message.
    let mut source_slots = Vec::new();
    for host in 0..u8::MAX {
        let beginning: &[u8] = if host % 2 == 0 { &[22] } else { &[22, 3, 1, 2, 0, 1, 0, 1, 252] };
        for half in [0, 128] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 1 + half, host, 1], 0))).unwrap();
            let mut stream = socket.connect(setting.address).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            source_slots.push(stream);
        }
    }
    let mut client = setting.client(&leaf(&[&own()])).connect().await.unwrap();
    assert_eq!(client.get("/who").await.unwrap(), own());
    // It has not waited for their deadline.
    let open = |stream: &&TcpStream| {
        stream.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let open = source_slots.iter().filter(open).count();
    assert!(open > MAX_HANDSHAKES, "{open}");
}

#[tokio::test]
async fn a_handshake_in_many_pieces_is_done() {
    let setting = Setting::open().await;
    let client = setting.client(&leaf(&[&own()]));
    let (near, far) = tokio::io::duplex(16);
    let server = TcpStream::connect(setting.address).await.unwrap();
    server.set_nodelay(true).unwrap();
    // Sixteen bytes at a time, in both directions.
    tokio::spawn(async move {
        let (mut far, mut server) = (far, server);
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut far, &mut server, 16, 16).await;
    });
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client.config()));
    connector.connect(name, near).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_calls_nothing_ends_at_its_deadline() {
    let setting = Setting::open().await;
    let mut stream = setting.client(&leaf(&[&own()])).handshake().await.unwrap();
    let read = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    assert!(read.is_ok(), "still open after the deadline");
}

#[tokio::test]
async fn rubbish_instead_of_a_handshake_harms_nobody() {
    let setting = Setting::open().await;
    for rubbish in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 4096],
        &[0x16, 3, 1, 0xff, 0xff],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(setting.address).await.unwrap();
        stream.write_all(rubbish).await.unwrap();
    }
    let mut client = setting.client(&leaf(&[&own()])).connect().await.unwrap();
    assert_eq!(client.get("/who").await.unwrap(), own());
}

#[tokio::test]
async fn headers_are_bounded() {
    let setting = Setting::open().await;
    let mut client = setting.client(&leaf(&[&own()])).connect().await.unwrap();
    assert!(client.get_with_header("/who", &"x".repeat(64 << 10)).await.is_err());
    let mut client = setting.client(&leaf(&[&own()])).connect().await.unwrap();
    assert_eq!(client.get_with_header("/who", &"x".repeat(8 << 10)).await.unwrap(), own());
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_accepts_no_more() {
    let mut setting = Setting::open().await;
    let mut client = setting.client(&leaf(&[&own()])).connect().await.unwrap();
    let slow = client.start("/slow").await;
    setting.slow_started.notified().await;
    setting.drain.cancel();
    // The listener is closed while the call goes on.
    while TcpStream::connect(setting.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    setting.slow_may_end.notify_one();
    assert_eq!(timeout(PATIENCE, slow).await.unwrap().unwrap(), "slow");
    timeout(PATIENCE, &mut setting.served).await.expect("the drain did not end").unwrap();
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let mut setting = Setting::open_with(Duration::from_millis(200)).await;
    let mut client = setting.client(&leaf(&[&own()])).connect().await.unwrap();
    let slow = client.start("/slow").await;
    setting.slow_started.notified().await;
    setting.drain.cancel();
    timeout(PATIENCE, &mut setting.served).await.expect("the drain did not end").unwrap();
    assert!(timeout(PATIENCE, slow).await.unwrap().is_err());
}

#[tokio::test]
async fn an_idle_drain_ends_at_once() {
    let mut setting = Setting::open_with(Duration::from_secs(600)).await;
    let mut client = setting.client(&leaf(&[&own()])).connect().await.unwrap();
    assert_eq!(client.get("/who").await.unwrap(), own());
    setting.drain.cancel();
    timeout(PATIENCE, &mut setting.served).await.expect("the drain did not end").unwrap();
}

#[test]
fn a_key_of_another_certificate_is_found_out() {
    let certificate = leaf(&[]).self_signed(&KeyPair::generate().unwrap()).unwrap();
    let other = KeyPair::generate().unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(other.serialize_der()).into();
    assert!(crate::certificates::check_certificate(&[certificate.der().clone()], &key).is_err());
}
