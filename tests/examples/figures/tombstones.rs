//! What consumed messages leave behind: deleted rows that later reads have to pass over.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use posthouse_client::{Client, NewMessage};
use posthouse_tests::harness::server::Server;
use posthouse_tests::harness::site::{CIVIL, Site};

use super::{Bench, QUEUE, number};

/// As the promise is: after five million messages, eight more deleted rows per delivery than for the first.
const PASSED: u64 = 5_000_000;
const MORE: f64 = 8.0;
/// Deliveries that are looked at, one after the other.
const DELIVERIES: u32 = 200;
const METRIC: &str = "posthouse_store_skipped_tombstones_total";

/// Where a server tells its figures.
#[derive(Debug, Clone, Copy)]
pub struct Listener(SocketAddr);

impl Listener {
    /// Adds a management listener to the configuration of a server that does not run yet.
    pub fn configure(site: &Site) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut config = std::fs::OpenOptions::new().append(true).open(site.config()).unwrap();
        writeln!(config, "[management]\nlisten = \"{free}\"").unwrap();
        Self(free)
    }

    /// Deleted rows that reads have passed over since the server's start.
    fn tombstones(self) -> f64 {
        let mut stream = TcpStream::connect(self.0).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let line = answer.lines().find_map(|line| line.strip_prefix(METRIC));
        line.unwrap_or_else(|| panic!("no {METRIC} in {answer}")).trim().parse().unwrap()
    }
}

/// Lets messages pass through a queue, and compares the deliveries after them with the first.
/// Returns how many promises were not kept.
pub async fn measure() -> u32 {
    let passed = number("POSTHOUSE_PASSED", PASSED);
    let site = Site::new();
    let listener = Listener::configure(&site);
    let mut bench = Bench::start(site).await;
    let first = per_delivery(&bench, listener).await;
    bench.note("deleted rows read over per delivery, at first", &format!("{first:.2}"));
    bench.run(&format!("pipeline QUEUE --warm-up 0 --count {passed}"));
    let promised = format!("at most {:.2}", first + MORE);
    let warm = per_delivery(&bench, listener).await;
    let what = format!("the same after {passed} messages");
    bench.judge(&what, &format!("{warm:.2}"), warm <= first + MORE, &promised);
    bench.server.kill();
    bench.server = Server::start(&bench.site).await;
    let cold = per_delivery(&bench, listener).await;
    bench.judge("the same after a kill", &format!("{cold:.2}"), cold <= first + MORE, &promised);
    bench.missed
}

/// Publishes messages and consumes them one by one.
async fn per_delivery(bench: &Bench, listener: Listener) -> f64 {
    let client = Client::connect(bench.site.context(CIVIL)).await.unwrap();
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    for number in 0..DELIVERIES {
        drop(publisher.publish(NewMessage::new(number.to_string())).await.unwrap());
    }
    publisher.close().await.unwrap();
    let consumer = client.consumer(QUEUE).credit_messages(1).open().await.unwrap();
    let before = listener.tombstones();
    for _ in 0..DELIVERIES {
        consumer.next().await.unwrap().unwrap().ack().await.unwrap();
    }
    let more = listener.tombstones() - before;
    consumer.close().await.unwrap();
    more / f64::from(DELIVERIES)
}
