"""OpenTelemetry spans for each unary call and the engine verbs in it, if OpenTelemetry is set up.

They are children of the client's span if the call names one (``traceparent`` in the metadata). Streams have none: they
last for days. The handler's span, which links to the producer's, covers the rest of an event's life.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import grpc.aio

    from duebus_server.domain.model import EngineName

    CodeOf = Callable[[BaseException], tuple[int, str]]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own settings for where spans go. Its SDK reads more of them."""

SERVICE = "duebus"
NANOS = 1_000_000_000

SERVER_FAULTS = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))
"""The status codes that OpenTelemetry's conventions count as errors of a server's span."""


class NoOpenTelemetryError(Exception):
    """OpenTelemetry is set up but not installed. The text is one line that says what to do."""


class Tracing:
    """Makes and sends spans.

    Args:
        provider: opentelemetry.sdk.trace.TracerProvider, or a test's substitute.
        code_of: the gRPC status code of a call that ended with an error, as its number and name.
    """

    def __init__(self, provider: Any, code_of: CodeOf) -> None:
        from opentelemetry import trace  # noqa: PLC0415  # it need not be installed
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._provider = provider
        self._trace = trace
        self._tracer = provider.get_tracer(SERVICE)
        self._code_of = code_of
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def call(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Iterator[str]:
        """A span around a unary call; ``method`` is its path. The context's value is the id of the trace, or empty if
        it is not sampled.

        Only what is the server's fault makes the span an error; its status code tells the others.
        """
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        name = method.strip("/")
        with self._tracer.start_as_current_span(
            name,
            context=self._propagator.extract(headers),
            kind=self._trace.SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "rpc.method": name},
            record_exception=False,  # its text may quote the request
            set_status_on_exception=False,
        ) as span:
            number, code = 0, "OK"
            try:
                yield self._trace_id(span)
            except BaseException as error:
                number, code = self._code_of(error)
                raise
            finally:
                span.set_attributes({"rpc.response.status_code": code, "rpc.grpc.status_code": number})
                if code in SERVER_FAULTS:
                    span.set_attribute("error.type", code)
                    span.set_status(self._trace.StatusCode.ERROR)

    def _trace_id(self, span: Any) -> str:
        return self._trace.format_trace_id(span.get_span_context().trace_id) if span.is_recording() else ""

    def engine_called(self, engine: EngineName, verb: str, seconds: float, batch: int) -> str:
        """Add a span for an engine verb that has just ended, if it is part of a call. Sweeps, for example, are not.

        Returns:
            The id of the trace; empty if there is none.
        """
        current = self._trace.get_current_span()
        if not current.is_recording():
            return ""
        end = time.time_ns()
        attributes = {"duebus.engine": engine, "duebus.batch_size": batch}
        span = self._tracer.start_span(f"engine {verb}", start_time=end - round(seconds * NANOS), attributes=attributes)
        span.end(end)
        return self._trace_id(current)

    def stop(self) -> None:
        """Send the remaining spans."""
        self._provider.shutdown()


def make_tracing(environment: Mapping[str, str], code_of: CodeOf) -> Tracing | None:
    """Tracing set up from OpenTelemetry's environment variables; None if they name no endpoint.

    Args:
        environment: the environment variables.
        code_of: as in ``Tracing``.

    Raises:
        NoOpenTelemetryError: they do, and the extra ``otel`` is not installed.
    """
    if not any(environment.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise NoOpenTelemetryError(
            f"{ENDPOINTS[1]} is set, but OpenTelemetry is not installed: pip install 'duebus[otel]'"
        ) from error
    resource = Resource.create({} if environment.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: SERVICE})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider, code_of)
