//! One trace from the span of the producer, through the message, to the span of the consumer; and no secret in it.

use std::{
    future::{Future, ready},
    io,
    sync::{Arc, Mutex},
};

use opentelemetry::trace::{SpanKind, TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use posthouse_client::{Delivery, NewMessage, TraceContext};
use tracing::{Instrument as _, Level};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer as _, Registry, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _};

use crate::{
    eventually,
    fake::{Fake, QUEUE},
};

const SECRET: &str = "SECRET-PAYLOAD";

/// Collects the spans that have ended.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Ended {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        self.0.lock().unwrap().extend(batch);
        ready(Ok(()))
    }
}

/// Collects the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn tracer() -> (Ended, SdkTracerProvider) {
    let ended = Ended::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(ended.clone()).build();
    (ended, provider)
}

#[tokio::test]
async fn producer_queue_and_consumer_are_one_trace() {
    let (ended, provider) = tracer();
    let ours = Targets::new().with_target("posthouse_client", Level::TRACE).with_target("it", Level::TRACE);
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test")).with_filter(ours);
    // The runtime of the test has one thread, so that this subscriber is used for all of it.
    let _guard = tracing::subscriber::set_default(Registry::default().with(layer));
    let fake = Fake::start().await;
    let client = fake.client().await;

    let span = tracing::info_span!("application received");
    let trace = span.context().span().span_context().trace_id().to_string();
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    let publishing = async {
        publisher.publish(NewMessage::new(SECRET)).await.unwrap().await.unwrap();
        let own = "00-11111111111111111111111111111111-2222222222222222-01";
        let traced = NewMessage::new("traced by hand").attribute("traceparent", own);
        publisher.publish(traced).await.unwrap().await.unwrap();
        let full = (0..64).map(|n| (format!("k{n}"), "v"));
        publisher.publish(NewMessage::new("full").attributes(full)).await.unwrap().await.unwrap();
        client.queues().list("d").await.unwrap();
    };
    publishing.instrument(span).await;
    publisher.publish("outside").await.unwrap().await.unwrap();
    let attributes = fake.records().producers.attributes.clone();
    let context = TraceContext::from_attributes(&attributes[0]).unwrap();
    assert_eq!(context.trace_id(), trace);
    assert!(attributes[1]["traceparent"].contains("1111"), "the producer's own stays");
    assert_eq!(attributes[2].len(), 64, "there was no room");
    assert!(attributes[3].is_empty());
    let call = fake.records().traceparents.last().cloned().unwrap();
    assert!(call.contains(&trace), "the call belongs to it: {call}");

    fake.records().leases.attributes = attributes[0].clone();
    fake.records().leases.put(SECRET);
    let handler = |delivery: Arc<Delivery>| async move {
        assert_eq!(delivery.trace_context().unwrap().trace_id().len(), 32);
        let current = tracing::Span::current().context();
        assert_eq!(
            current.span().span_context().trace_id().to_string(),
            delivery.trace_context().unwrap().trace_id()
        );
        Ok(())
    };
    let pool = client.worker_pool(QUEUE).start(handler).await.unwrap();
    eventually("it is acked", || fake.records().leases.acked.len() == 1).await;
    let report = pool.stop().await.unwrap();
    assert_eq!((report.acked, report.panicked), (1, 0));

    provider.force_flush().unwrap();
    let spans = ended.0.lock().unwrap().clone();
    assert!(!format!("{spans:?}").contains(SECRET), "spans hold no payload");
    let process = spans.iter().find(|span| span.name == "process").unwrap();
    assert_eq!(process.span_context.trace_id().to_string(), trace);
    assert_eq!(process.parent_span_id.to_string(), context.span_id());
    assert_eq!(process.span_kind, SpanKind::Consumer);
    assert!(spans.iter().any(|span| span.name == "posthouse.call"));
}

#[tokio::test]
async fn nothing_secret_is_logged_or_printed() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("posthouse_client=trace")
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fake = Fake::start().await;
    fake.pki.write_token("SECRET-TOKEN");
    fake.records().token = "SECRET-TOKEN".to_owned();
    let client = fake.client().await;
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    let message = NewMessage::new(SECRET).attribute("name", "SECRET-NAME");
    let mut printed = format!("{client:?} {message:?} {:?} {:?}", client.context(), client.publisher(QUEUE));
    fake.records().producers.mute = true;
    drop(publisher.publish(message).await.unwrap());
    printed += &format!("{publisher:?}");
    fake.records().leases.put(SECRET);
    fake.records().leases.put(SECRET);
    let consumer = client.consumer(QUEUE).open().await.unwrap();
    let delivery = consumer.next().await.unwrap().unwrap();
    printed += &format!("{delivery:?} {consumer:?} {:?}", consumer.next_event().await.unwrap());
    let error = publisher.publish(NewMessage::new(vec![b'S'; 20_000])).await.unwrap_err();
    printed += &format!("{error} {error:?}");
    drop((delivery, publisher));
    consumer.close().await.unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for text in [&log, &printed] {
        assert!(!text.contains("SECRET") && !text.contains("83, 69, 67"), "{text}");
    }
    assert!(log.contains("posthouse.open_publish_stream"), "{log}");
    assert!(log.contains("a publisher was dropped before its messages were confirmed"), "{log}");
}
