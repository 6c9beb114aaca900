//! Spans for an OpenTelemetry collector: of calls, and of the time a message waited in its queue.
//!
//! Only traces that their caller sampled are recorded, and none while no collector is configured. A span names
//! resources and ids; it never holds a payload, an attribute of a message, or a token.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
        TraceId, TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData,
        SpanExporter as Export,
    },
};
use prometheus::{IntCounter, IntCounterVec};
use tonic::Code;

use super::Metrics;
use crate::{
    config::TelemetryConfig,
    limits::{LAST_SPANS_DEADLINE, MAX_SPANS_WAITING},
};

/// The header, and the attribute of a message, that carries a trace's context.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// How long the collector may take for one batch of spans.
const EXPORT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a span waits for others to leave with.
const GATHER: Duration = Duration::from_secs(1);

/// The way to the collector.
pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    started: IntCounter,
}

/// A message's stay in its queue.
pub(crate) struct Waited<'a> {
    /// The full name of the queue.
    pub(crate) queue: &'a str,
    pub(crate) subscription: &'a str,
    pub(crate) message_id: &'a str,
    pub(crate) attempt: u32,
    pub(crate) payload_bytes: usize,
    pub(crate) published: SystemTime,
    pub(crate) delivered: SystemTime,
}

/// The span of a call that has not ended.
#[derive(Debug)]
pub(crate) struct CallSpan(Span);

impl Telemetry {
    /// Begins to export. Within the runtime that will serve: the connection to the collector lives on it.
    pub(super) fn start(config: &TelemetryConfig, metrics: &Metrics) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&config.otlp_endpoint)
            .with_timeout(EXPORT_DEADLINE)
            .build()?;
        Ok(Self::over(exporter, config, &metrics.own.spans))
    }

    fn over(exporter: impl Export + 'static, config: &TelemetryConfig, spans: &IntCounterVec) -> Self {
        let exporter = Counted {
            exporter,
            exported: spans.with_label_values(&["exported"]),
            failed: spans.with_label_values(&["failed"]),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_SPANS_WAITING)
            .with_scheduled_delay(GATHER)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::TraceIdRatioBased(config.sample_ratio))
            .with_resource(
                Resource::builder()
                    .with_service_name(config.service_name.clone())
                    .with_attribute(version)
                    .build(),
            )
            .build();
        let tracer = provider.tracer("posthouse");
        Self { provider, tracer, started: spans.with_label_values(&["started"]) }
    }

    /// Begins the span of a delivery, whose message carries this context.
    pub(crate) fn waited(&self, traceparent: &str, waited: &Waited<'_>) {
        let Some(parent) = parent(traceparent).filter(SpanContext::is_sampled) else { return };
        let short = waited.queue.rsplit('/').next().unwrap_or_default();
        let attributes = [
            KeyValue::new("messaging.system", "posthouse"),
            KeyValue::new("messaging.operation.name", "wait"),
            KeyValue::new("messaging.destination.name", waited.queue.to_owned()),
            KeyValue::new("messaging.destination.subscription.name", waited.subscription.to_owned()),
            KeyValue::new("messaging.message.id", waited.message_id.to_owned()),
            KeyValue::new("messaging.message.body.size", clamp(waited.payload_bytes)),
            KeyValue::new("posthouse.delivery.attempt", i64::from(waited.attempt)),
        ];
        let builder = SpanBuilder::from_name(format!("wait {short}"))
            .with_kind(SpanKind::Internal)
            .with_start_time(waited.published)
            .with_attributes(attributes);
        let mut span = self.start_span(builder, parent);
        span.end_with_timestamp(waited.delivered);
    }

    /// Begins the span of a call whose headers carry a context.
    pub(crate) fn call(&self, headers: &HeaderMap, method: &'static str) -> Option<CallSpan> {
        let parent = parent(headers.get(TRACEPARENT)?.to_str().ok()?).filter(SpanContext::is_sampled)?;
        let (service, short) = method.split_once('/').unwrap_or((method, method));
        let attributes = [
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", service),
            KeyValue::new("rpc.method", short),
        ];
        let builder = SpanBuilder::from_name(method).with_kind(SpanKind::Server).with_attributes(attributes);
        Some(CallSpan(self.start_span(builder, parent)))
    }

    /// Exports what waits, for a bounded time. Blocks; the runtime must still run.
    pub(super) fn close(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_SPANS_DEADLINE) {
            tracing::warn!(%error, "the collector did not take the last spans");
        }
    }

    fn start_span(&self, builder: SpanBuilder, parent: SpanContext) -> Span {
        let span = self.tracer.build_with_context(builder, &Context::new().with_remote_span_context(parent));
        if span.is_recording() {
            self.started.inc();
        }
        span
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

impl CallSpan {
    /// The call has ended; `reason` is the error's, if it is one.
    pub(crate) fn end(mut self, code: Code, reason: &str) {
        self.0.set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(i32::from(code))));
        // Of a server, only its own faults are errors.
        if matches!(code, Code::Unknown | Code::DeadlineExceeded | Code::Unimplemented | Code::Internal)
            || matches!(code, Code::Unavailable | Code::DataLoss)
        {
            self.0.set_status(Status::Error { description: Cow::Owned(reason.to_owned()) });
        }
        self.0.end();
    }
}

/// The trace that a `traceparent` names, sampled or not, as it is written.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    parent(text)?;
    text.get(3..35)
}

/// A `traceparent` of the W3C's recommendation, level 1; later versions are read as far as they agree with it.
fn parent(text: &str) -> Option<SpanContext> {
    // version-trace-span-flags: 2, 32, 16 and 2 lower-case hexadecimal digits.
    let known = text.get(..55)?;
    let mut parts = known.split('-');
    let mut part = |digits: usize| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        parts.next().filter(|part| part.len() == digits && part.bytes().all(hex))
    };
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let more = text.get(55..)?;
    let later = version != "00" && version != "ff" && more.starts_with('-');
    if version == "ff" || !(more.is_empty() || later) {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

fn clamp(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Counts what an exporter does: what was started and is neither exported nor failed was dropped, or waits.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    exported: IntCounter,
    failed: IntCounter,
}

impl<E: Export> Export for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let exported = self.exporter.export(batch).await;
        if exported.is_ok() {
            self.exported.inc_by(count)
        } else {
            self.failed.inc_by(count)
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_context_is_read_as_the_w3c_writes_it() {
        let good = parent(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!((good.trace_id().to_string(), good.span_id().to_string()), (TRACE.into(), SPAN.into()));
        assert!(good.is_sampled() && good.is_remote());
        assert!(!parent(&format!("00-{TRACE}-{SPAN}-00")).unwrap().is_sampled());
        assert!(parent(&format!("cc-{TRACE}-{SPAN}-03-what-comes-later")).unwrap().is_sampled());
        for bad in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01more"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", "é".repeat(16)),
            "é".repeat(55),
        ] {
            assert!(parent(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_trace_of_a_call_is_told_sampled_or_not() {
        let mut headers = HeaderMap::new();
        assert_eq!(trace_id(&headers), None);
        headers.insert(TRACEPARENT, format!("00-{TRACE}-{SPAN}-00").parse().unwrap());
        assert_eq!(trace_id(&headers), Some(TRACE));
    }
}
