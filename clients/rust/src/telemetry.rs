//! Traces an event from the producer, through delay and retries, to the handler.
//!
//! Spans follow OpenTelemetry's conventions for messaging. A dispatch is a span, which its events name in their attributes
//! `traceparent` and `tracestate`. The handler has its own trace that links to it: a single trace would last as long as the
//! delay.

use std::collections::HashMap;
use std::str::FromStr;

use opentelemetry::trace::{
    FutureExt, Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, global};

use crate::delivery::Delivery;
use crate::dispatch::Dispatched;
use crate::error::Error;
use crate::event::Event;
use crate::worker::{Failure, Handler};

const NAME: &str = "duebus";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const MESSAGE_ID: &str = "messaging.message.id";

/// A span that ends when it is dropped. One that has no outcome by then is an error: what it stands for was cancelled, or
/// has panicked.
struct Span {
    context: Context,
    has_outcome: bool,
}

impl Span {
    fn start(name: String, kind: SpanKind, parent: &Context, attributes: Vec<KeyValue>, links: Vec<Link>) -> Self {
        let tracer = global::tracer(NAME);
        let builder = tracer.span_builder(name).with_kind(kind).with_attributes(attributes).with_links(links);
        let span = builder.start_with_context(&tracer, parent);
        Self { context: parent.with_span(span), has_outcome: false }
    }

    /// Runs a part of the program in the span.
    async fn around<T, E>(
        mut self,
        work: impl Future<Output = Result<T, E>>,
        name_of: impl FnOnce(&E) -> String,
    ) -> Result<T, E> {
        let outcome = work.with_context(self.context.clone()).await;
        self.has_outcome = true;
        if let Err(error) = &outcome {
            self.fail(name_of(error));
        }
        outcome
    }

    fn fail(&self, error_type: String) {
        self.context.span().set_attribute(KeyValue::new("error.type", error_type));
        self.context.span().set_status(Status::error(""));
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if !self.has_outcome {
            self.fail(if std::thread::panicking() { "panic" } else { "cancelled" }.to_owned());
        }
        self.context.span().end();
    }
}

/// The span of a dispatch.
pub(crate) struct Dispatching(Span);

/// Begins a dispatch. Its events name its span, unless they name one already: then it links to that.
pub(crate) fn dispatching(topic: &str, events: &mut [Event]) -> Dispatching {
    let links = events.iter().filter_map(|event| link(&event.attributes)).collect();
    let mut attributes = attributes("dispatch", "send", topic);
    if events.len() != 1 {
        attributes
            .push(KeyValue::new("messaging.batch.message_count", i64::try_from(events.len()).unwrap_or(i64::MAX)));
    }
    let parent = Context::current();
    let span = Span::start(format!("dispatch {topic}"), SpanKind::Producer, &parent, attributes, links);
    let named = headers(span.context.span().span_context());
    for event in events.iter_mut().filter(|event| !event.attributes.contains_key(TRACEPARENT)) {
        event.attributes.extend(named.clone());
    }
    Dispatching(span)
}

impl Dispatching {
    /// Makes the call. `events_of` are those that it has stored; the span has the id of a single one.
    pub(crate) async fn around<T>(
        self,
        call: impl Future<Output = Result<T, Error>>,
        events_of: impl FnOnce(&T) -> &[Dispatched],
    ) -> Result<T, Error> {
        let context = self.0.context.clone();
        let call = async {
            let stored = call.await?;
            if let [single] = events_of(&stored) {
                context.span().set_attribute(KeyValue::new(MESSAGE_ID, single.event_id.clone()));
            }
            Ok(stored)
        };
        self.0.around(call, |error: &Error| error.reason().name().to_owned()).await
    }
}

/// Calls a handler in a span of its own.
pub(crate) async fn handled(handler: &Handler, delivery: Delivery) -> Result<(), Failure> {
    let mut attributes = attributes("process", "process", &delivery.topic);
    attributes.extend([
        KeyValue::new("messaging.consumer.group.name", delivery.group.clone()),
        KeyValue::new(MESSAGE_ID, delivery.event_id.clone()),
        KeyValue::new("duebus.attempt", i64::from(delivery.attempt)),
    ]);
    let links = link(&delivery.attributes).into_iter().collect();
    let name = format!("process {}", delivery.topic);
    let span = Span::start(name, SpanKind::Consumer, &Context::new(), attributes, links);
    // The call itself is in the future, so that it runs in the span too.
    span.around(async { handler(delivery).await }, |failure| failure.kind().to_owned()).await
}

fn attributes(name: &'static str, kind: &'static str, topic: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", NAME),
        KeyValue::new("messaging.operation.name", name),
        KeyValue::new("messaging.operation.type", kind),
        KeyValue::new("messaging.destination.name", topic.to_owned()),
    ]
}

/// The attributes of an event that name a span, as W3C Trace Context has them; none if there is no span.
fn headers(span: &SpanContext) -> HashMap<String, String> {
    let mut headers = HashMap::new();
    if span.is_valid() {
        let parent = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8() & 1);
        headers.insert(TRACEPARENT.to_owned(), parent);
        let state = span.trace_state().header();
        if !state.is_empty() {
            headers.insert(TRACESTATE.to_owned(), state);
        }
    }
    headers
}

/// A link to the span that an event's attributes name.
fn link(attributes: &HashMap<String, String>) -> Option<Link> {
    let parent: Vec<&str> = attributes.get(TRACEPARENT)?.trim().split('-').collect();
    let &[version, trace_id, span_id, flags, ref more @ ..] = parent.as_slice() else { return None };
    let is_known = version.len() == 2 && version != "ff" && (version != "00" || more.is_empty());
    if !is_known || trace_id.len() != 32 || span_id.len() != 16 || flags.len() != 2 {
        return None;
    }
    let span = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1),
        true,
        attributes.get(TRACESTATE).and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default(),
    );
    span.is_valid().then(|| Link::with_context(span))
}
