//! Growth of the tenants of one server.

use std::{
    fmt::Write as _,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Result;
use async_trait::async_trait;
use posthouse::dev::{
    SERVER_NAME,
    authority::{Authority, Leaf},
    config::issuer_url,
    spiffe_id,
    token::{Algorithm, Claims, Issuer},
};
use posthouse_client::{Client, Context, QueueSettings};
use posthouse_tests::harness::site::Site;
use tempfile::TempDir;

use super::{super::Run, decades, point};
use crate::{
    load::publish,
    plan::{Best, PAYLOAD_BYTES},
    system::{
        Consumer, Facts, Producer, Server, Shape,
        posthouse::{Running, sender},
    },
};

const LARGEST: u64 = 1_000;
/// Connections at every point of the curve; each tenant has at least one.
const CONNECTIONS: usize = 1_000;
/// Lifetime of the tokens: longer than the measurement of a point.
const LIFETIME: Duration = Duration::from_secs(3_600);
const QUEUE: &str = "office/published";

pub async fn run(run: &mut Run) -> Result<()> {
    for tenants in decades(1, LARGEST) {
        let folder = TempDir::with_prefix_in("posthouse-", &run.disk)?;
        let many = Many::start(&folder, usize::try_from(tenants)?).await?;
        let load = Best::of("posthouse").load_over(CONNECTIONS, PAYLOAD_BYTES, run.lengths.point);
        let published = publish::run(&many, "", load).await?;
        let row = published.measured.row("", "posthouse", "publish", &load);
        run.record(&point(row, "tenants", tenants))?;
        Box::new(many).stop().await?;
    }
    Ok(())
}

/// A server whose producers belong to its tenants in turn.
struct Many {
    running: Running,
    clients: Vec<Client>,
    next: AtomicUsize,
}

impl Many {
    async fn start(folder: &TempDir, count: usize) -> Result<Self> {
        let names: Vec<String> = (0..count).map(|number| format!("agency-{number}")).collect();
        let authority = Authority::new("clients of many tenants")?;
        let url = issuer_url("agencies");
        let issuer = Issuer::new(&url, Algorithm::EdDsa)?;
        let mut sections = format!(
            "[[authority]]\ncertificates = \"agencies.pem\"\ntenants = {names:?}\n\
             [[issuer]]\nissuer = \"{url}\"\njwks = \"agencies.json\"\ntenants = {names:?}\n"
        );
        for name in &names {
            write!(sections, "[[tenant]]\nname = \"{name}\"\ndepartments = [\"office\"]\n")?;
        }
        let site = Site::below_with_sections(folder.path(), &sections);
        fs::write(site.path("agencies.pem"), authority.certificate_pem())?;
        fs::write(site.path("agencies.json"), issuer.key_set())?;
        let contexts = names.iter().map(|name| context(&site, &authority, &issuer, name));
        let contexts = contexts.collect::<Result<Vec<_>>>()?;
        let running = Running::start(site).await?;
        let mut clients = Vec::with_capacity(count);
        for context in contexts {
            let client = Client::connect(context).await?;
            client.queues().create(QUEUE, &QueueSettings::new()).await?;
            clients.push(client);
        }
        Ok(Self { running, clients, next: AtomicUsize::new(0) })
    }
}

/// Issues a certificate and a token for a tenant.
fn context(site: &Site, authority: &Authority, issuer: &Issuer, tenant: &str) -> Result<Context> {
    let subject = spiffe_id(tenant);
    let certificate = authority.issue(&Leaf::client(&subject))?;
    let claims = Claims::bound(issuer, tenant, &subject, &certificate.thumbprint()?, LIFETIME);
    let file = |suffix: &str| site.path(&format!("contexts/{tenant}.{suffix}"));
    fs::write(file("pem"), &certificate.certificate_pem)?;
    fs::write(file("key"), &certificate.key_pem)?;
    fs::write(file("token"), issuer.mint(&claims)?)?;
    let text = format!(
        "endpoint = \"{}\"\nserver_name = \"{SERVER_NAME}\"\ntenant = \"{tenant}\"\n\
         authority = \"../server-authority.pem\"\ncertificate = \"{tenant}.pem\"\nkey = \"{tenant}.key\"\n\
         token_file = \"{tenant}.token\"\n",
        site.listen()
    );
    fs::write(file("toml"), text)?;
    Ok(Context::load(file("toml"))?)
}

#[async_trait]
impl Server for Many {
    fn facts(&self) -> Facts {
        self.running.facts()
    }

    fn pids(&self) -> Vec<u32> {
        self.running.pids()
    }

    async fn create(&self, queue: &str) -> Result<()> {
        self.running.create(queue).await
    }

    async fn producer(&self, _queue: &str, shape: Shape) -> Result<Box<dyn Producer>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len();
        sender(&self.clients[number], QUEUE, shape).await
    }

    async fn consumer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Consumer>> {
        self.running.consumer(queue, shape).await
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        Box::new(self.running).stop().await
    }
}
