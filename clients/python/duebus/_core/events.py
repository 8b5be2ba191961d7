"""Encodes events for dispatch."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from duebus._core import fields
from duebus._core.fields import Span
from duebus._core.model import NewEvent
from duebus._core.payload import encode_payload
from duebus._core.tracing import current_span
from duebus.errors import InvalidArgument
from duebus.v1 import event_bus_pb2


def as_list(events: Iterable[NewEvent | Any]) -> list[NewEvent | Any]:
    """The events, each a NewEvent or a bare payload.

    Raises:
        TypeError: it is a single payload.
    """
    if isinstance(events, NewEvent | str | bytes | bytearray | memoryview | Mapping):
        raise TypeError(f"events: expected an iterable of events, got a single {type(events).__name__}")
    return list(events)


def add_events(request: event_bus_pb2.DispatchRequest, events: Iterable[NewEvent | Any]) -> None:
    """Adds events to a request. Each may be a NewEvent or a bare payload.

    Raises:
        TypeError: `events` is a single payload, or a field has the wrong type.
        InvalidArgument: a field can't be sent as it is.
    """
    span = current_span()
    for index, event in enumerate(as_list(events)):
        try:
            _put_event(request.events.add(), event, span)
        except (TypeError, InvalidArgument):
            # Encode it again to name the event in the error: naming all of them would take as long as encoding them.
            _put_event(event_bus_pb2.Event(), event, span, f"events[{index}].")
            raise


def as_new_events(events: Iterable[NewEvent | Any]) -> list[NewEvent]:
    """The events, each as a NewEvent."""
    return [each if isinstance(each, NewEvent) else NewEvent(data=each) for each in events]


def encode_event(event: NewEvent) -> event_bus_pb2.Event:
    """Encodes an event. Raises as `encode_fields`."""
    return _put_event(event_bus_pb2.Event(), event, current_span())


def _put_event(
    message: event_bus_pb2.Event, event: NewEvent | Any, span: Mapping[str, str], path: str = ""
) -> event_bus_pb2.Event:
    if not isinstance(event, NewEvent):
        return encode_fields(event, span=span, path=path, message=message)
    return encode_fields(
        event.data,
        id=event.id,
        delay=event.delay,
        at=event.at,
        attributes=event.attributes,
        content_type=event.content_type,
        max_retries=event.max_retries,
        key=event.key,
        priority=event.priority,
        span=span,
        path=path,
        message=message,
    )


def encode_fields(
    data: Any,
    *,
    id: str = "",  # noqa: A002 - the event's field has this name
    delay: Span | None = None,
    at: datetime | None = None,
    attributes: Mapping[str, str] | None = None,
    content_type: str | None = None,
    max_retries: int | None = None,
    key: str = "",
    priority: int = 0,
    span: Mapping[str, str] | None = None,
    path: str = "",
    message: event_bus_pb2.Event | None = None,
) -> event_bus_pb2.Event:
    """Encodes the fields of a NewEvent.

    Args:
        data: See NewEvent.
        id: See NewEvent.
        delay: See NewEvent.
        at: See NewEvent.
        attributes: See NewEvent.
        content_type: See NewEvent.
        max_retries: See NewEvent.
        key: See NewEvent.
        priority: See NewEvent.
        span: The attributes that name the span of the dispatch; None: the current span.
        path: A prefix for the field names in errors, for example `events[3].`.
        message: An empty message to fill in and return; None: a new one.

    Raises:
        TypeError: a field has the wrong type.
        InvalidArgument: a field can't be sent as it is.
    """
    message = event_bus_pb2.Event() if message is None else message
    span = current_span() if span is None else span
    if content_type is not None:
        fields.text(f"{path}content_type", content_type)
    message.data, message.content_type = encode_payload(data, content_type, f"{path}data")
    if id != "":  # no truth test: a None is refused
        message.id = fields.text(f"{path}id", id)
    if attributes is not None or span:
        _put_attributes(message, fields.attributes(f"{path}attributes", attributes), span)
    if max_retries is not None:
        message.max_retries = fields.uint32(f"{path}max_retries", max_retries)
    if key != "":
        message.key = fields.text(f"{path}key", key)
    if priority != 0:
        message.priority = fields.int32(f"{path}priority", priority)
    if delay is not None or at is not None:
        _put_due(message, delay, at, path)
    return message


def _put_attributes(message: event_bus_pb2.Event, attributes: Mapping[str, str], span: Mapping[str, str]) -> None:
    """The attributes with the span added, unless they already name one."""
    message.attributes.update(attributes)
    if "traceparent" not in attributes:
        message.attributes.update(span)


def _put_due(message: event_bus_pb2.Event, delay: Span | None, at: datetime | None, path: str) -> None:
    if delay is not None and at is not None:
        raise InvalidArgument.of_field(f"{path}delay", f"can't be set together with {path}at")
    if delay is not None:
        message.delay.CopyFrom(fields.duration(f"{path}delay", delay))
    if at is not None:
        message.deliver_at.CopyFrom(fields.timestamp(f"{path}at", at))
