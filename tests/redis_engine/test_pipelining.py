"""Many callers share the pipelined connection. Each gets its own answer, even if the connection fails."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import redis
from duebus_server.engine.redis.transport import script_client
from duebus_server.engine.redis.transport.clients import ANSWER_TIMEOUT_S
from support.builders import new_events
from support.proxy import proxy_to
from support.redis_bus import pipelined, redis_bus, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest
    from duebus_server.engine.redis.transport.pipelined import PipelinedConnection
    from support.proxy import Proxy
    from support.redis_bus import RedisBus, Replica
    from support.redis_server import RedisServer
    from support.topics import TopicDriver


@asynccontextmanager
async def behind_a_proxy(server: RedisServer) -> AsyncIterator[tuple[Proxy, Replica, TopicDriver]]:
    """A replica that reaches Redis through a proxy, over a pipelined connection."""
    async with proxy_to(f"127.0.0.1:{server.port}") as proxy, redis_bus(f"redis://{proxy.address}/0") as bus:
        replica = await bus.replica()
        topic = replica.topic()
        await topic.join()
        await topic.dispatch("first")  # lists the topic
        await pipelined(replica)
        yield proxy, replica, topic


async def sent(connection: PipelinedConnection, count: int) -> None:
    """Wait until so many commands are unanswered."""
    await until(lambda: len(connection._unanswered) >= count, f"{count} commands to be sent")


async def test_calls_of_many_share_one_connection(bus: RedisBus, replica: Replica, topic: TopicDriver) -> None:
    await topic.join()
    await topic.dispatch("first")  # lists the topic
    await pipelined(replica)
    before = bus.raw.info("clients")["connected_clients"]
    answers = await asyncio.gather(*(topic.dispatch(*new_events(nth % 3 + 1)) for nth in range(200)))
    assert [len(answer.event_ids) for answer in answers] == [nth % 3 + 1 for nth in range(200)]
    assert bus.raw.info("clients")["connected_clients"] == before


async def test_a_call_that_is_cancelled_does_not_shift_the_answers_of_others(
    start_redis: Callable[..., RedisServer],
) -> None:
    async with behind_a_proxy(start_redis()) as (proxy, replica, topic):
        connection = await pipelined(replica)
        proxy.stall(requests=False)
        calls = [asyncio.create_task(topic.dispatch(*new_events(size))) for size in range(1, 8)]
        await sent(connection, len(calls))
        for call in calls[::2]:
            call.cancel()
        proxy.flow()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False] * 3 + [True]
        assert [len(answer.event_ids) for answer in answers[1::2] if not isinstance(answer, BaseException)] == [2, 4, 6]
        assert await topic.queued() == 1 + sum(range(1, 8)), "the cancelled commands were carried out too"
        assert await pipelined(replica) is connection


async def test_a_connection_that_is_cut_fails_its_calls_and_is_replaced(
    start_redis: Callable[..., RedisServer],
) -> None:
    async with behind_a_proxy(start_redis()) as (proxy, replica, topic):
        connection = await pipelined(replica)
        proxy.stall()
        calls = [asyncio.create_task(topic.dispatch("event", f"event {nth}")) for nth in range(5)]
        await sent(connection, len(calls))
        proxy.cut()
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert {str(failure) for failure in failures} == {"engine redis: Redis can't be reached"}
        proxy.flow()
        assert (await topic.dispatch("after")).event_ids == ["after"], "the first call after the cut works"
        assert await pipelined(replica) is not connection


async def test_a_connection_that_swallows_everything_is_left_within_the_time_of_a_call(
    start_redis: Callable[..., RedisServer],
) -> None:
    """A firewall may forget a connection: nothing arrives, and nothing closes it."""
    async with behind_a_proxy(start_redis()) as (proxy, replica, topic):
        connection = await pipelined(replica)
        proxy.swallow()
        began_s = time.monotonic()
        failures = await asyncio.gather(*(topic.dispatch(f"e{nth}") for nth in range(5)), return_exceptions=True)
        assert {str(failure) for failure in failures} == {"engine redis: Redis does not answer"}
        assert time.monotonic() - began_s < 2 * ANSWER_TIMEOUT_S
        assert not connection.takes_commands
        assert (await topic.dispatch("after")).event_ids == ["after"]
        assert await pipelined(replica) is not connection


async def test_a_call_that_is_answered_slowly_has_its_own_time(start_redis: Callable[..., RedisServer]) -> None:
    """Meanwhile, the connection always has unanswered commands, but none for longer than the timeout."""
    async with behind_a_proxy(start_redis()) as (proxy, replica, topic):
        connection = await pipelined(replica)
        for nth in range(3):
            proxy.stall(requests=False)
            call = asyncio.create_task(topic.dispatch(f"event {nth}"))
            await asyncio.sleep(0.4 * ANSWER_TIMEOUT_S)
            proxy.flow()
            assert (await call).event_ids == [f"event {nth}"]
        assert await pipelined(replica) is connection


async def test_a_node_that_loads_its_data_is_left_for_the_new_primary(start_redis: Callable[..., RedisServer]) -> None:
    """After a failover behind one address, the old primary loads the new one's data and refuses all commands."""
    old, new = start_redis("--enable-debug-command", "yes"), start_redis("--repl-diskless-sync-delay", "0")
    async with behind_a_proxy(old) as (proxy, replica, topic):
        connection = await pipelined(replica)
        with redis.Redis.from_url(new.url) as client:
            client.mset({f"key {nth}": nth for nth in range(2_000)})
        proxy.aim(f"127.0.0.1:{new.port}")
        with redis.Redis.from_url(old.url) as client:
            client.config_set("key-load-delay", 1_000)
            client.config_set("loading-process-events-interval-bytes", 1_024)
            client.replicaof("127.0.0.1", new.port)
            await until(lambda: client.info("persistence")["loading"] == 1, "the old primary to load")
            assert (await topic.dispatch("event")).event_ids == ["event"]
            assert client.info("persistence")["loading"] == 1
        assert not connection.takes_commands
        assert await topic.queued() == 1


async def test_the_pool_is_used_while_redis_accepts_no_more_connections(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_redis()
    async with redis_bus(server.url) as bus:
        replica = await bus.replica()
        topic = replica.topic()
        await topic.join()
        # given that Redis has as many connections as it accepts, some for what comes between, such as a heartbeat, and
        # the pipelined one is lost
        connection = await pipelined(replica)
        pool = replica.engine._engine._runner.connection.redis
        await asyncio.gather(*(pool.ping() for _ in range(5)))
        bus.raw.config_set("maxclients", bus.raw.info("clients")["connected_clients"] - 1)
        connection.close()
        # when calls are made
        monkeypatch.setattr(script_client, "RETRY_S", 3_600.0)
        refused = bus.raw.info("stats")["rejected_connections"]
        for nth in range(50):
            await topic.dispatch(f"event {nth}")
        # then they succeed, and the next connection is tried only after a while
        assert bus.raw.info("stats")["rejected_connections"] == refused + 1
        bus.raw.config_set("maxclients", 100)
        for link in replica.engine._engine._runner.connection.scripts._links.values():
            link._not_before_s = 0.0  # the while is over
        await topic.dispatch("last")
        await pipelined(replica)
