"""Unknown fields are found anywhere in a request, and named by their path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from duebus.v1 import event_bus_pb2
from duebus_server.domain.errors import InvalidArgument
from duebus_server.wire.unknown_fields import refuse_unknown_fields

if TYPE_CHECKING:
    from google.protobuf.message import Message

FIELD_12 = b"\x60\x01"
"""A varint 1 as field number 12, which no message of the contract has."""


def length_delimited(number: int, content: bytes) -> bytes:
    """An encoded message, string or bytes field."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


EMPTY = length_delimited(2, b"")
"""An event without any field."""

DISPATCHES = {
    "12": FIELD_12,
    "events[0].12": length_delimited(2, FIELD_12),
    "events[3].12": EMPTY * 3 + length_delimited(2, FIELD_12) + EMPTY,
    "events[1].delay.12": EMPTY + length_delimited(2, length_delimited(5, FIELD_12)),
    "events[0].deliver_at.12": length_delimited(2, length_delimited(6, FIELD_12)),
    # A map entry with an extra field: protobuf keeps the whole entry as an unknown field of the event.
    "events[0].4": length_delimited(2, length_delimited(4, b"\x0a\x01k\x12\x01v" + FIELD_12)),
    # A known field with the wrong wire type: the topic, a string, as a varint.
    "1": b"\x08\x01",
}


@pytest.mark.parametrize("path", DISPATCHES)
def test_an_unknown_field_is_refused_by_its_path(path: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        refuse_unknown_fields(event_bus_pb2.DispatchRequest.FromString(DISPATCHES[path]))
    assert caught.value.violation.field == path


def test_the_first_of_several_unknown_fields_is_named() -> None:
    request = event_bus_pb2.NackRequest.FromString(EMPTY + length_delimited(1, FIELD_12) * 2)
    with pytest.raises(InvalidArgument) as caught:
        refuse_unknown_fields(request)
    assert caught.value.violation.field in ("2", "nacks[0].12")


def full_event() -> event_bus_pb2.Event:
    event = event_bus_pb2.Event(id="a", data=b"\x00\xff", attributes={"k": "v", "": ""}, max_retries=0)
    event.delay.seconds = 1
    return event


LOCAL, REDIS = event_bus_pb2.ENGINE_LOCAL, event_bus_pb2.ENGINE_REDIS
TOMORROWS: Any = 77

KNOWN: list[Message] = [
    event_bus_pb2.DispatchRequest(),
    event_bus_pb2.DispatchRequest(
        topic="t", events=[full_event(), event_bus_pb2.Event()], engines=[LOCAL, REDIS, TOMORROWS]
    ),
    event_bus_pb2.NackRequest(nacks=[event_bus_pb2.Nack(release=False), event_bus_pb2.Nack(dead_letter=True)]),
    event_bus_pb2.StopRequest(engines=[event_bus_pb2.ENGINE_UNSPECIFIED]),
]


@pytest.mark.parametrize("request_", KNOWN, ids=lambda each: type(each).__name__)
def test_a_request_without_unknown_fields_passes(request_: Message) -> None:
    before = request_.SerializeToString(deterministic=True)
    refuse_unknown_fields(request_)
    assert request_.SerializeToString(deterministic=True) == before
