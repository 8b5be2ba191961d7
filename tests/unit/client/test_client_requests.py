"""Requests made from a caller's arguments, and results made from answers."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from duebus import Delivery, Dispatched, Engine, LeaseFailure, LeaseFailureReason, Nack, StoppedEngine, errors
from duebus._core import calls
from duebus._core.calls import DispatchOptions
from duebus.v1 import event_bus_pb2

Reason = event_bus_pb2.LeaseFailure


def delivery(token: str) -> Delivery:
    return Delivery(event_bus_pb2.Delivery(lease_token=token))


def dispatch_request(**arguments: Any) -> event_bus_pb2.DispatchRequest:
    call = calls.dispatch_many("orders", [b""], DispatchOptions(**arguments))
    assert isinstance(call.request, event_bus_pb2.DispatchRequest)
    return call.request


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
        calls.dispatch_many(topic, [], DispatchOptions())

    assert calls.dispatch_many("", [], DispatchOptions()).repeatable


def read_dispatched(ids: list[str], duplicates: list[str]) -> list[Dispatched]:
    call = calls.dispatch_many("t", ids, DispatchOptions())
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
