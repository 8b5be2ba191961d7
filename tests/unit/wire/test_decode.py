"""Decoding of requests. ``tests/wire/test_bad_input.py`` tests what is refused."""

from __future__ import annotations

import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from duebus_server.domain.clock import SECOND
from duebus_server.domain.limits import MAX_ERROR_BYTES, MAX_EVENT_BYTES
from duebus_server.domain.model import EngineName, NackAction, NewEvent
from duebus_server.domain.rates import KeyPolicy, OnDead
from duebus_server.wire import decode
from duebus_server.wire.admin_decode import topic_changes
from support.engines import START_US
from support.wire import duration, event


def decoded(**fields: object) -> NewEvent:
    """The event of a Dispatch of one."""
    request = event_bus_pb2.DispatchRequest(topic="orders", events=[event(**fields)])  # type: ignore[arg-type]
    (new,) = decode.dispatch_command(request, "ipv4:127.0.0.1:4711", START_US).request.events
    return new


def test_a_dispatch_has_its_sender_and_its_target() -> None:
    local, redis = event_bus_pb2.ENGINE_LOCAL, event_bus_pb2.ENGINE_REDIS
    request = event_bus_pb2.DispatchRequest(
        topic="orders", events=[event("a")], request_id="r-1", require_subscriber=True, engines=[redis, local, redis]
    )
    command = decode.dispatch_command(request, "ipv4:127.0.0.1:4711", START_US)
    assert command.engines == [EngineName.REDIS, EngineName.LOCAL, EngineName.REDIS]
    assert (command.request.request_id, command.request.require_subscriber) == ("r-1", True)
    assert command.request.origin == "ipv4:127.0.0.1:4711"


def test_an_event_without_an_id_gets_one() -> None:
    new = decoded(data=b"x")
    assert new.id_is_generated
    assert event_bus_pb2.Event.FromString(new.body) == event_bus_pb2.Event(data=b"x")


def test_events_of_one_request_get_unique_ids_in_order() -> None:
    request = event_bus_pb2.DispatchRequest(topic="orders", events=[event()] * 1_000)
    ids = [new.id for new in decode.dispatch_command(request, "", START_US).request.events]
    assert len(set(ids)) == 1_000
    assert ids == sorted(ids)


@pytest.mark.parametrize("event_id", ["", "chosen", "é" * 127])
def test_an_event_is_stored_as_received_with_its_id_beside_it(event_id: str) -> None:
    sent = event("", b"\x00\xff", content_type="image/png", attributes={"trace": "7"}, max_retries=0, delay=1.5)
    request = event_bus_pb2.DispatchRequest(topic="t", events=[sent])
    request.events[0].id = event_id
    (new,) = decode.dispatch_command(request, "", START_US).request.events
    assert event_bus_pb2.Event.FromString(new.body) == sent
    assert new.id_is_generated is (event_id == "")
    assert new.id == (event_id or new.id)


@pytest.mark.parametrize(("fields", "max_retries"), [({}, None), ({"max_retries": 0}, 0), ({"max_retries": 7}, 7)])
def test_zero_retries_differs_from_the_policys_default(fields: dict[str, int], max_retries: int | None) -> None:
    assert decoded(**fields).max_retries == max_retries


def test_a_delay_of_zero_and_a_moment_in_the_past_are_no_errors() -> None:
    assert decoded(delay=0).delay_us == 0
    past = event("a")
    past.deliver_at.seconds = 1
    request = event_bus_pb2.DispatchRequest(topic="t", events=[past])
    assert decode.dispatch_command(request, "", START_US).request.events[0].deliver_at_us == SECOND


def test_an_event_of_the_largest_size_passes() -> None:
    assert len(decoded(data=b"x" * MAX_EVENT_BYTES).body) > MAX_EVENT_BYTES


@pytest.mark.parametrize(
    ("fields", "action", "delay_us"),
    [
        ({}, NackAction.RETRY, None),
        ({"delay": duration(0)}, NackAction.RETRY, 0),
        ({"delay": duration(1.5)}, NackAction.RETRY, 3 * SECOND // 2),
        ({"dead_letter": True}, NackAction.DEAD_LETTER, None),
        ({"dead_letter": False}, NackAction.RETRY, None),
        ({"release": True}, NackAction.RELEASE, None),
        ({"release": False}, NackAction.RETRY, None),
    ],
)
def test_actions_of_a_nack_are_decoded(fields: dict[str, object], action: NackAction, delay_us: int | None) -> None:
    nack = event_bus_pb2.Nack(lease_token="t", error="boom", **fields)  # type: ignore[arg-type]
    (command,) = decode.nack_commands(event_bus_pb2.NackRequest(nacks=[nack]))
    assert (command.lease_token, command.error, command.action, command.delay_us) == ("t", "boom", action, delay_us)


@pytest.mark.parametrize("letter", ["x", "é", "€", "🎉"])
def test_a_long_error_is_cut_between_characters(letter: str) -> None:
    nack = event_bus_pb2.Nack(error="-" + letter * MAX_ERROR_BYTES)
    (command,) = decode.nack_commands(event_bus_pb2.NackRequest(nacks=[nack]))
    size = len(command.error.encode())
    assert MAX_ERROR_BYTES - 4 < size <= MAX_ERROR_BYTES
    assert command.error.strip(letter) == "-"


def test_a_subscription_without_options_gets_the_defaults() -> None:
    command = decode.subscribe_command(event_bus_pb2.SubscribeRequest(topic="orders"))
    assert (command.max_in_flight, command.max_in_flight_bytes) == (64, 16 << 20)
    assert (command.engine, command.lease_us, command.grace_us) == (None, None, None)


def test_a_zero_grace_differs_from_the_servers_default() -> None:
    request = event_bus_pb2.SubscribeRequest(topic="orders", disconnect_grace=duration(0))
    assert decode.subscribe_command(request).grace_us == 0


def test_a_zero_drain_timeout_differs_from_the_servers_default() -> None:
    assert decode.drain_timeout_us(event_bus_pb2.StopRequest()) is None
    assert decode.drain_timeout_us(event_bus_pb2.StopRequest(drain_timeout=duration(0))) == 0


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("ON_DEAD_UNSPECIFIED", OnDead.SKIP), ("ON_DEAD_SKIP", OnDead.SKIP), ("ON_DEAD_HOLD", OnDead.HOLD)],
)
def test_an_unspecified_on_dead_means_skip(sent: str, meant: OnDead) -> None:
    request = admin_pb2.ConfigureTopicRequest(topic="orders", config={"keys": {"on_dead": sent}})
    assert topic_changes(request).keys == KeyPolicy(on_dead=meant)
