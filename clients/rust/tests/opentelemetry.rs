//! Traces from the producer to the handler, with the real server.
#![cfg(all(feature = "opentelemetry", feature = "testing"))]

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use duebus::testing::Bus;
use duebus::{Delivery, DispatchOptions, Event, Failure, Worker, WorkerOptions};
use opentelemetry::trace::{FutureExt, SpanContext, SpanId, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, global};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The spans of all tests, each of which has a topic of its own.
fn exporter() -> &'static InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        global::set_tracer_provider(SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build());
        exporter
    })
}

/// The ended spans with a name, in order.
fn spans(name: &str) -> Vec<SpanData> {
    exporter().get_finished_spans().unwrap().into_iter().filter(|span| span.name == name).collect()
}

fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    span.attributes.iter().map(|each| (each.key.to_string(), each.value.to_string())).collect()
}

fn expected(attributes: &[(&str, &str)]) -> BTreeMap<String, String> {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A worker that reports each delivery and the span that its handler runs in.
fn reporting(bus: &Bus, topic: &str) -> (Worker, UnboundedReceiver<(Delivery, SpanContext)>) {
    let (report, reports) = unbounded_channel();
    let worker = Worker::new(bus.client()).handle(topic, WorkerOptions::default(), move |delivery| {
        let current = Context::current().span().span_context().clone();
        let sent = report.send((delivery, current));
        async move { Ok(sent?) }
    });
    (worker, reports)
}

/// All have the same bus, and topics of their own.
#[tokio::test]
async fn traces() {
    exporter();
    let bus = Bus::start().await.unwrap();
    an_event_is_traced_from_its_producer_to_its_handler(&bus).await;
    an_event_that_names_a_span_keeps_it(&bus).await;
    attributes_that_name_no_span_are_no_link(&bus).await;
    a_failure_is_the_error_of_its_span(&bus).await;
}

async fn an_event_is_traced_from_its_producer_to_its_handler(bus: &Bus) {
    let (worker, mut reports) = reporting(bus, "order.created");
    let running = bus.run(worker).await.unwrap();
    let request = Context::new().with_span(global::tracer("test").start_with_context("request", &Context::new()));
    let dispatch = bus.client().dispatch("order.created", Event::new("").id("order-42"));
    dispatch.with_context(request.clone()).await.unwrap();
    bus.settle().await.unwrap();
    running.stop().await.unwrap();

    let dispatch = spans("dispatch order.created").remove(0);
    assert_eq!(dispatch.span_kind, SpanKind::Producer);
    assert_eq!(dispatch.parent_span_id, request.span().span_context().span_id());
    assert_eq!(
        attributes(&dispatch),
        expected(&[
            ("messaging.destination.name", "order.created"),
            ("messaging.message.id", "order-42"),
            ("messaging.operation.name", "dispatch"),
            ("messaging.operation.type", "send"),
            ("messaging.system", "duebus"),
        ])
    );
    let (delivery, inner) = reports.recv().await.unwrap();
    let of = &dispatch.span_context;
    assert_eq!(delivery.attributes["traceparent"], format!("00-{}-{}-01", of.trace_id(), of.span_id()));

    let process = spans("process order.created").remove(0);
    assert_eq!((&process.span_kind, process.parent_span_id), (&SpanKind::Consumer, SpanId::INVALID));
    assert_eq!(process.span_context.span_id(), inner.span_id());
    let links: Vec<_> = process.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(links, [of.span_id()]);
    assert_eq!(
        attributes(&process),
        expected(&[
            ("duebus.attempt", "1"),
            ("messaging.consumer.group.name", "default"),
            ("messaging.destination.name", "order.created"),
            ("messaging.message.id", "order-42"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.system", "duebus"),
        ])
    );
}

async fn an_event_that_names_a_span_keeps_it(bus: &Bus) {
    const EARLIER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (worker, mut reports) = reporting(bus, "kept");
    let _running = bus.run(worker).await.unwrap();
    let named = HashMap::from([
        ("traceparent".to_owned(), EARLIER.to_owned()),
        ("tracestate".to_owned(), "vendor=value".to_owned()),
    ]);
    let events = vec![Event { attributes: named.clone(), ..Event::new("").id("a") }, Event::new("").id("b")];
    bus.client().dispatch_many("kept", events, DispatchOptions::default()).await.unwrap();
    bus.settle().await.unwrap();
    let dispatch = spans("dispatch kept").remove(0);
    assert_eq!(attributes(&dispatch)["messaging.batch.message_count"], "2");
    let links: Vec<_> = dispatch.links.iter().map(|link| link.span_context.clone()).collect();
    assert_eq!(links.len(), 1);
    assert_eq!(links[0].span_id().to_string(), "b7ad6b7169203331");
    assert_eq!(links[0].trace_state().header(), "vendor=value");
    let mut delivered = HashMap::new();
    for _ in 0..2 {
        let (delivery, _) = reports.recv().await.unwrap();
        delivered.insert(delivery.event_id, delivery.attributes);
    }
    assert_eq!(delivered["a"], named);
    assert!(delivered["b"]["traceparent"].contains(&dispatch.span_context.span_id().to_string()));
}

async fn attributes_that_name_no_span_are_no_link(bus: &Bus) {
    for wrong in [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319-bb7ad6b7169203331-01",
    ] {
        let attributes = HashMap::from([("traceparent".to_owned(), wrong.to_owned())]);
        bus.client().dispatch("wrong", Event { attributes, ..Event::new("") }).await.unwrap();
    }
    let dispatches = spans("dispatch wrong");
    assert_eq!(dispatches.len(), 6);
    assert!(dispatches.iter().all(|each| each.links.is_empty()));
}

async fn a_failure_is_the_error_of_its_span(bus: &Bus) {
    let worker = Worker::new(bus.client()).handle("failing", WorkerOptions::default(), async |delivery: Delivery| {
        assert!(delivery.event_id != "panics", "at the disco");
        Err(Failure::dead_letter("the card is stolen"))
    });
    let _running = bus.run(worker).await.unwrap();
    for id in ["dies", "panics"] {
        bus.client().dispatch("failing", Event::new("").id(id)).await.unwrap();
        assert_eq!(bus.settle().await.is_err(), id == "panics");
    }
    bus.client().dispatch("", Event::new("")).await.unwrap_err();
    let failed = [spans("process failing"), spans("dispatch ")].concat();
    let types: Vec<_> = failed.iter().map(|span| attributes(span)["error.type"].clone()).collect();
    assert_eq!(types, ["dead_letter", "panic", "NO_TOPIC_SPECIFIED"]);
    assert!(failed.iter().all(|span| matches!(span.status, Status::Error { .. })));
}
