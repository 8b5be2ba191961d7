"""The events that are made from a caller's arguments: payload, due time and the other fields."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from duebus import Delivery, NewEvent, errors
from duebus._core import fields
from duebus._core.events import add_events, encode_fields
from duebus.v1 import event_bus_pb2
from pydantic import BaseModel


def delivery(**event: Any) -> Delivery:
    return Delivery(event_bus_pb2.Delivery(event=event_bus_pb2.Event(**event)))


def encode_event(event: NewEvent, path: str = "") -> event_bus_pb2.Event:
    return encode_fields(**{name: getattr(event, name) for name in NewEvent.__slots__}, path=path)


def encode_events(events: Iterable[Any]) -> list[event_bus_pb2.Event]:
    request = event_bus_pb2.DispatchRequest()
    add_events(request, events)
    return list(request.events)


# --- payloads


@pytest.mark.parametrize(
    ("data", "encoded", "content_type"),
    [
        (b"\x00\xff", b"\x00\xff", "application/octet-stream"),
        (bytearray(b"ab"), b"ab", "application/octet-stream"),
        (memoryview(b"ab"), b"ab", "application/octet-stream"),
        ("grüße", "grüße".encode(), "text/plain; charset=utf-8"),
        ("", b"", "text/plain; charset=utf-8"),
        ({"id": 42, "name": "é"}, '{"id":42,"name":"é"}'.encode(), "application/json"),
        ([1, 2.5, None, True], b"[1,2.5,null,true]", "application/json"),
        (42, b"42", "application/json"),
        (None, b"null", "application/json"),
    ],
)
def test_a_payload_is_bytes_text_or_json(data: object, encoded: bytes, content_type: str) -> None:
    event = encode_event(NewEvent(data=data))

    assert (event.data, event.content_type) == (encoded, content_type)


def test_the_callers_content_type_takes_precedence() -> None:
    event = encode_event(NewEvent(data="<a/>", content_type="application/xml"))

    assert (event.data, event.content_type) == (b"<a/>", "application/xml")


@dataclass(frozen=True)
class Order:
    id: UUID
    placed_at: datetime
    total: Decimal


class Invoice(BaseModel):
    order_id: UUID
    due: date


class Color(Enum):
    RED = "red"


ID = UUID("0191f1c8-0000-7000-8000-000000000000")
NOON = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (NOON, '"2026-11-23T12:30:00+00:00"'),
        ({"on": date(2026, 11, 23), "at": time(12, 30)}, '{"on":"2026-11-23","at":"12:30:00"}'),
        (ID, f'"{ID}"'),
        ([Decimal("9.90")], '["9.90"]'),
        (Color.RED, '"red"'),
        (Order(ID, NOON, Decimal("9.90")), f'{{"id":"{ID}","placed_at":"2026-11-23T12:30:00+00:00","total":"9.90"}}'),
        ({"paid": Invoice(order_id=ID, due=date(2026, 12, 1))}, f'{{"paid":{{"order_id":"{ID}","due":"2026-12-01"}}}}'),
    ],
)
def test_values_of_python_types_are_sent_as_json(data: object, encoded: str) -> None:
    event = encode_event(NewEvent(data=data))

    assert (event.data.decode(), event.content_type) == (encoded, "application/json")


@pytest.mark.parametrize("content_type", ["text/plain", "text/csv; charset=utf-8", "application/json", "a/b+json"])
def test_bytes_that_contradict_their_charset_are_refused(content_type: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^data: is not utf-8, the charset of '.*'"):
        encode_event(NewEvent(data=b"\xff", content_type=content_type))


@pytest.mark.parametrize(
    "content_type", ["", "image/png", "text/plain; charset=latin-1", "text/plain; charset=unknown"]
)
def test_other_bytes_are_sent_as_they_are(content_type: str) -> None:
    event = encode_event(NewEvent(data=b"\xff", content_type=content_type))

    assert (event.data, event.content_type) == (b"\xff", content_type)


def test_text_is_sent_in_the_charset_that_its_media_type_names() -> None:
    event = encode_event(NewEvent(data="grüße", content_type="text/plain; charset=latin-1"))

    assert event.data == "grüße".encode("latin-1")


@pytest.mark.parametrize("charset", ["ascii", "unknown"])
def test_text_that_its_charset_cannot_encode_is_refused(charset: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^data: can't be encoded"):
        encode_event(NewEvent(data="grüße", content_type=f"text/plain; charset={charset}"))


@pytest.mark.parametrize("data", [object(), {1, 2}, {"at": Order}, 1j])
def test_a_value_without_json_form_is_a_type_error_that_names_the_payload(data: object) -> None:
    with pytest.raises(TypeError, match=r"^events\[3\]\.data: .*JSON"):
        encode_event(NewEvent(data=data), "events[3].")


def cycle() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize("data", [math.nan, {"x": math.inf}, "\ud800", {"x": "\ud800"}, cycle()])
def test_a_value_that_json_or_utf8_cannot_encode_is_an_invalid_argument(data: object) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^data: ") as raised:
        encode_event(NewEvent(data=data))

    assert [each.field for each in raised.value.field_violations] == ["data"]


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("", "grüße".encode()),
        ("text/plain", "grüße".encode()),
        ("text/plain; charset=latin-1", "grüße".encode("latin-1")),
        ('text/plain; charset="UTF-16"', "grüße".encode("utf-16")),
    ],
)
def test_text_is_decoded_by_its_charset(content_type: str, data: bytes) -> None:
    assert delivery(data=data, content_type=content_type).text() == "grüße"


def test_json_is_read_with_any_media_type() -> None:
    assert delivery(data=b'{"id":42}', content_type="text/plain").json() == {"id": 42}


# --- when an event is due


@pytest.mark.parametrize(
    ("delay", "microseconds"),
    [
        (0, 0),
        (2, 2_000_000),
        (0.0005, 500),
        (timedelta(minutes=30), 1_800_000_000),
        (timedelta(microseconds=1), 1),
    ],
)
def test_a_delay_is_a_timedelta_or_seconds(delay: float | timedelta, microseconds: int) -> None:
    event = encode_event(NewEvent(data=b"", delay=delay))

    assert event.WhichOneof("due") == "delay"
    assert event.delay.ToMicroseconds() == microseconds


@pytest.mark.parametrize("delay", [math.nan, math.inf, -math.inf, 1e300])
def test_an_invalid_delay_is_refused(delay: float) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^events\[1\]\.delay: "):
        encode_event(NewEvent(data=b"", delay=delay), "events[1].")


@pytest.mark.parametrize("delay", ["5s", True, Decimal(1)])
def test_a_delay_of_another_type_is_refused(delay: Any) -> None:
    with pytest.raises(TypeError, match=r"^delay: expected a timedelta or seconds"):
        encode_event(NewEvent(data=b"", delay=delay))


def test_a_negative_delay_is_left_for_the_server_to_refuse() -> None:
    assert encode_event(NewEvent(data=b"", delay=-1.5)).delay.ToMicroseconds() == -1_500_000


def test_timeouts_are_cut_to_ten_years() -> None:
    assert fields.seconds("timeout", timedelta.max) == fields.seconds("timeout", timedelta(days=3650))


def test_a_time_is_an_aware_datetime_in_any_zone() -> None:
    at = datetime(2026, 11, 23, 12, 0, 0, 250_001, tzinfo=timezone(timedelta(hours=2)))

    event = encode_event(NewEvent(data=b"", at=at))

    assert event.WhichOneof("due") == "deliver_at"
    assert event.deliver_at.ToDatetime(UTC) == at


@pytest.mark.parametrize(
    "at",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_a_time_outside_the_calendar_is_refused(at: datetime) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^at: .*outside the years 1 to 9999 in UTC"):
        encode_event(NewEvent(data=b"", at=at))


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_time_at_the_limits_of_the_calendar_is_sent(at: datetime) -> None:
    assert encode_event(NewEvent(data=b"", at=at)).deliver_at.ToDatetime(UTC) == at


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^at: .*no time zone"):
        encode_event(NewEvent(data=b"", at=datetime(2026, 11, 23)))  # noqa: DTZ001 - that is the point


def test_a_time_of_another_type_is_refused() -> None:
    soon: Any = "2026-11-23"
    with pytest.raises(TypeError, match=r"^at: expected a datetime"):
        encode_event(NewEvent(data=b"", at=soon))


def test_delay_and_at_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^delay: can't be set together with at"):
        encode_event(NewEvent(data=b"", delay=1, at=datetime.now(UTC)))


def test_an_event_without_either_is_due_at_once() -> None:
    assert encode_event(NewEvent(data=b"")).WhichOneof("due") is None


# --- the other fields of an event


def test_all_fields_of_an_event_are_sent() -> None:
    event = encode_event(NewEvent(data=b"x", id="o-1", attributes={"trace": "7"}, max_retries=0))

    assert (event.id, dict(event.attributes)) == ("o-1", {"trace": "7"})
    assert event.HasField("max_retries")
    assert event.max_retries == 0


def test_max_retries_that_were_not_set_are_not_sent() -> None:
    assert not encode_event(NewEvent(data=b"x")).HasField("max_retries")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": 42}, "^id: expected a str, got int"),
        ({"content_type": b"x"}, "^content_type: expected a str"),
        ({"attributes": {"a": 1}}, r"^attributes\['a'\]: expected a str"),
        ({"attributes": ["a"]}, "^attributes: expected a mapping"),
        ({"max_retries": 1.0}, "^max_retries: expected an int"),
        ({"max_retries": True}, "^max_retries: expected an int"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        encode_event(NewEvent(data=b"", **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": "\ud800"}, "^id: can't be encoded"),
        ({"attributes": {"\ud800": ""}}, "^attributes: can't be encoded"),
        ({"max_retries": -1}, "^max_retries: must be 0 to 4294967295, not -1"),
        ({"max_retries": 2**32}, "^max_retries: must be 0 to"),
    ],
)
def test_a_field_that_cannot_be_sent_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        encode_event(NewEvent(data=b"", **fields))


def test_many_events_may_be_bare_payloads() -> None:
    events = encode_events(["a", NewEvent(data={"b": 1}, id="b"), b"c"])

    assert [(each.id, each.data) for each in events] == [("", b"a"), ("b", b'{"b":1}'), ("", b"c")]


@pytest.mark.parametrize("single", ["abc", b"abc", {"id": 1}, NewEvent(data=1)])
def test_a_single_payload_instead_of_a_list_is_refused(single: Any) -> None:
    with pytest.raises(TypeError, match=r"^events: expected an iterable of events"):
        encode_events(single)


def test_the_wrong_one_of_many_events_is_named() -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^events\[1\]\.delay: "):
        encode_events([b"", NewEvent(data=b"", delay=math.nan)])
