"""A failover behind an unchanged address: connections to the old primary stay open and are abandoned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import redis
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.transport.errors import as_domain_errors
from redis.exceptions import ResponseError
from support.proxy import proxy_to
from support.redis_bus import redis_bus, until
from support.wire import figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.redis_server import RedisServer


def follow(follower: RedisServer, leader: RedisServer) -> None:
    with redis.Redis.from_url(follower.url) as client:
        client.replicaof("127.0.0.1", leader.port)


def offset(server: RedisServer) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("replication")["master_repl_offset"])


async def test_connections_to_a_demoted_node_are_dropped(start_redis: Callable[..., RedisServer]) -> None:
    old, new = start_redis(), start_redis()
    follow(new, old)
    with redis.Redis.from_url(new.url) as client:
        await until(lambda: client.info("replication")["master_link_status"] == "up", "the replica")
    async with proxy_to(f"127.0.0.1:{old.port}") as proxy, redis_bus(f"redis://{proxy.address}") as bus:
        replica = await bus.replica()
        topic = replica.topic()
        await topic.join()
        await asyncio.gather(*(topic.dispatch(f"before {number}") for number in range(20)))  # many connections
        await until(lambda: offset(new) == offset(old), "the replica to have it all")
        # when the other node becomes the primary, and the connections stay on the old one
        with redis.Redis.from_url(new.url) as client:
            client.replicaof("NO", "ONE")
        proxy.aim(f"127.0.0.1:{new.port}")
        follow(old, new)
        began_s = asyncio.get_running_loop().time()
        # then no call fails, and the listener is notified by the new primary
        await asyncio.gather(*(topic.dispatch(f"after {number}") for number in range(20)))
        figure(f"20 dispatches after a failover: {asyncio.get_running_loop().time() - began_s:.2f} s")
        assert len(await topic.lease_all()) == 40
        replica.recorder.forget()
        async with redis_bus(new.url) as beside:
            beside.namespace = bus.namespace
            await (await beside.replica()).topic(topic.name).dispatch("from beside")
            await replica.recorder.until_due(topic.name, "default", lambda at_us: at_us > 0)


async def test_connections_are_dropped_while_in_use_without_failed_calls(
    start_redis: Callable[..., RedisServer],
) -> None:
    async with redis_bus(start_redis().url) as bus:
        replica, other = await bus.replica(), await bus.replica()
        topic = replica.topic()
        await topic.join()
        connection = replica.engine._engine._runner.connection

        async def demoted_again_and_again() -> None:
            while True:
                connection.redis.reconnect()
                connection.on_demotion()
                await asyncio.sleep(0)

        demotions = asyncio.create_task(demoted_again_and_again())
        for batch in range(20):
            await asyncio.gather(*(topic.dispatch(f"event {batch}.{number}") for number in range(20)))
        demotions.cancel()
        await asyncio.wait([demotions])
        assert demotions.cancelled()
        assert len(await topic.lease_all()) == 400
        # then the listener is connected again
        replica.recorder.forget()
        await other.topic(topic.name).dispatch("from the other")
        await replica.recorder.until_due(topic.name, "default", lambda at_us: at_us > 0)


async def test_a_dispatch_that_waits_for_replicas_finds_a_demoted_node(start_redis: Callable[..., RedisServer]) -> None:
    old, new = start_redis(), start_redis()
    async with redis_bus(old.url) as bus:
        replica = await bus.replica(min_replicas_ack=1)
        topic = replica.topic()
        await topic.join()
        follow(old, new)
        with pytest.raises(DispatcherNotWorking, match="this Redis is a replica"):
            await topic.dispatch("event")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "Redis is out of memory"),
        ("MISCONF Redis is configured to save RDB snapshots", "Redis can't save its data to disk"),
        ("NOREPLICAS Not enough good replicas to write.", "fewer replicas than its min-replicas-to-write"),
        ("Error running script: -READONLY You can't write against a read only replica.", "this Redis is a replica"),
    ],
)
def test_each_refusal_of_redis_has_a_clear_message(text: str, said: str) -> None:
    with pytest.raises(DispatcherNotWorking, match=said), as_domain_errors("orders"):
        raise ResponseError(text)
