"""Tests that only concern the redis engine: on real redis-servers, with several replicas if needed."""

from __future__ import annotations

import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis
from duebus_server.engine.redis.transport.scripts import Script
from support.partitions import COUNT
from support.redis_bus import RedisBus, Replica, redis_bus
from support.redis_cluster import running_cluster, until_it_is_whole
from support.redis_engine import shared_redis
from support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from support.topics import TopicDriver


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Starts redis-servers for the test: ``start_redis("--maxmemory", "4mb")``. They end with the test."""
    started: list[RedisServer] = []

    def start(*options: str, **settings: Any) -> RedisServer:
        server = RedisServer(*options, **settings)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many times each script has run."""
    counted: Counter[str] = Counter()
    run = Script.run

    async def count(self: Script, *arguments: Any) -> Any:
        counted[self.name] += 1
        return await run(self, *arguments)

    monkeypatch.setattr(Script, "run", count)
    return counted


@pytest.fixture
async def bus() -> AsyncIterator[RedisBus]:
    """A bus on the Redis that tests share. Leave that running."""
    async with redis_bus(shared_redis().url) as opened:
        yield opened


@pytest.fixture
async def frozen_bus() -> AsyncIterator[RedisBus]:
    """A bus whose clock the test moves."""
    async with redis_bus(shared_redis().url, frozen=True) as opened:
        yield opened


@pytest.fixture
async def replica(bus: RedisBus) -> Replica:
    return await bus.replica()


@pytest.fixture
def topic(replica: Replica) -> TopicDriver:
    return replica.topic()


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a listener that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


NODE_TIMEOUT_MS = 60_000
"""After how long the nodes of the shared cluster would take one that does not answer for lost. None is lost in a test,
but on a busy machine one may not get a processor for seconds, and then the others refuse every command."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    """Three primaries that share the slots. A test must not end or pause one."""
    with running_cluster(3, 0, 2_000) as nodes:  # with a short timeout, they form the cluster sooner
        for node in nodes:
            with redis.Redis.from_url(node.url) as client:
                client.config_set("cluster-node-timeout", NODE_TIMEOUT_MS)
        yield nodes


@pytest.fixture
async def cluster_bus(cluster: list[RedisServer]) -> AsyncIterator[RedisBus]:
    await until_it_is_whole(cluster)
    bus = RedisBus(cluster[0].url)
    bus.url = f"redis+cluster://127.0.0.1:{cluster[0].port}"
    yield bus
    await bus.close()


@pytest.fixture
async def partitioned(topic: TopicDriver) -> TopicDriver:
    """A topic with four partitions."""
    await topic.configure(partitions=COUNT)
    return topic
