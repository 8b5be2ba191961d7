"""The error table on unary calls and streams. ``test_bad_input.py`` covers bad input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from support.wire import connect, event, failure_of, ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess
    from support.wire import Failure, Wire

Code = grpc.StatusCode
REDIS = "ENGINE_REDIS"


def row(failure: Failure) -> tuple[grpc.StatusCode, str, str]:
    return failure.code, failure.reason, failure.domain


# --- an engine that this server does not run --------------------------------------------------------------------------


@pytest.mark.parametrize("engines", [[REDIS], ["ENGINE_LOCAL", REDIS], [REDIS, "ENGINE_LOCAL"]])
async def test_a_dispatch_to_an_engine_that_does_not_run_here_stores_nothing(
    wire: Wire, topic: str, engines: list[Any]
) -> None:
    failure = await failure_of(wire.dispatch(topic, "a", engines=engines))
    assert row(failure) == (Code.FAILED_PRECONDITION, "NO_DISPATCHER_SPECIFIED", "duebus")
    assert (failure.metadata, failure.fields, failure.retry_after_us) == ({"engine": "redis"}, [], None)
    assert failure.partial is None
    assert topic not in await wire.topic_names()


async def test_a_stream_of_an_engine_that_does_not_run_here_makes_no_group(wire: Wire, topic: str) -> None:
    stream = wire.open(event_bus_pb2.SubscribeRequest(topic=topic, engine=REDIS))
    failure = await failure_of(stream.next_frame())
    assert row(failure) == (Code.FAILED_PRECONDITION, "NO_DISPATCHER_SPECIFIED", "duebus")
    assert failure.metadata == {"engine": "redis"}
    assert topic not in await wire.topic_names()


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ListTopics", admin_pb2.ListTopicsRequest(engine=REDIS)),
        ("GetTopic", admin_pb2.GetTopicRequest(topic="t", engine=REDIS)),
        ("ListEvents", admin_pb2.ListEventsRequest(topic="t", engine=REDIS, state="EVENT_STATE_DEAD")),
        ("GetEvent", admin_pb2.GetEventRequest(topic="t", engine=REDIS, event_id="a")),
    ],
)
async def test_an_engine_that_does_not_run_here_can_not_be_inspected(wire: Wire, method: str, request_: Any) -> None:
    failure = await failure_of(getattr(wire.admin, method)(request_))
    assert row(failure) == (Code.FAILED_PRECONDITION, "NO_DISPATCHER_SPECIFIED", "duebus")


@pytest.mark.parametrize("engines", [[REDIS], ["ENGINE_LOCAL", REDIS]])
async def test_naming_an_engine_that_does_not_run_here_stops_none(wire: Wire, topic: str, engines: list[Any]) -> None:
    failure = await failure_of(wire.stop(engines=engines))
    assert row(failure) == (Code.FAILED_PRECONDITION, "NO_DISPATCHER_SPECIFIED", "duebus")
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    assert ids([await stream.one()]) == ["a"]


# --- a subscriber that is required ------------------------------------------------------------------------------------


async def test_a_dispatch_that_requires_a_subscriber_stores_nothing_without_one(wire: Wire, topic: str) -> None:
    failure = await failure_of(wire.dispatch(topic, "a", require_subscriber=True))
    assert row(failure) == (Code.FAILED_PRECONDITION, "NO_HANDLER_FOUND", "duebus")
    assert failure.metadata == {"topic": topic}
    assert topic not in await wire.topic_names()


async def test_a_subscriber_that_has_gone_does_not_count(wire: Wire, topic: str) -> None:
    """The group still exists, but has no subscriber."""
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a", require_subscriber=True)
    await stream.cancel()
    await wire.until_subscribers(topic, 0)
    failure = await failure_of(wire.dispatch(topic, "b", require_subscriber=True))
    assert failure.reason == "NO_HANDLER_FOUND"
    assert (await wire.topic(topic)).queued == 1


# --- a full topic -----------------------------------------------------------------------------------------------------


async def test_a_full_topic_is_an_error_with_a_retry_delay(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    async with connect(start_server("--max-queued", "3").address) as wire:
        await wire.dispatch(topic, "a", "b")
        failure = await failure_of(wire.dispatch(topic, "c", "d", request_id="r-1"))
        assert row(failure) == (Code.RESOURCE_EXHAUSTED, "MAX_QUEUED_EVENTS_REACHED", "duebus")
        assert failure.metadata == {"topic": topic, "max_queued": "3"}
        assert failure.retry_after_us == 1_000_000
        assert (await wire.topic(topic)).queued == 2, "a request is stored as a whole or not at all"

        await wire.dispatch(topic, event("later", delay=3600))
        assert (await failure_of(wire.dispatch(topic, "c"))).reason == "MAX_QUEUED_EVENTS_REACHED"
        assert list((await wire.dispatch(topic, "a", "b")).duplicate_event_ids) == ["a", "b"], "duplicates take no room"
        await wire.dispatch(f"{topic}.other", "a")

        stream = await wire.subscribe(topic)
        a, b = await stream.take(2)
        await wire.ack(a)
        await wire.nack(b, dead_letter=True)
        answer = await wire.dispatch(topic, "c", "d", request_id="r-1")
        assert list(answer.event_ids) == ["c", "d"], "the same request succeeds once there is room"


async def test_a_full_topic_still_delivers_its_events(start_server: Callable[..., ServerProcess], topic: str) -> None:
    async with connect(start_server("--max-queued", "1").address) as wire:
        stream = await wire.subscribe(topic)
        for number in range(50):
            await wire.dispatch(topic, f"e{number}")
            await wire.ack(await stream.one())
