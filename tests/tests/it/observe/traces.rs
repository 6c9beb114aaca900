//! One trace from a producer through its queue, at an OTLP collector.

use posthouse_proto::v1::{self, NewMessage, SettleAction};
use posthouse_tests::harness::{
    collector::{Collector, attribute},
    eventually,
    probe::{scrape, value},
    scene::{LONG, Scene, message, settlement},
    site::Site,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const CANARY: &str = "canary-7f3b0c55";

async fn scene(collector: &Collector, more: &str) -> Scene {
    let telemetry = format!("[telemetry]\notlp_endpoint = \"{}\"\n{more}", collector.endpoint());
    Scene::on(Site::with_sections(&telemetry)).await
}

fn traced(text: &str, flags: &str) -> NewMessage {
    let mut message = message(text);
    message.attributes.insert("traceparent".to_owned(), format!("00-{TRACE}-{SPAN}-{flags}"));
    message
}

async fn publish(scene: &Scene, queue: &str, messages: Vec<NewMessage>, traceparent: Option<&str>) {
    let request = v1::PublishRequest { queue: queue.to_owned(), messages, ..Default::default() };
    let mut request = scene.caller.request(request);
    if let Some(traceparent) = traceparent {
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    }
    scene.caller.publisher().publish(request).await.unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_traced_has_a_span_for_its_wait() {
    let collector = Collector::start().await;
    let scene = scene(&collector, "service_name = \"mail\"\n").await;
    let queue = scene.plain_queue("q").await;
    let header = format!("00-{TRACE}-b7ad6b7169203331-01");
    publish(&scene, &queue, vec![traced(CANARY, "01"), traced("b", "00"), message("c")], Some(&header)).await;
    let deliveries = scene.receive(&queue, 3, LONG).await;
    assert_eq!(deliveries.len(), 3);
    scene.settled(&queue, settlement(&deliveries[0], SettleAction::Ack)).await;

    let spans =
        eventually("two spans", || async { Some(collector.spans()).filter(|spans| spans.len() >= 2) }).await;
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert!(spans.iter().all(|(service, span)| service == "mail" && hex(&span.trace_id) == TRACE));
    let of = |name: &str| spans.iter().map(|(_, span)| span).find(|span| span.name == name).unwrap();

    let call = of("posthouse.v1.Publisher/Publish");
    assert_eq!(hex(&call.parent_span_id), "b7ad6b7169203331");
    assert_eq!(attribute(call, "rpc.grpc.status_code").as_deref(), Some("0"));

    let wait = of("wait q");
    assert_eq!(hex(&wait.parent_span_id), SPAN);
    let id = &deliveries[0].message.as_ref().unwrap().id;
    for (key, expected) in [
        ("messaging.system", "posthouse"),
        ("messaging.destination.name", queue.as_str()),
        ("messaging.destination.subscription.name", "default"),
        ("messaging.operation.name", "wait"),
        ("messaging.message.id", id.as_str()),
        ("posthouse.delivery.attempt", "1"),
    ] {
        assert_eq!(attribute(wait, key).as_deref(), Some(expected), "{key}");
    }
    let published = deliveries[0].message.as_ref().unwrap().publish_time.unwrap();
    let published =
        u64::try_from(published.seconds).unwrap() * 1_000_000_000 + u64::try_from(published.nanos).unwrap();
    assert_eq!(wait.start_time_unix_nano, published);
    assert!(wait.start_time_unix_nano <= wait.end_time_unix_nano);
    assert!(!format!("{spans:?}").contains(CANARY));

    let metrics = scrape(scene.site.management()).await;
    assert_eq!(value(&metrics, "posthouse_spans_total{result=\"started\"}"), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_leave_before_the_server_ends() {
    let collector = Collector::start().await;
    let mut scene = scene(&collector, "").await;
    let queue = scene.plain_queue("q").await;
    publish(&scene, &queue, vec![traced("a", "01")], None).await;
    assert_eq!(scene.receive(&queue, 1, LONG).await.len(), 1);
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0), "{}", scene.server.log());
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    assert_eq!((spans[0].0.as_str(), spans[0].1.name.as_str()), ("posthouse", "wait q"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_holds_nobody_up() {
    // A port on which nobody listens any more.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sections = format!("[telemetry]\notlp_endpoint = \"http://{nobody}\"\n");
    let mut scene = Scene::on(Site::with_sections(&sections)).await;
    let queue = scene.plain_queue("q").await;
    publish(&scene, &queue, vec![traced("a", "01")], None).await;
    assert_eq!(scene.receive(&queue, 1, LONG).await.len(), 1);
    let address = scene.site.management();
    eventually("a failed export", || async {
        let metrics = scrape(address).await;
        (value(&metrics, "posthouse_spans_total{result=\"failed\"}") > 0.0).then_some(())
    })
    .await;
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0), "{}", scene.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ratio_of_none_exports_none() {
    let collector = Collector::start().await;
    let mut scene = scene(&collector, "sample_ratio = 0.0\n").await;
    let queue = scene.plain_queue("q").await;
    publish(&scene, &queue, vec![traced("a", "01")], None).await;
    assert_eq!(scene.receive(&queue, 1, LONG).await.len(), 1);
    scene.server.terminate();
    scene.server.ended().await;
    assert!(collector.spans().is_empty());
}
