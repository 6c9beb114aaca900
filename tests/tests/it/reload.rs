//! Certificates, authorities and key sets that are replaced while the server runs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use posthouse::dev::{
    SERVER_NAME,
    authority::{Authority, Leaf},
    config::issuer_url,
    spiffe_id,
    token::{Algorithm, Claims, Issuer},
};
use posthouse_proto::v1::GetQueueRequest;
use posthouse_tests::harness::{
    eventually,
    probe::{scrape, value},
    refusal::assert_refused,
    scene::Scene,
    site::{CIVIL, Credentials, Site, TAXATION},
    stream::{Stream, open},
    tls,
    wire::Caller,
};
use rustls::{AlertDescription, version::TLS13};
use tonic::Code;

const SESSION: [u8; 16] = [5; 16];

/// A certificate and its key, with the names of their files.
type Pair = [(&'static str, String); 2];

/// A folder of secrets as Kubernetes mounts it: links to `..data`, which links to a folder of this version.
struct Mounted {
    folder: PathBuf,
    version: u32,
}

impl Mounted {
    fn new(folder: PathBuf, files: &[(&str, &str)]) -> Self {
        fs::create_dir(&folder).unwrap();
        let mut mounted = Self { folder, version: 0 };
        mounted.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mounted.folder.join(name)).unwrap();
        }
        mounted
    }

    /// Replaces all files at once.
    fn swap(&mut self, files: &[(&str, &str)]) {
        let old = self.folder.join(format!("..version_{}", self.version));
        self.version += 1;
        let name = format!("..version_{}", self.version);
        let new = self.folder.join(&name);
        fs::create_dir(&new).unwrap();
        for (name, text) in files {
            fs::write(new.join(name), text).unwrap();
        }
        symlink(&name, self.folder.join("..data_tmp")).unwrap();
        fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data")).unwrap();
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }
}

