//! W3C trace context: from the span of the producer into the message, and from the message to the span of the consumer.

use std::collections::HashMap;

use tonic::metadata::MetadataMap;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The W3C trace context that the producer attached to a message, as the attributes `traceparent` and `tracestate`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceContext {
    traceparent: String,
    tracestate: String,
}

impl TraceContext {
    /// Reads the trace context from the attributes of a message; `None` if they have no valid one.
    pub fn from_attributes(attributes: &HashMap<String, String>) -> Option<Self> {
        let traceparent = attributes.get(TRACEPARENT).filter(|text| is_valid(text))?.clone();
        let tracestate = attributes.get(TRACESTATE).cloned().unwrap_or_default();
        Some(Self { traceparent, tracestate })
    }

    /// `VERSION-TRACE-SPAN-FLAGS`, in hexadecimal digits.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The state that tracing systems have added; often empty.
    pub fn tracestate(&self) -> &str {
        &self.tracestate
    }

    /// The id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }

    /// The id of the producer's span: 16 hexadecimal digits.
    pub fn span_id(&self) -> &str {
        self.traceparent.get(36..52).unwrap_or_default()
    }

    /// Whether the producer sampled the trace.
    pub fn is_sampled(&self) -> bool {
        let flags = self.traceparent.get(53..55).and_then(|flags| u8::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & 1 == 1)
    }

    /// Returns an OpenTelemetry context, as the parent of spans.
    #[cfg(feature = "opentelemetry")]
    pub fn to_opentelemetry(&self) -> opentelemetry::Context {
        open_telemetry::span_context(self).unwrap_or_default()
    }

    /// Inserts it into attributes.
    pub(crate) fn insert_into(self, attributes: &mut HashMap<String, String>) {
        attributes.insert(TRACEPARENT.to_owned(), self.traceparent);
        if !self.tracestate.is_empty() {
            attributes.insert(TRACESTATE.to_owned(), self.tracestate);
        }
    }

    /// The number of attributes that it needs, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let parent = TRACEPARENT.len() + self.traceparent.len();
        match self.tracestate.len() {
            0 => (1, parent),
            state => (2, parent + TRACESTATE.len() + state),
        }
    }
}

/// Whether attributes contain a trace context, valid or not.
pub(crate) fn is_attached(attributes: &HashMap<String, String>) -> bool {
    attributes.contains_key(TRACEPARENT)
}

/// Inserts the trace context of the caller into the metadata of a call, so that the server's spans belong to its trace.
pub(crate) fn insert_into_metadata(metadata: &mut MetadataMap) {
    let Some(context) = current() else { return };
    if let Ok(value) = context.traceparent.parse() {
        metadata.insert(TRACEPARENT, value);
    }
    if let (false, Ok(value)) = (context.tracestate.is_empty(), context.tracestate.parse()) {
        metadata.insert(TRACESTATE, value);
    }
}

#[cfg(feature = "opentelemetry")]
pub(crate) use open_telemetry::{current, set_parent};

/// Without the feature `opentelemetry` there are no traces.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn current() -> Option<TraceContext> {
    None
}

/// Without the feature `opentelemetry` there are no traces.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn set_parent(_: &tracing::Span, _: &TraceContext) {}

/// Whether it is `VERSION-TRACE-SPAN-FLAGS`; later versions may append more.
fn is_valid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let some = |part: &[u8]| hex(part) && part.iter().any(|byte| *byte != b'0');
    if bytes.len() < 55 || !hex(&bytes[..2]) || &bytes[..2] == b"ff" {
        return false;
    }
    let dashes = [2, 35, 52].into_iter().all(|index| bytes[index] == b'-');
    let end = if &bytes[..2] == b"00" { bytes.len() == 55 } else { bytes.len() == 55 || bytes[55] == b'-' };
    dashes && end && some(&bytes[3..35]) && some(&bytes[36..52]) && hex(&bytes[53..55])
}

#[cfg(feature = "opentelemetry")]
mod open_telemetry {
    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
    };
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    use super::TraceContext;

    /// The limit of W3C.
    const MAX_STATE_BYTES: usize = 512;

    /// The trace context of the caller: of the current `tracing` span, or else of the current OpenTelemetry context.
    /// Without tracing this costs next to nothing.
    pub(crate) fn current() -> Option<TraceContext> {
        let span = Span::current();
        if !span.is_none()
            && let Some(context) = from_span(span.context().span().span_context())
        {
            return Some(context);
        }
        Context::map_current(|context| from_span(context.span().span_context()))
    }

    /// Makes a span, which must not have been entered, a child of the producer's span.
    pub(crate) fn set_parent(span: &Span, parent: &TraceContext) {
        if !span.is_disabled()
            && let Some(context) = span_context(parent)
            && let Err(error) = span.set_parent(context)
        {
            tracing::trace!(%error, "the producer's trace is not continued");
        }
    }

    pub(super) fn span_context(trace: &TraceContext) -> Option<Context> {
        let trace_id = TraceId::from_hex(trace.trace_id()).ok()?;
        let span_id = SpanId::from_hex(trace.span_id()).ok()?;
        let flags = if trace.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let state = trace.tracestate().parse::<TraceState>().unwrap_or_default();
        let remote = SpanContext::new(trace_id, span_id, flags, true, state);
        remote.is_valid().then(|| Context::new().with_remote_span_context(remote))
    }

    fn from_span(span: &SpanContext) -> Option<TraceContext> {
        if !span.is_valid() {
            return None;
        }
        let flags = span.trace_flags().to_u8() & 1;
        let traceparent = format!("00-{:032x}-{:016x}-{flags:02x}", span.trace_id(), span.span_id());
        let tracestate = Some(span.trace_state().header()).filter(|state| state.len() <= MAX_STATE_BYTES);
        Some(TraceContext { traceparent, tracestate: tracestate.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::TraceContext;

    fn parse(traceparent: &str) -> Option<TraceContext> {
        let attributes = HashMap::from([
            ("traceparent".to_owned(), traceparent.to_owned()),
            ("tracestate".to_owned(), "a=b".to_owned()),
        ]);
        TraceContext::from_attributes(&attributes)
    }

    #[test]
    fn reads_what_w3c_allows() {
        let context = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id(), "b7ad6b7169203331");
        assert!(context.is_sampled());
        assert_eq!(context.tracestate(), "a=b");
        assert!(!parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap().is_sampled());
        assert!(parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later").is_some());
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(TraceContext::from_attributes(&HashMap::new()), None);
    }

    #[cfg(feature = "opentelemetry")]
    #[test]
    fn becomes_a_parent() {
        use opentelemetry::trace::TraceContextExt as _;

        let context = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let parent = context.to_opentelemetry();
        let span = parent.span().span_context().clone();
        assert_eq!(span.trace_id().to_string(), context.trace_id());
        assert!(span.is_remote() && span.is_sampled());
        assert_eq!(span.trace_state().get("a"), Some("b"));
    }
}
