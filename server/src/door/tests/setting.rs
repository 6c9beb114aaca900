//! A door on loopback with two authorities, and calls that report what they see.

use std::{
    collections::BTreeSet, convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration,
};

use http::{Request, Response};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::service_fn;

use super::client::Client;
use crate::{
    config::{Authority, Config, Files, IdentityConfig, ObserveConfig, ServerConfig, TlsConfig},
    door::{Door, Received},
    identity::{
        ConnIdentity, RefusedIdentity, TokenPolicy,
        testing::{self, authority, leaf, tenants, trust_domain},
    },
    limits::DEFAULT_MAX_CONNECTIONS,
    observe::Observer,
};

/// How long a test waits for what must happen; nothing is judged by how long it took.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Setting {
    pub(super) address: SocketAddr,
    pub(super) authority: testing::Authority,
    pub(super) other_authority: testing::Authority,
    pub(super) drain: CancellationToken,
    pub(super) served: JoinHandle<()>,
    pub(super) slow_started: Arc<Notify>,
    pub(super) slow_may_end: Arc<Notify>,
    server_authority: testing::Authority,
}

impl Setting {
    pub(super) async fn open() -> Self {
        Self::open_with(Duration::from_secs(60)).await
    }

    pub(super) async fn open_with(deadline: Duration) -> Self {
        Self::open_for(deadline, Duration::from_secs(3600)).await
    }

    pub(super) async fn open_for(deadline: Duration, max_age: Duration) -> Self {
        let (authority, other_authority) = (authority("Taxation"), authority("Public Security"));
        let server_authority = testing::authority("Posthouse");
        let key = KeyPair::generate().unwrap();
        let certificate = leaf(&[]).signed_by(&key, &server_authority).unwrap();
        let trusted = |authority: &testing::Authority, tenant| Authority {
            roots: vec![authority.der().clone()],
            tenants: tenants(&[tenant]),
        };
        let config = Config {
            server: ServerConfig {
                listen: "127.0.0.1:0".parse().unwrap(),
                data_dir: PathBuf::new(),
                shards: 4,
                drain_deadline: deadline,
                max_connections: DEFAULT_MAX_CONNECTIONS,
                max_connection_age: max_age,
                min_free_disk_bytes: 0,
            },
            tls: TlsConfig {
                chain: vec![certificate.der().clone()],
                key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
                names: BTreeSet::new(),
            },
            identity: IdentityConfig {
                trust_domain: trust_domain(),
                tokens: TokenPolicy {
                    audience: "posthouse".to_owned(),
                    max_lifetime: Duration::from_secs(3600),
                },
                max_certificate_lifetime: None,
            },
            authorities: vec![trusted(&authority, "taxation"), trusted(&other_authority, "public-security")],
            issuers: Vec::new(),
            tenants: Vec::new(),
            files: Files {
                certificate: PathBuf::new(),
                key: PathBuf::new(),
                authorities: Vec::new(),
                key_sets: Vec::new(),
            },
            observe: ObserveConfig::default(),
            notices: Vec::new(),
        };
        let door = Door::bind(&config, Observer::for_tests()).unwrap();
        let address = door.local_addr();
        let (drain, slow_started, slow_may_end) =
            (CancellationToken::new(), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (started, may_end) = (Arc::clone(&slow_started), Arc::clone(&slow_may_end));
        let calls = service_fn(move |request| answer(request, Arc::clone(&started), Arc::clone(&may_end)));
        let served = tokio::spawn(door.serve(calls, drain.clone(), deadline));
        Self {
            address,
            authority,
            other_authority,
            drain,
            served,
            slow_started,
            slow_may_end,
            server_authority,
        }
    }

    /// A client with a certificate of the first authority.
    pub(super) fn client(&self, params: &CertificateParams) -> Client {
        self.client_of(&self.authority, params)
    }

    pub(super) fn client_of(&self, authority: &testing::Authority, params: &CertificateParams) -> Client {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        self.bare_client().certificate(certificate.der().clone(), &key)
    }

    pub(super) fn self_signed_client(&self, params: &CertificateParams) -> Client {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        self.bare_client().certificate(certificate.der().clone(), &key)
    }

    /// A client without a certificate.
    pub(super) fn bare_client(&self) -> Client {
        Client::new(self.address, self.server_authority.der().clone())
    }
}

async fn answer(
    request: Request<Received>,
    slow_started: Arc<Notify>,
    slow_may_end: Arc<Notify>,
) -> Result<Response<Body>, Infallible> {
    let text = match request.extensions().get::<Arc<ConnIdentity>>() {
        Some(_) if request.uri().path() == "/slow" => {
            slow_started.notify_one();
            slow_may_end.notified().await;
            "slow".to_owned()
        }
        Some(identity) => identity.spiffe_id.to_string(),
        None => format!("refused: {}", request.extensions().get::<Arc<RefusedIdentity>>().unwrap().error),
    };
    Ok(Response::builder().header("answer", text).body(Body::empty()).unwrap())
}