/// The server's certificate.
async fn shown(site: &Site) -> Vec<u8> {
    let stream =
        tls::connect(site, tls::config(site, &[&TLS13], Some(&site.certificate(CIVIL)))).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn server_certificate(site: &Site) -> posthouse::dev::authority::Issued {
    site.server_authority_itself().issue(&Leaf::server(&[SERVER_NAME], &[])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_to_new_connections_and_the_others_go_on() {
    let site = Site::new();
    let first = server_certificate(&site);
    let files = |issued: &posthouse::dev::authority::Issued| {
        [("tls.crt", issued.certificate_pem.clone()), ("tls.key", issued.key_pem.clone())]
    };
    let swap = |mounted: &mut Mounted, files: Pair| {
        mounted.swap(&files.each_ref().map(|(name, text)| (*name, text.as_str())));
    };
    let mut mounted = Mounted::new(
        site.path("secret"),
        &files(&first).each_ref().map(|(name, text)| (*name, text.as_str())),
    );
    site.configure(&[("\"server.pem\"", "\"secret/tls.crt\""), ("\"server.key\"", "\"secret/tls.key\"")]);
    let scene = Scene::on(site).await;
    let queue = scene.plain_queue("q").await;
    assert_eq!(shown(&scene.site).await, first.certificate_der().unwrap().to_vec());

    let mut leaf = Leaf::server(&[SERVER_NAME], &[]);
    leaf.not_after = leaf.not_after.replace_year(leaf.not_after.year() + 1).unwrap_or(leaf.not_after);
    let second = scene.site.server_authority_itself().issue(&leaf).unwrap();
    swap(&mut mounted, files(&second));
    eventually("the new certificate", async || {
        (shown(&scene.site).await == second.certificate_der().unwrap().to_vec()).then_some(())
    })
    .await;
    // The old connection still works.
    assert_eq!(scene.publish(&queue, &["a"]).await, [1]);
    eventually("the end of the new certificate among the figures", async || {
        let metrics = scrape(scene.site.management()).await;
        let not_after = value(&metrics, "posthouse_certificate_not_after_timestamp_seconds");
        (not_after == leaf.not_after.unix_timestamp() as f64).then_some(())
    })
    .await;

    // A key of another certificate, a file that is no PEM, and missing files.
    let third = server_certificate(&scene.site);
    let [certificate, _] = files(&third);
    let [_, key] = files(&second);
    let bad: [(&str, Option<Pair>); 3] = [
        ("certificate and key", Some([certificate, key])),
        (
            "has no certificate in PEM",
            Some([("tls.crt", "rubbish".to_owned()), ("tls.key", "rubbish".to_owned())]),
        ),
        ("cannot read", None),
    ];
    for (reason, files) in bad {
        match files {
            Some(files) => swap(&mut mounted, files),
            None => mounted.swap(&[]),
        }
        eventually(reason, async || {
            let log = scene.server.log();
            let warned = log.lines().any(|line| {
                line.contains("a changed file cannot be used")
                    && line.contains(reason)
                    && line.contains("tls.crt")
            });
            warned.then_some(())
        })
        .await;
        assert_eq!(shown(&scene.site).await, second.certificate_der().unwrap().to_vec(), "{reason}");
    }
    swap(&mut mounted, files(&third));
    eventually("the good certificate", async || {
        (shown(&scene.site).await == third.certificate_der().unwrap().to_vec()).then_some(())
    })
    .await;
    assert_eq!(scene.publish(&queue, &["b"]).await, [2]);
    assert!(!scene.server.log().contains(third.key_pem.lines().nth(1).unwrap()), "a key is in the log");
}

fn issuer() -> Issuer {
    Issuer::new(&issuer_url(CIVIL), Algorithm::EdDsa).unwrap()
}

/// The keys of several issuers in one set.
fn key_set(issuers: &[&Issuer]) -> String {
    let keys: Vec<serde_json::Value> = issuers
        .iter()
        .flat_map(|issuer| {
            let set: serde_json::Value = serde_json::from_str(&issuer.key_set()).unwrap();
            set["keys"].as_array().unwrap().clone()
        })
        .collect();
    serde_json::json!({ "keys": keys }).to_string()
}

fn token(issuer: &Issuer, credentials: &Credentials) -> String {
    let thumbprint = credentials.certificate.thumbprint().unwrap();
    let lifetime = std::time::Duration::from_secs(3600);
    issuer.mint(&Claims::bound(issuer, CIVIL, &spiffe_id(CIVIL), &thumbprint, lifetime)).unwrap()
}

async fn call(caller: &Caller, queue: &str) -> Result<(), tonic::Status> {
    let request = caller.request(GetQueueRequest { name: queue.to_owned() });
    caller.queues().get_queue(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_set_takes_new_tokens_and_ends_old_ones_with_their_streams() {
    let site = Site::new();
    let (old, new) = (issuer(), issuer());
    let mut mounted = Mounted::new(site.path("keys"), &[("jwks.json", &old.key_set())]);
    site.configure(&[(&format!("issuers/{CIVIL}.jwks.json"), "keys/jwks.json")]);
    let mut credentials = site.credentials(CIVIL);
    credentials.token = token(&old, &credentials);
    let scene = Scene::with(site, credentials).await;
    let queue = scene.plain_queue("q").await;
    let fresh = scene.caller.with_token(Some(&token(&new, &scene.credentials)));
    assert_refused(call(&fresh, &queue).await, Code::Unauthenticated, "TOKEN_KEY_UNKNOWN");

    // Both keys for a while, as in a rotation.
    mounted.swap(&[("jwks.json", &key_set(&[&old, &new]))]);
    eventually("the new key", async || call(&fresh, &queue).await.ok()).await;
    call(&scene.caller, &queue).await.unwrap();
    scene.publish(&queue, &["a"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 10)).await;
    let held = stream.deliveries(1).await;
    let mut unconcerned = Stream::open(&fresh, open(&queue, [6; 16], 0)).await;

    // A set that cannot be used changes nothing.
    let weak = r#"{"keys":[{"kty":"RSA","kid":"weak","n":"3zXW","e":"AQAB"}]}"#;
    for (bad, reason) in
        [("{\"keys\":[]}", "it has no keys"), (weak, "fewer than 2048"), ("no", "not a JSON object")]
    {
        mounted.swap(&[("jwks.json", bad)]);
        eventually(reason, async || {
            scene
                .server
                .log()
                .lines()
                .any(|line| line.contains("WARN") && line.contains(reason))
                .then_some(())
        })
        .await;
        call(&scene.caller, &queue).await.unwrap();
        call(&fresh, &queue).await.unwrap();
    }
    stream.until_pong().await;

    // The old key is removed: its tokens are no longer accepted from the cache, and its streams end.
    mounted.swap(&[("jwks.json", &new.key_set())]);
    assert_refused(stream.end().await, Code::Unauthenticated, "TOKEN_KEY_UNKNOWN");
    assert_refused(call(&scene.caller, &queue).await, Code::Unauthenticated, "TOKEN_KEY_UNKNOWN");
    unconcerned.until_pong().await;
    // The session continues with a token of the new key.
    let mut resumed = Stream::open(&fresh, open(&queue, SESSION, 0)).await;
    assert_eq!(resumed.opened.resumed_leases, 1);
    assert_eq!(resumed.deliveries(1).await[0].token, held[0].token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_authority_ends_its_connections_and_no_others() {
    let site = Site::new();
    let (old, new) = (Authority::new("the old one").unwrap(), Authority::new("the new one").unwrap());
    let path = site.path("roots.pem");
    let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    fs::write(&path, &both).unwrap();
    site.configure(&[(&format!("authorities/{CIVIL}.pem"), "roots.pem")]);
    let credentials = |site: &Site, authority: &Authority| {
        let certificate = authority.issue(&Leaf::client(&spiffe_id(CIVIL))).unwrap();
        let token = site.mint(CIVIL, &site.claims(CIVIL, &certificate));
        Credentials { certificate, token }
    };
    let (of_old, of_new) = (credentials(&site, &old), credentials(&site, &new));
    let scene = Scene::with(site, of_new).await;
    let queue = scene.plain_queue("q").await;
    let doomed = Caller::connect(&scene.site, &of_old).await;
    let mut stream = Stream::open(&doomed, open(&queue, SESSION, 10)).await;
    let mut unconcerned = Stream::open(&scene.caller, open(&queue, [6; 16], 0)).await;

    // The file is replaced by a rename, as most tools do it; first by something that cannot be used.
    let replace = |text: &str| {
        fs::write(scene.site.path("roots.new"), text).unwrap();
        fs::rename(scene.site.path("roots.new"), &path).unwrap();
    };
    let leaf = of_old.certificate.certificate_pem.clone();
    replace(&leaf);
    eventually("the warning", async || {
        scene.server.log().lines().any(|line| line.contains("is not an authority's")).then_some(())
    })
    .await;
    // The root of another tenant does not count for this one.
    replace(&fs::read_to_string(scene.site.path(&format!("authorities/{TAXATION}.pem"))).unwrap());
    eventually("the warning", async || {
        scene.server.log().lines().any(|line| line.contains("is listed already")).then_some(())
    })
    .await;
    stream.until_pong().await;

    replace(new.certificate_pem());
    let ended = stream.end().await.expect_err("the stream goes on");
    assert!(matches!(ended.code(), Code::Unavailable | Code::Unknown | Code::Internal), "{ended:?}");
    let refused = tls::refusal(&scene.site, tls::config(&scene.site, &[&TLS13], Some(&of_old.certificate)));
    assert_eq!(refused.await, Ok(AlertDescription::UnknownCA));
    unconcerned.until_pong().await;
    assert_eq!(scene.publish(&queue, &["a"]).await, [1]);
}
