"""A rolling update under load: for each server, a new one is started, and the old one gets SIGTERM."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import TYPE_CHECKING

import pytest
from duebus import NewEvent, Worker
from duebus.aio import Client
from duebus.errors import DueBusError
from support.load_balancer import LoadBalancer
from support.redis_server import RedisServer
from support.server_process import ServerProcess
from support.wire import figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duebus import Delivery

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
LONGEST_GAP_S = 1.0
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
    """Servers on one Redis, behind one address. They end with the stack."""

    def __init__(self, redis: RedisServer, logs: Path, stack: AsyncExitStack) -> None:
        self._flags = ("--engine", "redis", "--redis-url", redis.url)
        self._logs = logs
        self._numbers = count()
        self._stack = stack
        self.servers = [self._start() for _ in range(SERVERS)]
        self.balancer = LoadBalancer(server.address for server in self.servers)

    def _start(self) -> ServerProcess:
        server = ServerProcess(self._logs / f"server-{next(self._numbers)}.log", *self._flags)
        self._stack.callback(server.close)
        return server

    async def replace(self, index: int) -> None:
        """Replace one of them by a new one."""
        old = self.servers[index]
        self.servers[index] = new = await asyncio.to_thread(self._start)
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


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_handled_twice_and_deliveries_continue(redis: RedisServer, tmp_path: Path) -> None:
    seen = Seen()
    async with AsyncExitStack() as stack:
        cluster = Cluster(redis, tmp_path, stack)
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
        for _ in range(ROUNDS):
            for index in range(SERVERS):
                await cluster.replace(index)
        ended.set()
        await asyncio.gather(*producers)
        await seen.all_handled()
    print_figures(seen)
    assert seen.failures == []
    assert set(seen.handled) == seen.dispatched, "lost, or never dispatched"
    assert max(seen.handled.values()) == 1, "handled twice"
    assert seen.longest_gap_s < LONGEST_GAP_S


def print_figures(seen: Seen) -> None:
    figure(f"{len(seen.dispatched)} events through {ROUNDS * SERVERS} replacements of {SERVERS} servers")
    figure(f"longest gap in delivery {seen.longest_gap_s:.3f} s, latest delivery {seen.latest_s:.3f} s after due")
