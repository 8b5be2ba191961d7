"""Traces: from the producer into the handler by links, and the server's own spans."""

from __future__ import annotations

import asyncio
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from duebus import Client as BlockingClient
from duebus import Delivery, NewEvent, RetryAfter, Worker
from duebus.aio import Client
from duebus.errors import InvalidArgument
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.redis_server import RedisServer
from support.wire import SIGNAL_TIMEOUT_S, connect, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.server_process import ServerProcess


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans of this process's clients and workers."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def context_of(span: Any) -> trace.SpanContext:
    """What names a span that has ended."""
    context: trace.SpanContext = span.get_span_context()
    return context


async def handled_once_retried(
    server: ServerProcess, topic: str, attributes: dict[str, str] | None = None
) -> tuple[trace.SpanContext, list[trace.SpanContext]]:
    """Dispatches a delayed event within a span and retries it. Returns that span and the current spans in handlers."""
    seen: list[trace.SpanContext] = []
    done = asyncio.Event()
    async with Client(server.address) as bus:
        worker = Worker(client=bus)

        @worker.on(topic)
        def handle(delivery: Delivery) -> None:
            seen.append(trace.get_current_span().get_span_context())
            if delivery.attempt == 1:
                raise RetryAfter(0.05)
            loop.call_soon_threadsafe(done.set)

        loop = asyncio.get_running_loop()
        serving = asyncio.create_task(worker.serve())
        await worker.ready()
        with trace.get_tracer("test").start_as_current_span("place order") as producer:
            await bus.dispatch(topic, 1, delay=0.05, attributes=attributes)
        await asyncio.wait_for(done.wait(), SIGNAL_TIMEOUT_S)
        await worker.stop()
        await serving
    return producer.get_span_context(), seen


async def test_each_attempt_is_a_separate_span_that_links_to_the_producer(
    server: ServerProcess, topic: str, spans: InMemorySpanExporter
) -> None:
    placing, in_handlers = await handled_once_retried(server, topic)
    (dispatched,) = [span for span in spans.get_finished_spans() if span.name == f"dispatch {topic}"]
    producer = context_of(dispatched)
    assert dispatched.parent is not None
    assert (dispatched.parent.span_id, dispatched.kind) == (placing.span_id, trace.SpanKind.PRODUCER)
    assert dispatched.attributes == MESSAGING | {
        "messaging.operation.name": "dispatch",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
    }
    handled: list[Any] = [span for span in spans.get_finished_spans() if span.name == f"process {topic}"]
    assert [span.context.span_id for span in handled] == [one.span_id for one in in_handlers]
    assert [span.attributes["duebus.attempt"] for span in handled] == [1, 2]
    for span in handled:
        assert [link.context.trace_id for link in span.links] == [producer.trace_id]
        assert [link.context.span_id for link in span.links] == [producer.span_id]
        assert (span.parent, span.kind) == (None, trace.SpanKind.CONSUMER)
        assert span.context.trace_id != producer.trace_id
        assert span.attributes["messaging.operation.name"] == span.attributes["messaging.operation.type"] == "process"
        assert span.attributes["messaging.destination.name"] == topic
    assert [span.status.is_ok for span in handled] == [False, True]
    assert [span.attributes.get("error.type") for span in handled] == ["RetryAfter", None]


MESSAGING = {"messaging.system": "duebus"}


async def test_a_dispatch_that_fails_says_so_in_its_span(server: ServerProcess, spans: InMemorySpanExporter) -> None:
    async with Client(server.address) as bus:
        with pytest.raises(InvalidArgument):
            await bus.dispatch_many("no such name", [1, 2])
    (dispatched,) = spans.get_finished_spans()
    assert (dispatched.name, dispatched.status.is_ok) == ("dispatch no such name", False)
    assert dispatched.attributes is not None
    assert dispatched.attributes["error.type"] == "InvalidArgument"


def test_the_blocking_client_has_the_same_span(server: ServerProcess, topic: str, spans: InMemorySpanExporter) -> None:
    with BlockingClient(server.address) as bus:
        bus.dispatch(topic, 1)
        bus.dispatch_many(topic, [2, 3])
    assert [span.name for span in spans.get_finished_spans()] == [f"dispatch {topic}"] * 2
    assert {span.kind for span in spans.get_finished_spans()} == {trace.SpanKind.PRODUCER}


async def test_dispatches_that_share_a_call_each_name_their_own_span(
    server: ServerProcess, topic: str, spans: InMemorySpanExporter
) -> None:
    async def place(bus: Client, number: int) -> tuple[str, int]:
        with trace.get_tracer("test").start_as_current_span(f"order {number}") as span:
            await bus.dispatch(topic, number, id=str(number))
            return str(number), span.get_span_context().span_id

    async with Client(server.address) as bus:
        placed = dict(await asyncio.gather(*(place(bus, number) for number in range(20))))
        parents: dict[str, int] = {}
        async with bus.subscribe(topic) as subscription:
            async for delivery in subscription:
                parents[delivery.event_id] = int(delivery.attributes["traceparent"].split("-")[2], 16)
                if len(parents) == len(placed):
                    break
    under = {context_of(span).span_id: span.parent.span_id for span in spans.get_finished_spans() if span.parent}
    assert {number: under[span_id] for number, span_id in parents.items()} == placed


