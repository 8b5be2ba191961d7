"""From a NewEvent to the event on the wire."""

from collections.abc import Iterable, Mapping
from typing import Any

from duebus._core import fields
from duebus._core.model import NewEvent
from duebus._core.payload import encode_payload
from duebus._core.tracing import note_current_span
from duebus.errors import InvalidArgument
from duebus.v1 import event_bus_pb2


def encode_event(event: NewEvent, path: str = "") -> event_bus_pb2.Event:
    """The event as it is sent; `path` goes before the names of its fields in errors, for example `events[3].`.

    Raises:
        TypeError: a field has the wrong type.
        InvalidArgument: a field can't be sent as it is.
    """
    data, content_type = encode_payload(event.data, f"{path}data")
    if event.content_type is not None:
        content_type = fields.text(f"{path}content_type", event.content_type)
    attributes = fields.attributes(f"{path}attributes", event.attributes)
    note_current_span(attributes)
    message = event_bus_pb2.Event(
        id=fields.text(f"{path}id", event.id),
        data=data,
        content_type=content_type,
        attributes=attributes,
    )
    if event.max_retries is not None:
        message.max_retries = fields.uint32(f"{path}max_retries", event.max_retries)
    _set_due(message, event, path)
    return message


def _set_due(message: event_bus_pb2.Event, event: NewEvent, path: str) -> None:
    if event.delay is not None and event.at is not None:
        raise InvalidArgument.of_field(f"{path}delay", f"can't be set together with {path}at")
    if event.delay is not None:
        message.delay.CopyFrom(fields.duration(f"{path}delay", event.delay))
    if event.at is not None:
        message.deliver_at.CopyFrom(fields.timestamp(f"{path}at", event.at))


def encode_events(events: Iterable[NewEvent | Any]) -> list[event_bus_pb2.Event]:
    """Each may be a NewEvent or a bare payload.

    Raises:
        TypeError: `events` is a single payload, or a field has the wrong type.
        InvalidArgument: a field can't be sent as it is.
    """
    if isinstance(events, NewEvent | str | bytes | bytearray | memoryview | Mapping):
        raise TypeError(f"events: expected an iterable of events, got a single {type(events).__name__}")
    return [
        encode_event(each if isinstance(each, NewEvent) else NewEvent(data=each), f"events[{index}].")
        for index, each in enumerate(events)
    ]
