"""Requests made from a caller's arguments, and results made from answers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from duebus import (
    Delivery,
    Dispatched,
    Engine,
    LeaseFailure,
    LeaseFailureReason,
    Nack,
    NewEvent,
    StoppedEngine,
    errors,
)
from duebus._core import calls, fields
from duebus._core.events import add_events, encode_fields
from duebus.v1 import event_bus_pb2
from pydantic import BaseModel

Reason = event_bus_pb2.LeaseFailure


def delivery(token: str, **event: Any) -> Delivery:
    return Delivery(event_bus_pb2.Delivery(lease_token=token, event=event_bus_pb2.Event(**event)))


def encode_event(event: NewEvent, path: str = "") -> event_bus_pb2.Event:
    return encode_fields(**{name: getattr(event, name) for name in NewEvent.__slots__}, path=path)


def encode_events(events: Iterable[Any]) -> list[event_bus_pb2.Event]:
    request = event_bus_pb2.DispatchRequest()
    add_events(request, events)
    return list(request.events)


def dispatch_request(**arguments: Any) -> event_bus_pb2.DispatchRequest:
    defaults: dict[str, Any] = {"engines": (), "request_id": None, "require_subscriber": False}
    call = calls.dispatch_many("orders", [b""], **(defaults | arguments))
    assert isinstance(call.request, event_bus_pb2.DispatchRequest)
    return call.request


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
    assert delivery("t", data=data, content_type=content_type).text() == "grüße"


def test_json_is_read_with_any_media_type() -> None:
    assert delivery("t", data=b'{"id":42}', content_type="text/plain").json() == {"id": 42}


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


# --- dispatching


def test_every_dispatch_has_its_own_request_id() -> None:
    first, second = dispatch_request().request_id, dispatch_request().request_id

    assert first
    assert first != second


def test_a_given_request_id_is_kept() -> None:
    assert dispatch_request(request_id="mine").request_id == "mine"


@pytest.mark.parametrize("engines", [["local", "redis"], (Engine.LOCAL, Engine.REDIS)])
def test_engines_are_given_by_name(engines: Iterable[str]) -> None:
    assert dispatch_request(engines=engines).engines == [event_bus_pb2.ENGINE_LOCAL, event_bus_pb2.ENGINE_REDIS]


def test_a_single_engine_needs_no_list() -> None:
    assert dispatch_request(engines="redis").engines == [event_bus_pb2.ENGINE_REDIS]


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match=r'^engines\[1\]: must be one of "local", "redis", not \'kafka\''):
        dispatch_request(engines=["local", "kafka"])


def test_a_topic_must_be_text_and_the_server_checks_the_rest() -> None:
    topic: Any = None
    with pytest.raises(TypeError, match=r"^topic: expected a str"):
        calls.dispatch_many(topic, [], engines=(), request_id=None, require_subscriber=False)

    assert calls.dispatch_many("", [], engines=(), request_id=None, require_subscriber=False).repeatable


def read_dispatched(ids: list[str], duplicates: list[str]) -> list[Dispatched]:
    call = calls.dispatch_many("t", ids, engines=(), request_id=None, require_subscriber=False)
    return call.read(event_bus_pb2.DispatchResponse(event_ids=ids, duplicate_event_ids=duplicates), False)


def test_duplicates_are_reported_for_their_events() -> None:
    assert read_dispatched(["a", "b"], ["b"]) == [Dispatched("a", False), Dispatched("b", True)]


def test_of_two_events_with_one_id_the_second_is_the_duplicate() -> None:
    assert [each.duplicate for each in read_dispatched(["a", "a"], ["a"])] == [False, True]
    assert [each.duplicate for each in read_dispatched(["a", "a"], ["a", "a"])] == [True, True]


# --- settling


def test_deliveries_tokens_and_lists_of_them_are_acked_alike() -> None:
    (call,) = calls.ack(["a", delivery("b"), [delivery("c"), "d"], (each for each in ("e",))])

    assert call.request == event_bus_pb2.AckRequest(lease_tokens=["a", "b", "c", "d", "e"])


def test_settling_nothing_makes_no_call() -> None:
    assert list(calls.ack([])) == []
    assert list(calls.ack([[]])) == []
    assert list(calls.nack([])) == []
    assert list(calls.extend([], None)) == []


def test_more_leases_than_one_call_accepts_are_split() -> None:
    tokens = [str(each) for each in range(20_001)]

    sent: list[Any] = [call.request for call in calls.ack(tokens)]

    assert [len(each.lease_tokens) for each in sent] == [10_000, 10_000, 1]
    assert [token for each in sent for token in each.lease_tokens] == tokens


def test_more_bytes_than_one_request_accepts_are_split() -> None:
    tokens = [f"{each:0100d}" for each in range(2_000)]
    nacks = [Nack(delivery=token, error="x" * 4_000) for token in tokens]

    for sent in (calls.ack(tokens, 64 << 10), calls.extend(tokens, None, 64 << 10), calls.nack(nacks, 64 << 10)):
        requests: list[Any] = [call.request for call in sent]
        assert all(each.ByteSize() <= 64 << 10 for each in requests)
        assert max(each.ByteSize() for each in requests) > 60 << 10
    (single,) = calls.nack(nacks[:1], 100)
    assert single.request.ByteSize() > 4_000


@pytest.mark.parametrize("wrong", [42, None, event_bus_pb2.Delivery()])
def test_a_value_that_is_not_a_lease_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^deliveries\[1\]: expected a Delivery or a lease token"):
        list(calls.ack(["a", wrong]))


def nack_message(nack: Nack) -> event_bus_pb2.Nack:
    (call,) = calls.nack([nack])
    assert isinstance(call.request, event_bus_pb2.NackRequest)
    return call.request.nacks[0]


@pytest.mark.parametrize(
    ("nack", "action", "value"),
    [
        (Nack(delivery="a"), None, None),
        (Nack(delivery="a", delay=1.5), "delay", timedelta(seconds=1.5)),
        (Nack(delivery="a", delay=0), "delay", timedelta()),
        (Nack(delivery="a", dead_letter=True), "dead_letter", True),
        (Nack(delivery="a", release=True), "release", True),
    ],
)
def test_a_nack_has_one_action_or_none(nack: Nack, action: str | None, value: object) -> None:
    message: Any = nack_message(nack)

    assert message.WhichOneof("action") == action
    if action == "delay":
        assert message.delay.ToTimedelta() == value
    elif action is not None:
        assert getattr(message, action) is value


def test_a_nack_has_its_error() -> None:
    message = nack_message(Nack(delivery=delivery("a"), error="boom"))

    assert (message.lease_token, message.error) == ("a", "boom")


def test_a_nack_with_two_actions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^nacks\[1\]\.delay: can't be set together with release"):
        list(calls.nack([Nack(delivery="a"), Nack(delivery="b", delay=0, release=True)]))


def failures(*reasons: "event_bus_pb2.LeaseFailure.Reason") -> list[event_bus_pb2.LeaseFailure]:
    return [event_bus_pb2.LeaseFailure(lease_token=str(index), reason=each) for index, each in enumerate(reasons)]


ALL_REASONS = failures(
    Reason.REASON_EXPIRED, Reason.REASON_SETTLED, Reason.REASON_MALFORMED, Reason.REASON_ENGINE_STOPPED
)


def test_failures_are_returned_one_by_one() -> None:
    (call,) = calls.ack(["a"])

    assert call.read(event_bus_pb2.AckResponse(failures=ALL_REASONS), False) == [
        LeaseFailure("0", LeaseFailureReason.EXPIRED),
        LeaseFailure("1", LeaseFailureReason.SETTLED),
        LeaseFailure("2", LeaseFailureReason.MALFORMED),
        LeaseFailure("3", LeaseFailureReason.ENGINE_STOPPED),
    ]


def test_a_retried_ack_of_a_settled_event_has_succeeded() -> None:
    (call,) = calls.ack(["a"])

    reasons = [each.reason for each in call.read(event_bus_pb2.AckResponse(failures=ALL_REASONS), True)]

    assert reasons == [LeaseFailureReason.EXPIRED, LeaseFailureReason.MALFORMED, LeaseFailureReason.ENGINE_STOPPED]


def test_a_retried_nack_of_an_ended_lease_has_succeeded() -> None:
    (call,) = calls.nack([Nack(delivery="a")])

    reasons = [each.reason for each in call.read(event_bus_pb2.NackResponse(failures=ALL_REASONS), True)]

    assert reasons == [LeaseFailureReason.MALFORMED, LeaseFailureReason.ENGINE_STOPPED]


def test_a_retried_extend_of_an_ended_lease_has_failed() -> None:
    (call,) = calls.extend("a", 30)

    assert len(call.read(event_bus_pb2.ExtendResponse(failures=ALL_REASONS), True)) == 4


def test_an_extension_has_a_duration_or_uses_the_topics_lease() -> None:
    (named,) = calls.extend([delivery("a")], timedelta(seconds=5))
    (unnamed,) = calls.extend("a", None)

    assert isinstance(named.request, event_bus_pb2.ExtendRequest)
    assert isinstance(unnamed.request, event_bus_pb2.ExtendRequest)
    assert named.request.lease.ToTimedelta() == timedelta(seconds=5)
    assert not unnamed.request.HasField("lease")


# --- subscribing and stopping


def subscribe_request(**arguments: Any) -> event_bus_pb2.SubscribeRequest:
    defaults: dict[str, Any] = {
        "group": "",
        "engine": None,
        "consumer": "",
        "max_in_flight": 0,
        "max_in_flight_bytes": 0,
        "lease": None,
        "disconnect_grace": None,
        "held_lease_tokens": (),
        "ephemeral": False,
    }
    return calls.subscribe_request("orders", **(defaults | arguments))


def test_a_subscription_without_options_leaves_all_to_the_server() -> None:
    assert subscribe_request() == event_bus_pb2.SubscribeRequest(topic="orders")


def test_a_subscription_sends_its_options() -> None:
    request = subscribe_request(
        group="audit",
        engine="local",
        consumer="me",
        max_in_flight=5,
        max_in_flight_bytes=2**40,
        lease=1.5,
        disconnect_grace=timedelta(),
        held_lease_tokens=["a", delivery("b")],
        ephemeral=True,
    )

    assert (request.group, request.engine, request.consumer) == ("audit", event_bus_pb2.ENGINE_LOCAL, "me")
    assert (request.max_in_flight, request.max_in_flight_bytes) == (5, 2**40)
    assert request.lease.ToTimedelta() == timedelta(seconds=1.5)
    assert request.HasField("disconnect_grace")
    assert request.held_lease_tokens == ["a", "b"]
    assert request.ephemeral


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_window_that_cannot_be_sent_is_refused(number: int) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^max_in_flight: "):
        subscribe_request(max_in_flight=number)


def test_a_stop_has_no_timeout_and_is_not_retried() -> None:
    call = calls.stop(["local"], 5)

    assert isinstance(call.request, event_bus_pb2.StopRequest)
    assert call.request.engines == [event_bus_pb2.ENGINE_LOCAL]
    assert call.request.drain_timeout.ToTimedelta() == timedelta(seconds=5)
    assert call.waits
    assert not call.repeatable


def test_a_stop_returns_the_result_for_each_engine() -> None:
    response = event_bus_pb2.StopResponse(
        engines=[event_bus_pb2.StoppedEngine(engine=event_bus_pb2.ENGINE_LOCAL, released=2, queued=7)]
    )

    assert calls.stop((), None).read(response, False) == [StoppedEngine(Engine.LOCAL, 2, 7)]
