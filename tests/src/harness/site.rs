//! A site of a server: keys, configuration and data, and the credentials of its callers.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use posthouse::dev::{
    AUDIENCE, SERVER_NAME, TRUST_DOMAIN,
    authority::{Authority, Issued, Leaf},
    config::issuer_url,
    spiffe_id,
    tenants::{SAMPLE_TENANTS, SampleTenant},
    token::{Algorithm, Claims, Issuer},
};
use posthouse_client::Context;
use rand::RngExt;
use tempfile::TempDir;

/// A tenant with one department.
pub const CIVIL: &str = "civil-affairs";
/// Another tenant.
pub const TAXATION: &str = "taxation";

/// A caller's certificate with its key, and a token.
#[derive(Clone)]
pub struct Credentials {
    /// The certificate.
    pub certificate: Issued,
    /// The token.
    pub token: String,
}

/// The folder of a server: keys, configuration and data.
pub struct Site {
    dir: TempDir,
    listen: SocketAddr,
    management: SocketAddr,
    extra: String,
    drain_deadline: Duration,
    server_authority: Authority,
    tenants: BTreeMap<&'static str, Tenant>,
    written: AtomicU32,
}

struct Tenant {
    authority: Authority,
    issuer: Issuer,
}

impl Site {
    /// A new folder with the sample tenants, and a port of its own.
    pub fn new() -> Self {
        Self::with_drain_deadline(Duration::from_secs(25))
    }

    /// A site with another deadline from SIGTERM to exit.
    pub fn with_drain_deadline(drain_deadline: Duration) -> Self {
        Self::configured(drain_deadline, "")
    }

    /// A site whose folder is created below another.
    pub fn below(folder: &Path) -> Self {
        Self::below_with_sections(folder, "")
    }

    /// A site below a folder, with further sections in its configuration.
    pub fn below_with_sections(folder: &Path, extra: &str) -> Self {
        Self::in_dir(TempDir::with_prefix_in("posthouse-", folder).unwrap(), Duration::from_secs(25), extra)
    }

    /// A site with further sections in its configuration.
    pub fn with_sections(extra: &str) -> Self {
        Self::configured(Duration::from_secs(25), extra)
    }

    fn configured(drain_deadline: Duration, extra: &str) -> Self {
        Self::in_dir(TempDir::with_prefix("posthouse-").unwrap(), drain_deadline, extra)
    }

    fn in_dir(dir: TempDir, drain_deadline: Duration, extra: &str) -> Self {
        let tenants = SAMPLE_TENANTS.iter().map(|sample| (sample.name, Tenant::new(sample)));
        let site = Self {
            dir,
            listen: free_address(),
            management: free_address(),
            extra: extra.to_owned(),
            drain_deadline,
            server_authority: Authority::new("server authority of a test").unwrap(),
            tenants: tenants.collect(),
            written: AtomicU32::new(0),
        };
        site.write();
        site
    }

    /// The server's address.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The address of the management listener.
    pub fn management(&self) -> SocketAddr {
        self.management
    }

    /// A path below the site's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The configuration of `posthouse serve`.
    pub fn config(&self) -> PathBuf {
        self.path("posthouse.toml")
    }

    /// Replaces parts of the configuration, each of which must be in it.
    pub fn configure(&self, parts: &[(&str, &str)]) {
        let mut text = fs::read_to_string(self.config()).unwrap();
        for (from, to) in parts {
            assert!(text.contains(from), "{from} is not in {text}");
            text = text.replace(from, to);
        }
        fs::write(self.config(), text).unwrap();
    }

