//! A message's way as one trace: three programs report their spans to one collector, each by itself.

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use posthouse_client::{Client, Context, Delivery, NewMessage};
use posthouse_tests::harness::{
    PATIENCE,
    collector::{Collector, attribute},
    eventually,
    scene::{Scene, queue_name},
    site::{CIVIL, Site},
};
use tokio::runtime::Builder;
use tracing::Instrument as _;
use tracing_subscriber::{Layer as _, Registry, filter::Targets, layer::SubscriberExt as _};

const PAYLOAD: &str = "canary-payload-51f0";
const ATTRIBUTE: &str = "canary-attribute-51f0";

/// Runs the part of one program with a runtime, a connection, and an exporter of its own, as if it were a process. Its
/// spans are sent when this returns.
async fn program<F: Future<Output = ()>>(
    name: &'static str,
    context: PathBuf,
    endpoint: String,
    part: impl FnOnce(Client) -> F + Send + 'static,
) {
    let run = move || {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let entered = runtime.enter();
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().unwrap();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name(name).build())
            .build();
        drop(entered);
        // The subscriber is of one thread, so that each program has its own; all of its tasks have to run on that
        // thread.
        let ours = Targets::new().with_target("posthouse_client", tracing::Level::INFO);
        let ours = ours.with_target(env!("CARGO_CRATE_NAME"), tracing::Level::INFO);
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(name)).with_filter(ours);
        let subscriber = tracing::subscriber::set_default(Registry::default().with(layer));
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let client = Client::connect(Context::load(context).unwrap()).await.unwrap();
            part(client).await;
        });
        drop(subscriber);
        provider.shutdown_with_timeout(PATIENCE).unwrap();
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

async fn publish(client: Client) {
    let publisher = client.publisher(queue_name("applications")).open().await.unwrap();
    let message = NewMessage::new(PAYLOAD).attribute("kind", ATTRIBUTE);
    let span = tracing::info_span!("take application", otel.kind = "producer");
    async { publisher.publish(message).await.unwrap().await.unwrap() }.instrument(span).await;
    publisher.close().await.unwrap();
}

async fn work(client: Client) {
    let done = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&done);
    let handler = move |delivery: Arc<Delivery>| {
        let done = Arc::clone(&flag);
        async move {
            assert_eq!(&delivery.payload()[..], PAYLOAD.as_bytes());
            async { done.store(true, Ordering::Relaxed) }.instrument(tracing::info_span!("issue card")).await;
            Ok(())
        }
    };
    let pool = client.worker_pool(queue_name("applications")).start(handler).await.unwrap();
    eventually("a delivery", || async { done.load(Ordering::Relaxed).then_some(()) }).await;
    let report = pool.stop().await.unwrap();
    assert_eq!((report.acked, report.unconfirmed), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn producer_queue_and_consumer_tell_of_one_trace() {
    let collector = Collector::start().await;
    let telemetry = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.endpoint());
    let mut scene = Scene::on(Site::with_sections(&telemetry)).await;
    let queue = scene.plain_queue("applications").await;
    program("intake", scene.site.context_file(CIVIL), collector.endpoint(), publish).await;
    program("office", scene.site.context_file(CIVIL), collector.endpoint(), work).await;
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0), "{}", scene.server.log());

    // All programs have ended, so these are all spans.
    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(|(service, span)| (service.as_str(), span.name.as_str())).collect();
    let of = |service: &str, name: &str| -> &Span {
        let found: Vec<_> = spans.iter().filter(|(s, span)| s == service && span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} of {service} among {names:?}");
        &found[0].1
    };
    let published = of("intake", "take application");
    let waited = of("posthouse", "wait applications");
    let processed = of("office", "process");
    let issued = of("office", "issue card");
    assert_eq!(spans.len(), 4, "{names:?}");

    assert!(spans.iter().all(|(_, span)| span.trace_id == published.trace_id), "{spans:#?}");
    assert!(published.trace_id.len() == 16 && published.trace_id.iter().any(|byte| *byte != 0));
    // The waiting and the processing belong to the producer's trace; the application's own work is a part of the
    // latter.
    assert!(published.parent_span_id.is_empty());
    assert_eq!(waited.parent_span_id, published.span_id);
    assert_eq!(processed.parent_span_id, published.span_id);
    assert_eq!(issued.parent_span_id, processed.span_id);
    assert_eq!(published.kind(), SpanKind::Producer);
    assert_eq!(waited.kind(), SpanKind::Internal);
    assert_eq!(processed.kind(), SpanKind::Consumer);

    // Queue and consumer name the same message.
    let id = attribute(waited, "messaging.message.id").unwrap();
    assert_eq!(attribute(processed, "messaging.message.id"), Some(id));
    assert_eq!(attribute(processed, "messaging.destination.name").as_deref(), Some(queue.as_str()));
    let all = format!("{spans:?}");
    assert!(!all.contains(PAYLOAD) && !all.contains(ATTRIBUTE), "{all}");
}
