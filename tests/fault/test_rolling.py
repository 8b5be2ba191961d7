"""A rolling update under load: for each server, a new one is started, and the old one gets SIGTERM.

In another test the new ones are of this build and the old ones of the one before.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import TYPE_CHECKING

import pytest
import redis as redis_client
from duebus import NewEvent, Worker
from duebus.aio import Client
from duebus.errors import DueBusError
from duebus_server.engine.redis.replicas.layouts import LAYOUT
from support.builds import previous_build, this_build
from support.load_balancer import LoadBalancer
from support.redis_server import RedisServer
from support.server_process import ServerProcess
from support.wire import figure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from duebus import Delivery
    from support.builds import Build

TOPIC = "orders"
SERVERS = 2
ROUNDS = 2
"""How many times each server is replaced."""
WORKERS = 4
PRODUCERS = 2
PAUSE_S = 0.005
"""The pause between two requests of a producer."""
WORK_S = 0.02
"""How long a handler takes."""
LONGEST_GAP_S = 2.5
"""Less than it takes when the events of a server wait for its lapse."""
SIGNAL_TIMEOUT_S = 30.0


@dataclass
class Seen:
    """What the clients saw.

    Attributes:
        dispatched: the ids in answers.
        failures: of dispatches, after all tries.
        handled: how many times each event was handled.
        arrivals: when deliveries arrived, in seconds.
        latest_s: the longest time from due to delivered.
    """

    dispatched: set[str] = field(default_factory=set)
    failures: list[DueBusError] = field(default_factory=list)
    handled: Counter[str] = field(default_factory=Counter)
    arrivals: list[float] = field(default_factory=list)
    latest_s: float = 0.0
    _one_more: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, delivery: Delivery) -> None:
        self.arrivals.append(time.monotonic())
        self.latest_s = max(self.latest_s, time.time() - delivery.deliver_at.timestamp())
        await asyncio.sleep(WORK_S)
        self.handled[delivery.event_id] += 1
        self._one_more.set()

    async def all_handled(self) -> None:
        """Wait until everything that was dispatched is handled. Call it when nothing more is dispatched."""
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while not self.dispatched.issubset(self.handled):
                self._one_more.clear()
                await self._one_more.wait()

    @property
    def longest_gap_s(self) -> float:
        """The longest time in which nothing was delivered, although events were waiting."""
        return max(after - before for before, after in pairwise(self.arrivals))


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


class Cluster:
    """Servers on one Redis, behind one address. They end with the stack.

    Args:
        build: of the first servers; None: this one.
    """

    def __init__(self, redis: RedisServer, logs: Path, stack: AsyncExitStack, build: Build | None = None) -> None:
        self._flags = ("--engine", "redis", "--redis-url", redis.url)
        self._logs = logs
        self._numbers = count()
        self._stack = stack
        self.servers = [self._start(build) for _ in range(SERVERS)]
        self.balancer = LoadBalancer(server.address for server in self.servers)

    def _start(self, build: Build | None) -> ServerProcess:
        log = self._logs / f"server-{next(self._numbers)}.log"
        server = build.serve(log, *self._flags) if build else ServerProcess(log, *self._flags)
        self._stack.callback(server.close)
        return server

    async def replace(self, index: int, build: Build | None = None) -> None:
        """Replace one of them by a new one."""
        old = self.servers[index]
        self.servers[index] = new = await asyncio.to_thread(self._start, build)
        self.balancer.replace(old.address, new.address)
        assert await asyncio.to_thread(old.terminate) == 0, old.log.read_text()


async def produce(bus: Client, seen: Seen, ended: asyncio.Event) -> None:
    """Dispatch events, due now and a little later, until asked to end."""
    for number in count():
        if ended.is_set():
            return
        events = [NewEvent(data=number), NewEvent(data=number, delay=0.3)]
        try:
            answers = await bus.dispatch_many(TOPIC, events)
        except DueBusError as error:
            seen.failures.append(error)
        else:
            seen.dispatched.update(answer.event_id for answer in answers)
        await asyncio.sleep(PAUSE_S)


def client_of(address: str) -> Client:
    """A client with its own connection."""
    return Client(address, options=(("grpc.use_local_subchannel_pool", 1),))


async def work(address: str, seen: Seen, stack: AsyncExitStack) -> Worker:
    """A worker that serves; it is drained with the stack."""
    worker = Worker(client=await stack.enter_async_context(client_of(address)), concurrency=16)
    worker.add(TOPIC, seen.handle)
    serving = asyncio.create_task(worker.serve())

    async def end() -> None:
        await worker.stop()
        await serving

    stack.push_async_callback(end)
    await worker.ready()
    return worker


@asynccontextmanager
async def load(cluster: Cluster, seen: Seen) -> AsyncIterator[None]:
    """Producers and workers during the block. When it ends, everything that was dispatched has been handled."""
    async with AsyncExitStack() as stack:
        balancer = cluster.balancer
        await balancer.start()
        stack.push_async_callback(balancer.close)
        for _ in range(WORKERS):
            await work(balancer.address, seen, stack)
        ended = asyncio.Event()
        producers = [
            asyncio.create_task(produce(await stack.enter_async_context(client_of(balancer.address)), seen, ended))
            for _ in range(PRODUCERS)
        ]
        yield
        ended.set()
        await asyncio.gather(*producers)
        await seen.all_handled()


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_handled_twice_and_deliveries_continue(redis: RedisServer, tmp_path: Path) -> None:
    seen = Seen()
    async with AsyncExitStack() as stack:
        cluster = Cluster(redis, tmp_path, stack)
        async with load(cluster, seen):
            for _ in range(ROUNDS):
                for index in range(SERVERS):
                    await cluster.replace(index)
    print_figures(seen, ROUNDS * SERVERS)
    assert_complete(seen)
    assert seen.longest_gap_s < LONGEST_GAP_S


@pytest.mark.timeout(240)
async def test_an_upgrade_from_the_previous_build_and_a_rollback_lose_nothing(
    redis: RedisServer, tmp_path: Path
) -> None:
    # given: servers of the previous build
    old, new, seen = previous_build(tmp_path / "previous"), this_build(), Seen()
    async with AsyncExitStack() as stack:
        cluster = Cluster(redis, tmp_path, stack, old)
        async with load(cluster, seen):
            # when: one is replaced by one of this build, which is taken back, and then all are replaced
            for index, build in ((0, new), (0, old), (0, new), (1, new)):
                await cluster.replace(index, build)
        layout = redis_client.Redis.from_url(redis.url).get("duebus:layout")

    # then
    figure(f"from {old.commit[:10] or 'this build, because the history does not go back far enough,'} to this build")
    print_figures(seen, 4)
    assert_complete(seen)
    assert layout == str(LAYOUT).encode()


def assert_complete(seen: Seen) -> None:
    assert seen.failures == []
    assert set(seen.handled) == seen.dispatched, "lost, or never dispatched"
    assert max(seen.handled.values()) == 1, "handled twice"


def print_figures(seen: Seen, replacements: int) -> None:
    figure(f"{len(seen.dispatched)} events through {replacements} replacements of {SERVERS} servers")
    figure(f"longest gap in delivery {seen.longest_gap_s:.3f} s, latest delivery {seen.latest_s:.3f} s after due")
