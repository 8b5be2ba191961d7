"""Traces an event from the producer, through delay and retries, to the handler, if OpenTelemetry is installed.

Spans follow its conventions for messaging (https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/). A
dispatch is a span, which its events name in their attributes `traceparent` and `tracestate`
(https://www.w3.org/TR/trace-context/). The handler has its own trace that links to it: a single trace would last as
long as the delay.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from duebus._core.delivery import Delivery
from duebus._core.model import NewEvent

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True
    _PROPAGATOR = TraceContextTextMapPropagator()

__all__ = ["current_span", "dispatching", "dispatching_many", "handling", "is_set_up", "with_current_span"]

_NAME = "duebus"
_NO_SPAN = nullcontext()


def current_span() -> dict[str, str]:
    """The attributes or metadata that name the current span; empty if there is none."""
    headers: dict[str, str] = {}
    if AVAILABLE and trace.get_current_span().get_span_context().is_valid:
        _PROPAGATOR.inject(headers)
    return headers


def with_current_span(metadata: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The metadata of a call, with the current span if there is one."""
    headers = current_span()
    return (*metadata, *headers.items()) if headers else metadata


def is_set_up() -> bool:
    """Whether spans are recorded."""
    return AVAILABLE and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def dispatching(topic: str, event_id: str, attributes: Mapping[str, str] | None) -> AbstractContextManager[None]:
    """A span for the dispatch of one event, if tracing is set up. An event that is encoded in it names it.

    Args:
        topic: The topic.
        event_id: Of the event; empty if the server makes one.
        attributes: Of the event. If they name a span already, the event keeps it, and this one links to it.
    """
    if not is_set_up():
        return _NO_SPAN
    return _dispatch_span(topic, {"messaging.message.id": event_id} if event_id else {}, [attributes])


def dispatching_many(topic: str, events: Sequence[NewEvent | Any]) -> AbstractContextManager[None]:
    """A span for the dispatch of many events, if tracing is set up, as `dispatching`."""
    if not is_set_up():
        return _NO_SPAN
    attributes = [each.attributes for each in events if isinstance(each, NewEvent)]
    return _dispatch_span(topic, {"messaging.batch.message_count": len(events)}, attributes)


def _dispatch_span(
    topic: str, more: Mapping[str, Any], attributes: Sequence[Mapping[str, str] | None]
) -> AbstractContextManager[None]:
    named = {
        "messaging.system": _NAME,
        "messaging.operation.name": "dispatch",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        **more,
    }
    links = [link for each in attributes if isinstance(each, Mapping) for link in _links(each)]
    return _span(f"dispatch {topic}", trace.SpanKind.PRODUCER, named, links=links)


def handling(deliveries: Sequence[Delivery], handler: str) -> AbstractContextManager[None]:
    """A span for one call of a handler, linked to the producers' spans, if tracing is set up.

    Args:
        deliveries: What it is called with, of one topic and group.
        handler: Its name.
    """
    first = deliveries[0]
    attributes: dict[str, Any] = {
        "messaging.system": _NAME,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": first.topic,
        "messaging.consumer.group.name": first.group,
        "code.function.name": handler,
    }
    if len(deliveries) == 1:
        attributes |= {"messaging.message.id": first.event_id, "duebus.attempt": first.attempt}
    else:
        attributes["messaging.batch.message_count"] = len(deliveries)
    links = [link for delivery in deliveries for link in _links(delivery.attributes)]
    return _span(f"process {first.topic}", trace.SpanKind.CONSUMER, attributes, context=Context(), links=links)


@contextmanager
def _span(name: str, kind: "trace.SpanKind", attributes: Mapping[str, Any], **more: Any) -> Iterator[None]:
    """A span that is current meanwhile. If it ends with an exception, `error.type` says which."""
    with trace.get_tracer(_NAME).start_as_current_span(name, kind=kind, attributes=attributes, **more) as span:
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            raise


def _links(attributes: Mapping[str, str]) -> list[Any]:
    """Links to the span that dispatched the event; none if the attributes name no span."""
    span = trace.get_current_span(_PROPAGATOR.extract(attributes, Context())).get_span_context()
    return [trace.Link(span)] if span.is_valid else []
