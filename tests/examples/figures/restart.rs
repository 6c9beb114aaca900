//! A million messages wait, and the server is killed.

use std::time::{Duration, Instant};

use posthouse_client::{Client, Consumer, Context};
use posthouse_tests::harness::{binaries, process, server::Server, site::CIVIL};

use super::{Bench, QUEUE, folder_bytes, number};

const BACKLOG: u64 = 1_000_000;
const FIRST_DELIVERY: Duration = Duration::from_secs(2);
const MEMORY_MIB: u64 = 512;
/// The interval between attempts to reach a server that starts.
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn measure(bench: &mut Bench) {
    let backlog = number("POSTHOUSE_BACKLOG", BACKLOG);
    bench.run(&format!("publish QUEUE --warm-up 0 --keep --count {backlog}"));
    bench.show("memory while publishing, peak", &mib(process::peak_memory(bench.server.id())));
    bench.server.kill();
    bench.show("log at the kill", &mib(folder_bytes(&bench.site.data().join("log"))));

    let caller = bench.site.context(CIVIL);
    let start = Instant::now();
    bench.server = Server::launch(&bench.site, &binaries::posthouse(), None);
    let (consumer, opened, first) = first_delivery(&caller, start).await;
    bench.show("from start to an open stream", &format!("{} ms", opened.as_millis()));
    let what = format!("from start to the first delivery, {backlog} waiting");
    let promised = format!("under {} ms", FIRST_DELIVERY.as_millis());
    bench.judge(&what, &format!("{} ms", first.as_millis()), first < FIRST_DELIVERY, &promised);
    // The consumer's leases are released, and their messages consumed with the others.
    consumer.close().await.unwrap();

    let before = process::cpu_seconds(bench.server.id());
    let report = bench.run("consume QUEUE --no-fill --warm-up 0");
    let used = process::cpu_seconds(bench.server.id()) - before;
    bench.show(
        "messages a second from the backlog",
        &format!("{:.0}", report["messages_per_second"].as_f64().unwrap()),
    );
    bench.show("the server's time", &format!("{:.1} us/message", used * 1e6 / backlog as f64));
    let peak = process::peak_memory(bench.server.id());
    let promised = format!("under {MEMORY_MIB} MiB");
    bench.judge("memory while consuming them, peak", &mib(peak), peak < MEMORY_MIB << 20, &promised);
}

/// Connects until there is a delivery; returns the times of the open stream and of the delivery.
async fn first_delivery(context: &Context, start: Instant) -> (Consumer, Duration, Duration) {
    loop {
        let attempt = async {
            let client = Client::connect(context.clone()).await?;
            client.consumer(QUEUE).credit_messages(1).open().await
        };
        match attempt.await {
            Ok(consumer) => {
                let opened = start.elapsed();
                let delivery = consumer.next().await.unwrap().unwrap();
                let first = start.elapsed();
                drop(delivery);
                return (consumer, opened, first);
            }
            Err(error) if start.elapsed() > PATIENCE => panic!("no stream: {error}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
