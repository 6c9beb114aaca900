//! Deleted rows that consumed messages leave, and that later reads have to pass over.

use posthouse_client::{Client, NewMessage};

use super::{
    probe::{scrape, value},
    site::{CIVIL, Site},
};

/// Publishes messages to an empty queue, consumes them one by one, and returns how many deleted rows the server read
/// over for each.
pub async fn per_delivery(site: &Site, queue: &str, deliveries: u32) -> f64 {
    let client = Client::connect(site.context(CIVIL)).await.unwrap();
    let publisher = client.publisher(queue).open().await.unwrap();
    for number in 0..deliveries {
        drop(publisher.publish(NewMessage::new(number.to_string())).await.unwrap());
    }
    publisher.close().await.unwrap();
    let consumer = client.consumer(queue).credit_messages(1).open().await.unwrap();
    let before = tombstones(site).await;
    for _ in 0..deliveries {
        consumer.next().await.unwrap().unwrap().ack().await.unwrap();
    }
    let more = tombstones(site).await - before;
    consumer.close().await.unwrap();
    more / f64::from(deliveries)
}

/// How many deleted rows the server has read over since its start.
pub async fn tombstones(site: &Site) -> f64 {
    const METRIC: &str = "posthouse_store_skipped_tombstones_total";
    let metrics = scrape(site.management()).await;
    assert!(metrics.contains(&format!("\n{METRIC} ")), "no {METRIC} in\n{metrics}");
    value(&metrics, METRIC)
}