async def test_an_event_that_has_a_span_keeps_it(
    server: ServerProcess, topic: str, spans: InMemorySpanExporter
) -> None:
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await handled_once_retried(server, topic, {"traceparent": own})
    handled: list[Any] = [span for span in spans.get_finished_spans() if span.name == f"process {topic}"]
    assert {f"{link.context.span_id:016x}" for span in handled for link in span.links} == {"b7ad6b7169203331"}
    (dispatched,) = [span for span in spans.get_finished_spans() if span.name == f"dispatch {topic}"]
    assert [f"{link.context.span_id:016x}" for link in dispatched.links] == ["b7ad6b7169203331"]


def test_the_span_of_many_events_has_their_number_and_links_to_the_spans_that_they_name(
    server: ServerProcess, topic: str, spans: InMemorySpanExporter
) -> None:
    named = [NewEvent(data=1, attributes={"traceparent": f"00-{each:032x}-{each:016x}-01"}) for each in (7, 8)]
    with BlockingClient(server.address) as bus:
        bus.dispatch_many(topic, iter([*named, 3]))
        bus.dispatch(topic, 1, id="order-1")
    many, one = spans.get_finished_spans()
    assert many.attributes is not None
    assert one.attributes is not None
    assert many.attributes["messaging.batch.message_count"] == 3
    assert [link.context.span_id for link in many.links] == [7, 8]
    assert one.attributes["messaging.message.id"] == "order-1"


async def test_without_tracing_events_have_no_span(server: ServerProcess, topic: str) -> None:
    async with Client(server.address) as bus:
        await bus.dispatch(topic, 1)
        async with bus.subscribe(topic) as subscription:
            delivery = await anext(aiter(subscription))
            assert delivery.attributes == {}
            await bus.ack(delivery)


class Collector:
    """Receives the spans that a server sends over OTLP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]  # generated
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{port}"
        self._server.start()

    def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802  # the name on the wire
        """Receives spans."""
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()

    def close(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


async def test_the_server_traces_calls_under_the_span_of_the_client(
    start_server: Callable[..., ServerProcess], collector: Collector, topic: str, spans: InMemorySpanExporter
) -> None:
    server = start_server(env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    with trace.get_tracer("test").start_as_current_span("place order") as producer:
        async with Client(server.address) as bus:
            await bus.dispatch(topic, "payload-nobody-may-see")
    assert await asyncio.to_thread(server.terminate) == 0
    (call,) = [span for span in collector.spans if span.name == "duebus.v1.EventBus/Dispatch"]
    (engine,) = [span for span in collector.spans if span.name == "engine dispatch"]
    assert call.trace_id.hex() == f"{producer.get_span_context().trace_id:032x}"
    (dispatched,) = [span for span in spans.get_finished_spans() if span.name == f"dispatch {topic}"]
    assert call.parent_span_id.hex() == f"{context_of(dispatched).span_id:016x}"
    assert (engine.trace_id, engine.parent_span_id) == (call.trace_id, call.span_id)
    assert call.start_time_unix_nano <= engine.start_time_unix_nano <= engine.end_time_unix_nano
    assert attributes_of(call)["rpc.response.status_code"] == "OK"
    assert attributes_of(call)["rpc.grpc.status_code"] == 0
    assert "payload-nobody-may-see" not in str(collector.spans)


def attributes_of(span: Any) -> dict[str, Any]:
    """The attributes of a span on the wire."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


async def test_a_clients_fault_is_no_error_of_the_servers_span(
    start_server: Callable[..., ServerProcess], collector: Collector
) -> None:
    server = start_server(env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    async with Client(server.address) as bus:
        with pytest.raises(InvalidArgument):
            await bus.dispatch("no such name", 1)
    assert await asyncio.to_thread(server.terminate) == 0
    (call,) = [span for span in collector.spans if span.name == "duebus.v1.EventBus/Dispatch"]
    assert call.status.code == call.status.STATUS_CODE_UNSET
    attributes = attributes_of(call)
    assert (attributes["rpc.response.status_code"], attributes["rpc.grpc.status_code"]) == ("INVALID_ARGUMENT", 3)
    assert "error.type" not in attributes


async def test_a_fault_of_the_server_is_an_error_of_its_span(
    start_server: Callable[..., ServerProcess], collector: Collector
) -> None:
    redis = RedisServer()
    flags = ("--engine", "redis", "--redis-url", redis.url)
    server = start_server(*flags, env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    redis.close()
    async with connect(server.address) as wire:
        await failure_of(wire.dispatch("orders", "a"))
    assert await asyncio.to_thread(server.terminate) == 0
    (call,) = [span for span in collector.spans if span.name == "duebus.v1.EventBus/Dispatch"]
    assert call.status.code == call.status.STATUS_CODE_ERROR
    assert call.status.message == "", "the text of an error may quote the request"
    attributes = attributes_of(call)
    assert (attributes["error.type"], attributes["rpc.grpc.status_code"]) == ("UNAVAILABLE", 14)
