//! Certificates of the server and of callers that the other side refuses.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::{Command, Output},
};

use posthouse::dev::{
    SERVER_NAME,
    authority::{Issued, Leaf},
    spiffe_id,
};
use posthouse_proto::v1::ListQueuesRequest;
use posthouse_tests::harness::{
    binaries, eventually,
    probe::{scrape, value},
    refusal::assert_refused,
    scene::Scene,
    server::Server,
    shell,
    site::{CIVIL, Credentials, Site},
    tls,
    wire::Caller,
};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{aws_lc_rs::default_provider, verify_tls13_signature},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;
use tonic::Code;

/// The server's warning about a certificate that is valid for too long.
const LONG_LIFE: &str = "is valid for more than a year";

/// A certificate for these names that is valid from and to these seconds from now.
fn server(names: &[&str], from: i64, to: i64) -> Leaf {
    let now = OffsetDateTime::now_utc();
    let mut leaf = Leaf::server(names, &[]);
    (leaf.not_before, leaf.not_after) =
        (now + time::Duration::seconds(from), now + time::Duration::seconds(to));
    leaf
}

fn issue(site: &Site, leaf: &Leaf) -> Issued {
    site.server_authority_itself().issue(leaf).unwrap()
}

/// Replaces the server's certificate and key, each file at once.
fn install(site: &Site, issued: &Issued) {
    for (name, text) in [("server.key", &issued.key_pem), ("server.pem", &issued.certificate_pem)] {
        fs::write(site.path("new"), text).unwrap();
        fs::rename(site.path("new"), site.path(name)).unwrap();
    }
}

fn check(site: &Site) -> Output {
    let mut command = Command::new(binaries::posthouse());
    command.arg("serve").arg("--config").arg(site.config()).arg("--check").output().unwrap()
}

/// Accepts every certificate, to see which one the server uses.
#[derive(Debug)]
struct AcceptsAny;

