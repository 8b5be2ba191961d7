"""A server that runs both engines, and dispatches that name both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from duebus.v1 import event_bus_pb2
from support.builders import unique_name
from support.wire import Wire, connect, event, failure_of, ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.redis_server import RedisServer
    from support.server_process import ServerProcess

LOCAL, REDIS = event_bus_pb2.ENGINE_LOCAL, event_bus_pb2.ENGINE_REDIS


@pytest.fixture
def own_redis(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """The test's own Redis, which loses nothing."""
    return start_redis("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
async def both(own_redis: RedisServer, start_server: Callable[..., ServerProcess]) -> AsyncIterator[Wire]:
    """A server that runs both engines, local first."""
    server = start_server("--engine", "local", "--engine", "redis", "--redis-url", own_redis.url)
    assert server.engines == ["local", "redis"]
    async with connect(server.address) as wire:
        yield wire


async def test_each_engine_has_its_own_events(both: Wire) -> None:
    topic = unique_name()
    on_local = await both.subscribe(topic, engine=LOCAL)
    on_redis = await both.subscribe(topic, engine=REDIS)
    await both.dispatch(topic, "by default")
    await both.dispatch(topic, "durable", engines=[REDIS])
    first, second = await on_local.one(), await on_redis.one()
    assert (first.event.id, second.event.id) == ("by default", "durable")
    assert await both.ack(first, second) == []


async def test_a_dispatch_to_both_engines_is_stored_on_both(both: Wire) -> None:
    topic = unique_name()
    answer = await both.dispatch(topic, event(), "chosen", engines=[LOCAL, REDIS], request_id="request")
    for engine in (LOCAL, REDIS):
        stream = await both.subscribe(topic, engine=engine)
        held = await stream.take(2)
        assert ids(held) == list(answer.event_ids)
        assert await both.ack(*held) == []
    again = await both.dispatch(topic, event(), "chosen", engines=[LOCAL, REDIS], request_id="request")
    assert again == answer


async def test_without_redis_the_error_names_the_engine_that_holds_the_events(
    both: Wire, own_redis: RedisServer
) -> None:
    topic = unique_name()
    await asyncio.to_thread(own_redis.kill)

    async def dispatch() -> event_bus_pb2.DispatchResponse:
        return await both.dispatch(topic, event(), "chosen", engines=[LOCAL, REDIS], request_id="request")

    for _ in range(2):
        failure = await failure_of(dispatch())
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DISPATCHER_NOT_WORKING")
        assert failure.retry_after_us == 1_000_000
        assert failure.partial is not None
        assert list(failure.partial.stored_engines) == [LOCAL]
        stored = list(failure.partial.event_ids)
        assert stored[1] == "chosen"
    alone = await failure_of(both.dispatch(topic, "durable", engines=[REDIS, LOCAL]))
    assert alone.partial is None, "the first engine failed, so nothing is stored"

    await asyncio.to_thread(own_redis.restart)
    answer = await dispatch()
    assert list(answer.event_ids) == stored
    for engine in (LOCAL, REDIS):
        stream = await both.subscribe(topic, engine=engine)
        held = await stream.take(2)
        assert ids(held) == stored
        assert await both.ack(*held) == []
        assert stream.come() == []


async def test_one_engine_stops_and_the_other_keeps_working(both: Wire) -> None:
    topic = unique_name()
    await both.dispatch(topic, "kept", engines=[REDIS])
    (stopped,) = await both.stop(engines=[REDIS])
    assert (stopped.engine, stopped.queued) == (REDIS, 1)
    failure = await failure_of(both.dispatch(topic, "refused", engines=[REDIS]))
    assert failure.reason == "DISPATCHER_NOT_WORKING"
    stream = await both.subscribe(topic)
    await both.dispatch(topic, "event")
    assert ids([await stream.one()]) == ["event"]
