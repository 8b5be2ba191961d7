"""One bus on a real Redis, with as many replicas as a test needs, and access to what is stored."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import redis
from duebus_server.domain.clock import SystemClock
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.redis import PartitionedEngine, make_redis_engine

from support.builders import unique_name
from support.engines import START_US, Harness
from support.recorder import Recorder
from support.redis_engine import first_due
from support.topics import TopicDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import pytest
    from duebus_server.domain.clock import Clock
    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.transport.pipelined import PipelinedConnection
    from duebus_server.engine.redis.transport.scripts import Script

SIGNAL_TIMEOUT_S = 30.0
"""How long a test waits for a signal."""


class Replica(Harness):
    """A started engine of a bus."""

    engine: PartitionedEngine

    def __init__(self, bus: RedisBus, engine: PartitionedEngine) -> None:
        self.bus = bus
        super().__init__(engine, Recorder(timeout_s=SIGNAL_TIMEOUT_S))

    async def advance(self, by_us: int) -> None:
        """Move the clock of the whole bus forward; it must be frozen."""
        assert self.bus.now_us is not None
        self.bus.now_us += by_us

    async def next_due(self, topic: str, group: str) -> int | None:
        """When the group next has something to lease, from Redis."""
        return await first_due(self.engine, topic, group)

    def unstarted(self) -> PartitionedEngine:
        """Another replica of the bus."""
        return self.bus.make()

    def topic(self, name: str | None = None) -> TopicDriver:
        """A topic through this replica; a new one unless named."""
        driver = TopicDriver(self)
        driver.name = name or driver.name
        return driver

    @property
    def name(self) -> str:
        """The replica's name among the others."""
        return self.engine._engine._runner.replica


class RedisBus:
    """A separate namespace on a Redis.

    Attributes:
        raw: a client that may read and write anything.
        make_options: the options of every replica.
        now_us: the bus's clock if it is frozen; None if Redis's TIME is used.
    """

    def __init__(self, url: str, config: TopicConfig | None = None, *, frozen: bool = False) -> None:
        self.url = url
        self.namespace = unique_name("bus")
        self.now_us = START_US if frozen else None
        self.make_options: dict[str, Any] = {}
        self._config = config or TopicConfig()
        self.raw: Any = redis.Redis.from_url(url)
        self._started: list[Replica] = []

    def make(self, clock: Clock | None = None, config: TopicConfig | None = None, **options: Any) -> PartitionedEngine:
        """An engine of this bus, not started; options as ``make_redis_engine`` takes them."""
        frozen: Callable[[], int] | None = None if self.now_us is None else lambda: self.now_us or 0
        options = {**self.make_options, **options}
        settings = config or self._config
        return make_redis_engine(
            self.url, self.namespace, clock or SystemClock(), settings, frozen_now=frozen, **options
        )

    async def replica(self, clock: Clock | None = None, config: TopicConfig | None = None, **options: Any) -> Replica:
        """A replica that serves; it ends with the bus."""
        replica = Replica(self, self.make(clock, config, **options))
        replica.engine.watch(replica.recorder)
        await replica.engine.start()
        self._started.append(replica)
        return replica

    def stored_keys(self) -> set[str]:
        """The bus's keys, without the namespace."""
        start = len(self.namespace) + 1
        return {key.decode()[start:] for key in self.raw.scan_iter(f"{self.namespace}:*", count=1000)}

    def contents(self, topic: str) -> dict[str, Any]:
        """Everything stored of a topic, by key, except the figures, which change."""
        stored = {key for key in self.stored_keys() if key.startswith(f"{{{topic}}}:")}
        keys = {key for key in stored if not key.endswith((":rates", ":minutes"))}
        return {key: self._value(f"{self.namespace}:{key}") for key in keys}

    def _value(self, key: str) -> Any:
        readers = {
            b"hash": self.raw.hgetall,
            b"set": self.raw.smembers,
            b"list": lambda key: self.raw.lrange(key, 0, -1),
            b"zset": lambda key: self.raw.zrange(key, 0, -1, withscores=True),
            b"string": self.raw.get,
        }
        return readers[self.raw.type(key)](key)

    def key(self, topic: str | Partition, name: str) -> str:
        """A key of a topic, or of one of its partitions, such as ``events`` or ``group:default:waiting``."""
        tag = topic if isinstance(topic, str) else topic.hash_tag
        return f"{self.namespace}:{{{tag}}}:{name}"

    async def close(self) -> None:
        """End the replicas and remove what they stored."""
        for replica in self._started:
            await replica.engine.stop()
        self.raw.close()


@asynccontextmanager
async def redis_bus(url: str, config: TopicConfig | None = None, *, frozen: bool = False) -> AsyncIterator[RedisBus]:
    """A bus during the block."""
    bus = RedisBus(url, config, frozen=frozen)
    try:
        yield bus
    finally:
        await bus.close()


async def until(happened: Callable[[], bool], what: str, timeout_s: float = SIGNAL_TIMEOUT_S) -> None:
    """Poll for something that sends no signal, such as the expiry of a key.

    Raises:
        AssertionError: it did not happen in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while not happened():  # noqa: ASYNC110  # nothing signals it
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {timeout_s} s for {what}") from None


@contextmanager
def lost_answers(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Event]:
    """During the block a replica's scripts run, and their answers are lost. The event is set when one has run."""
    own, ran = replica.engine._engine._runner, asyncio.Event()
    run = own.run

    async def lose(script: Script, partition: Partition, *arguments: object, **more: Any) -> None:
        await run(script, partition, *arguments, **more)
        ran.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(own, "run", lose)
        yield ran


@contextmanager
def noted_runs(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[tuple[str, tuple[object, ...], Any]]]:
    """The scripts that a replica runs during the block: name, arguments, answer."""
    own, noted = replica.engine._engine._runner, []
    run = own.run

    async def note(script: Script, partition: Partition, *arguments: object, **more: Any) -> Any:
        answer = await run(script, partition, *arguments, **more)
        noted.append((script.name, arguments, answer))
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(own, "run", note)
        yield noted


async def assert_works(bus: RedisBus) -> None:
    """A replica does everything that needs a connection: scripts, plain commands, and notifications from another."""
    one, other = await bus.replica(), await bus.replica()
    topic = one.topic()
    await topic.join()
    assert await topic.lease() == []
    await other.topic(topic.name).dispatch("event")
    await one.recorder.until_due(topic.name, "default", lambda at_us: at_us > 0)
    assert await topic.ack(await topic.lease_one()) == [None]
    connection = await pipelined(one)
    await topic.dispatch("another")
    assert await topic.ack(await topic.lease_one()) == [None]
    assert await pipelined(one) is connection


async def pipelined(replica: Replica) -> PipelinedConnection:
    """The pipelined connection of a replica, or one of them; waits until it is there."""
    links = replica.engine._engine._runner.connection.scripts._links
    await until(lambda: any(link.connection for link in links.values()), "a pipelined connection")
    return next(link.connection for link in links.values() if link.connection)