impl ServerCertVerifier for AcceptsAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("the server speaks TLS 1.3")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that the server uses for a new connection; `None` while it does not listen.
async fn shown(site: &Site) -> Option<Vec<u8>> {
    let mut config = tls::config(site, &[&TLS13], Some(&site.certificate(CIVIL)));
    config.dangerous().set_certificate_verifier(std::sync::Arc::new(AcceptsAny));
    let stream = tls::connect(site, config).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

fn der(issued: &Issued) -> Vec<u8> {
    issued.certificate_der().unwrap().to_vec()
}

async fn logged(server: &Server, parts: &[&str]) {
    eventually(&format!("a line with {parts:?}"), async || {
        server.log().lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    })
    .await;
}

/// Certificates that are refused, each with the words of the refusal. `tls.names` asks for the server's name.
fn bad(site: &Site) -> Vec<(Issued, &'static str)> {
    let for_clients =
        Leaf { usages: vec![ExtendedKeyUsagePurpose::ClientAuth], ..server(&[SERVER_NAME], -60, 3600) };
    let only_named = Leaf { common_name: SERVER_NAME.to_owned(), ..server(&[], -60, 3600) };
    [
        (server(&[SERVER_NAME], -7200, -3600), "certificate 1 expired on"),
        (server(&[SERVER_NAME], 3600, 7200), "certificate 1 is not valid before"),
        (only_named, "no DNS name and no IP address"),
        (server(&["elsewhere.example"], -60, 3600), "does not fit the name localhost"),
        (for_clients, "server authentication"),
    ]
    .map(|(leaf, words)| (issue(site, &leaf), words))
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_refuses_what_clients_would_and_a_start_warns_and_serves() {
    let site = Site::new();
    site.configure(&[("key = \"server.key\"", "key = \"server.key\"\nnames = [\"localhost\"]")]);
    let good = check(&site);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    for (issued, words) in bad(&site) {
        install(&site, &issued);
        fs::set_permissions(site.path("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let checked = check(&site);
        let text = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(78), "{text}");
        assert!(text.contains(words) && text.contains("tls.certificate"), "{words:?} is not in {text}");
        assert_eq!(checked.stdout, b"", "there is nothing to say but that");

        let server = Server::launch(&site, &binaries::posthouse(), None);
        eventually("a server that serves", async || (shown(&site).await? == der(&issued)).then_some(()))
            .await;
        logged(&server, &["WARN", words]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_certificate_is_never_exchanged_for_one_that_clients_refuse() {
    let site = Site::new();
    site.configure(&[("key = \"server.key\"", "key = \"server.key\"\nnames = [\"localhost\"]")]);
    let good = issue(&site, &server(&[SERVER_NAME, "*.posthouse.example"], -60, 3600));
    install(&site, &good);
    let server_process = Server::start(&site).await;
    for (issued, words) in bad(&site) {
        install(&site, &issued);
        logged(&server_process, &["WARN", "a changed file cannot be used", words]).await;
        assert_eq!(shown(&site).await, Some(der(&good)), "{words}");
    }
    let metrics = scrape(site.management()).await;
    let failed = value(&metrics, "posthouse_reloads_total{result=\"failed\",what=\"certificate\"}");
    assert!((5.0..=10.0).contains(&failed), "{failed}");

    // One that becomes valid soon is used then, although its files do not change any more.
    let soon = issue(&site, &server(&[SERVER_NAME], 8, 7200));
    install(&site, &soon);
    logged(&server_process, &["WARN", "is not valid before"]).await;
    eventually("the certificate whose time has come", async || {
        (shown(&site).await? == der(&soon)).then_some(())
    })
    .await;
    assert!(OffsetDateTime::now_utc() >= soon_begins(&soon), "it was shown before its time");
    logged(&server_process, &["WARN", "no longer fits *.posthouse.example"]).await;
    Server::try_ready(&mut { server_process }, &site).await.unwrap();
}

fn soon_begins(issued: &Issued) -> OffsetDateTime {
    let fields = posthouse_server::identity::CertificateFields::read(&der(issued)).unwrap();
    OffsetDateTime::from_unix_timestamp(fields.not_before.seconds()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_clients_refuse_is_exchanged_for_a_better_one_only() {
    let site = Site::new();
    let expired = issue(&site, &server(&[SERVER_NAME], -7200, -3600));
    install(&site, &expired);
    let server_process = Server::launch(&site, &binaries::posthouse(), None);
    eventually("a server that serves", async || (shown(&site).await? == der(&expired)).then_some(())).await;
    install(&site, &issue(&site, &server(&[], -7200, -3600)));
    logged(&server_process, &["a changed file cannot be used", "no DNS name"]).await;
    assert_eq!(shown(&site).await, Some(der(&expired)));
    for better in [server(&[SERVER_NAME], -7200, -1800), server(&[SERVER_NAME], -60, 3600)] {
        let issued = issue(&site, &better);
        install(&site, &issued);
        eventually("the better one", async || (shown(&site).await? == der(&issued)).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_expires_while_it_is_shown_is_warned_of() {
    let site = Site::new();
    install(&site, &issue(&site, &server(&[SERVER_NAME], -60, 4)));
    let server_process = Server::launch(&site, &binaries::posthouse(), None);
    logged(&server_process, &["listening"]).await;
    eventually("the warning", async || {
        // The server checks once a minute; SIGHUP makes it check at once.
        server_process.hang_up();
        server_process.log().contains("clients refuse the certificate that this server shows").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_has_the_files_read_again() {
    let site = Site::new();
    // The file behind a link changes, which the watch on the link's folder does not see.
    fs::create_dir(site.path("elsewhere")).unwrap();
    for name in ["server.pem", "server.key"] {
        fs::rename(site.path(name), site.path("elsewhere").join(name)).unwrap();
        symlink(site.path("elsewhere").join(name), site.path(name)).unwrap();
    }
    let mut command = shell();
    command.args(["-c", "exec \"$0\" serve --config \"$1\""]).arg(binaries::posthouse()).arg(site.config());
    let mut server_process = Server::run(&site, command);
    server_process.ready(&site).await;
    let before = shown(&site).await;
    let next = issue(&site, &server(&[SERVER_NAME], -60, 3600));
    fs::write(site.path("elsewhere/server.key"), &next.key_pem).unwrap();
    fs::write(site.path("elsewhere/server.pem"), &next.certificate_pem).unwrap();
    assert_eq!(shown(&site).await, before);
    server_process.hang_up();
    eventually("the certificate behind the link", async || (shown(&site).await? == der(&next)).then_some(()))
        .await;
    logged(&server_process, &["INFO", "read all files again, as was asked"]).await;
    // SIGHUP repeats the warning about a file that cannot be used.
    fs::write(site.path("elsewhere/server.pem"), "rubbish").unwrap();
    for times in 1..=3 {
        server_process.hang_up();
        eventually("the refusal", async || {
            (server_process.log().matches("has no certificate in PEM").count() >= times).then_some(())
        })
        .await;
    }
    assert!(server_process.runs());
    server_process.try_ready(&site).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_a_hangup_stays_ignored() {
    let site = Site::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" serve --config \"$1\""]);
    command.arg(binaries::posthouse()).arg(site.config());
    let mut server_process = Server::run(&site, command);
    server_process.ready(&site).await;
    for _ in 0..3 {
        server_process.hang_up();
    }
    server_process.try_ready(&site).await.unwrap();
    assert!(
        server_process.runs() && !server_process.log().contains("as was asked"),
        "{}",
        server_process.log()
    );
    server_process.terminate();
    assert_eq!(server_process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_a_file_holds_nothing_up() {
    let site = Site::new();
    let server_process = Server::start(&site).await;
    let keys = site.path(&format!("issuers/{CIVIL}.jwks.json"));
    let saved = site.path("aside");
    fs::rename(&keys, &saved).unwrap();
    assert!(Command::new("mkfifo").arg(&keys).status().unwrap().success());
    logged(&server_process, &["WARN", "jwks.json: it is not a regular file"]).await;
    let checked = check(&site);
    let text = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.code() == Some(78) && text.contains("it is not a regular file"), "{text}");
    // Other files are read all the same.
    let next = issue(&site, &server(&[SERVER_NAME], -60, 3600));
    install(&site, &next);
    eventually("the next certificate", async || (shown(&site).await? == der(&next)).then_some(())).await;
    fs::rename(&saved, &keys).unwrap();
    Server::try_ready(&mut { server_process }, &site).await.unwrap();
}

async fn list(caller: &Caller) -> Result<(), tonic::Status> {
    let parent = format!("tenants/{CIVIL}/departments/household-registry");
    let request = caller.request(ListQueuesRequest { parent, ..ListQueuesRequest::default() });
    caller.queues().list_queues(request).await.map(drop)
}

/// A certificate that is valid for this many seconds in all, with a token for it.
fn credentials_for(site: &Site, seconds: i64) -> Credentials {
    let mut leaf = Leaf::client(&spiffe_id(CIVIL));
    leaf.not_after = leaf.not_before + time::Duration::seconds(seconds);
    let certificate = site.issue(CIVIL, &leaf);
    let token = site.mint(CIVIL, &site.claims(CIVIL, &certificate));
    Credentials { certificate, token }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lifetime_of_callers_certificates_can_be_limited() {
    let site = Site::new();
    site.configure(&[("audience =", "max_certificate_lifetime_seconds = 86400\naudience =")]);
    let allowed = credentials_for(&site, 86_400);
    let scene = Scene::with(site, allowed).await;
    list(&scene.caller).await.unwrap();
    for seconds in [86_401, 366 * 86_400, 100 * 366 * 86_400] {
        let caller = Caller::connect(&scene.site, &credentials_for(&scene.site, seconds)).await;
        let refusal =
            assert_refused(list(&caller).await, Code::Unauthenticated, "CERTIFICATE_IDENTITY_INVALID");
        let expected =
            format!("it is valid for {seconds} seconds in all, and at most 86400 are allowed here");
        assert!(refusal.message.contains(&expected), "{}", refusal.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_life_is_accepted_unless_it_is_limited_and_warned_of_once() {
    let site = Site::new();
    let year = 366 * 86_400;
    let short = credentials_for(&site, year);
    let scene = Scene::with(site, short).await;
    list(&scene.caller).await.unwrap();
    assert!(!scene.server.log().contains(LONG_LIFE));
    let long = credentials_for(&scene.site, year + 1);
    for _ in 0..3 {
        list(&Caller::connect(&scene.site, &long).await).await.unwrap();
    }
    // A thread of its own writes the log.
    scene.server.logged(LONG_LIFE).await;
    let log = scene.server.log();
    assert_eq!(log.matches(LONG_LIFE).count(), 1, "{log}");
}