    /// The folder that holds the data folder; power cuts are played on it.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.path("state/data")
    }

    /// The authority that signed the server's certificate, as PEM.
    pub fn server_authority(&self) -> &str {
        self.server_authority.certificate_pem()
    }

    /// The authority that signed the server's certificate.
    pub fn server_authority_itself(&self) -> &Authority {
        &self.server_authority
    }

    /// A new certificate of a tenant's client.
    pub fn certificate(&self, tenant: &str) -> Issued {
        self.tenants[tenant].authority.issue(&Leaf::client(&spiffe_id(tenant))).unwrap()
    }

    /// Any certificate, signed by a tenant's authority.
    pub fn issue(&self, tenant: &str, leaf: &Leaf) -> Issued {
        self.tenants[tenant].authority.issue(leaf).unwrap()
    }

    /// The claims of a tenant's token that is bound to this certificate and has every data right.
    pub fn claims(&self, tenant: &str, certificate: &Issued) -> Claims {
        let lifetime = Duration::from_secs(3600);
        let thumbprint = certificate.thumbprint().unwrap();
        Claims::bound(&self.tenants[tenant].issuer, tenant, &spiffe_id(tenant), &thumbprint, lifetime)
    }

    /// A token with these claims, signed by the tenant's issuer.
    pub fn mint(&self, tenant: &str, claims: &Claims) -> String {
        self.tenants[tenant].issuer.mint(claims).unwrap()
    }

    /// A certificate and a token bound to it, with every data right.
    pub fn credentials(&self, tenant: &str) -> Credentials {
        let certificate = self.certificate(tenant);
        let token = self.mint(tenant, &self.claims(tenant, &certificate));
        Credentials { certificate, token }
    }

    /// A context for the client crate, with new credentials of the tenant.
    pub fn context(&self, tenant: &str) -> Context {
        Context::load(self.context_file(tenant)).unwrap()
    }

    /// A context file for the command line, with new credentials of the tenant.
    pub fn context_file(&self, tenant: &str) -> PathBuf {
        self.write_context(tenant, &self.credentials(tenant))
    }

    /// A context file with these credentials; the token's file is the same path ending in `.token`.
    pub fn write_context(&self, tenant: &str, credentials: &Credentials) -> PathBuf {
        self.write_context_to(tenant, credentials, self.listen)
    }

    /// Writes a context file with these credentials and another address of the server.
    pub fn write_context_to(&self, tenant: &str, credentials: &Credentials, endpoint: SocketAddr) -> PathBuf {
        let name = format!("{tenant}-{}", self.written.fetch_add(1, Ordering::Relaxed));
        let file = |suffix: &str| self.path(&format!("contexts/{name}.{suffix}"));
        fs::write(file("pem"), &credentials.certificate.certificate_pem).unwrap();
        write_secret(&file("key"), &credentials.certificate.key_pem);
        write_secret(&file("token"), &credentials.token);
        let text = format!(
            "endpoint = \"{endpoint}\"\nserver_name = \"{SERVER_NAME}\"\ntenant = \"{tenant}\"\n\
             authority = \"../server-authority.pem\"\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\n\
             token_file = \"{name}.token\"\n"
        );
        fs::write(file("toml"), text).unwrap();
        file("toml")
    }

    /// A new file for a run's log.
    pub(super) fn log(&self) -> PathBuf {
        self.path(&format!("server-{}.log", self.written.fetch_add(1, Ordering::Relaxed)))
    }

    /// Keeps the folder when the test ends, to find out why it failed.
    pub fn keep(&mut self) -> &Path {
        self.dir.disable_cleanup(true);
        self.dir.path()
    }

    fn write(&self) {
        for folder in ["state", "authorities", "issuers", "contexts"] {
            fs::create_dir(self.path(folder)).unwrap();
        }
        let server = Leaf::server(&[SERVER_NAME], &[IpAddr::from(Ipv4Addr::LOCALHOST)]);
        let server = self.server_authority.issue(&server).unwrap();
        fs::write(self.path("server.pem"), &server.certificate_pem).unwrap();
        write_secret(&self.path("server.key"), &server.key_pem);
        fs::write(self.path("server-authority.pem"), self.server_authority()).unwrap();
        for (name, tenant) in &self.tenants {
            fs::write(self.path(&format!("authorities/{name}.pem")), tenant.authority.certificate_pem())
                .unwrap();
            fs::write(self.path(&format!("issuers/{name}.jwks.json")), tenant.issuer.key_set()).unwrap();
        }
        fs::write(self.config(), self.configuration()).unwrap();
    }

    fn configuration(&self) -> String {
        let mut text = format!(
            "[server]\nlisten = \"{}\"\ndata_dir = \"state/data\"\nshards = 4\ndrain_deadline_seconds = {}\n\
             [management]\nlisten = \"{}\"\n\
             [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
             [identity]\ntrust_domain = \"{TRUST_DOMAIN}\"\naudience = \"{AUDIENCE}\"\n",
            self.listen,
            self.drain_deadline.as_secs(),
            self.management
        );
        text.push_str(&self.extra);
        for SampleTenant { name, departments } in SAMPLE_TENANTS {
            text.push_str(&format!(
                "[[authority]]\ncertificates = \"authorities/{name}.pem\"\ntenants = [\"{name}\"]\n\
                 [[issuer]]\nissuer = \"{}\"\njwks = \"issuers/{name}.jwks.json\"\ntenants = [\"{name}\"]\n\
                 [[tenant]]\nname = \"{name}\"\ndepartments = {departments:?}\n",
                issuer_url(name)
            ));
        }
        text
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Tenant {
    fn new(sample: &SampleTenant) -> Self {
        Self {
            authority: Authority::new(&format!("clients of {}", sample.name)).unwrap(),
            issuer: Issuer::new(&issuer_url(sample.name), Algorithm::EdDsa).unwrap(),
        }
    }
}

/// Writes a file that only its owner can read.
pub fn write_secret(path: &Path, text: &str) {
    let mut how = File::options();
    let mut file = how.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A port that is free, and that the system does not use for outgoing connections while the server is down.
fn free_address() -> SocketAddr {
    let mut random = rand::rng();
    loop {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, random.random_range(10_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
