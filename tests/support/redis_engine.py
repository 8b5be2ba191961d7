"""The redis engine for tests: on a real redis-server, with a clock that the test moves."""

from __future__ import annotations

import atexit
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from duebus_server.domain.clock import SystemClock
from duebus_server.engine.redis import PartitionedEngine, make_redis_engine

from support.builders import unique_name
from support.checked_keys import check_keys_of, undeclared_keys
from support.engines import START_US, Harness
from support.recorder import Recorder
from support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from duebus_server.domain.views import TopicConfig


@cache
def shared_redis() -> RedisServer:
    """One redis-server for all tests that leave it running, each with its own namespace."""
    server = RedisServer()
    atexit.register(server.close)
    return server


def redis_flags(namespace: str | None = None) -> tuple[str, ...]:
    """The flags of a server on the shared Redis; in a namespace of its own without one."""
    return ("--engine", "redis", "--redis-url", shared_redis().url, "--namespace", namespace or unique_name("bus"))


async def first_due(engine: PartitionedEngine, topic: str, group: str) -> int | None:
    """The earliest due time or lease expiry of a group in any partition; None if there is none, or it is paused."""
    runner = engine._engine._runner
    times: list[int] = []
    for partition in engine._routing.partitions(topic):
        if await runner.connection.redis.hexists(runner.keys.topic(partition, f"group:{group}:group"), "paused"):
            return None
        for name in ("waiting", "suspects", "prioritized", "leased", "upcoming", "opens"):
            key = runner.keys.topic(partition, f"group:{group}:{name}")
            times += [int(at) for _, at in await runner.connection.redis.zrange(key, 0, 0, withscores=True)]
    return min(times, default=None)


class RedisHarness(Harness):
    """An engine on a Redis whose scripts read the test's clock."""

    engine: PartitionedEngine

    def __init__(self, config: TopicConfig) -> None:
        self._now_us = START_US
        self._config = config
        super().__init__(self._make(), Recorder(timeout_s=30.0))

    async def advance(self, by_us: int) -> None:
        """Move the engine's clock forward."""
        self._now_us += by_us

    async def next_due(self, topic: str, group: str) -> int | None:
        """When the group next has something to lease, from Redis."""
        return await first_due(self.engine, topic, group)

    def unstarted(self) -> PartitionedEngine:
        """Another engine of the same kind."""
        return self._make()

    def _make(self) -> PartitionedEngine:
        url, namespace = shared_redis().url, unique_name("bus")
        return make_redis_engine(url, namespace, SystemClock(), self._config, frozen_now=lambda: self._now_us)


@asynccontextmanager
async def redis(config: TopicConfig, partitions: int = 1) -> AsyncIterator[Harness]:
    """A redis engine whose topics have this many partitions. With several, its scripts must declare their keys."""
    harness = RedisHarness(config)
    harness.partitions = partitions
    if partitions > 1:
        check_keys_of(harness.engine)
    harness.engine.watch(harness.recorder)
    await harness.engine.start()
    try:
        yield harness
        assert await undeclared_keys(harness.engine) == set()
    finally:
        await harness.engine.stop()
