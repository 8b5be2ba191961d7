"""Several servers behind one name: each gets its share of the calls, and servers that are added of the streams."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from duebus import Delivery, Worker, aio
from support.builders import unique_name
from support.name_server import name_server
from support.redis_bus import until
from support.redis_server import free_port
from support.wire import figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.redis_bus import RedisBus
    from support.server_process import ServerProcess

ADDRESSES = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
"""Of the servers, which all have the same port, as pods do."""

WORKERS = 20
AGE_S = 6
SHARE = WORKERS / len(ADDRESSES)
AGES = 10
"""Within which each server must have had its share for an age. Usually it is two; a busy machine's workers are late."""

SAMPLE_S = 0.02
OPTIONS = [("grpc.dns_min_time_between_resolutions_ms", 500)]


@pytest.fixture
def serve(bus: RedisBus, start_server: Callable[..., ServerProcess]) -> Callable[..., ServerProcess]:
    """Starts a server of the bus on one of the addresses."""
    port = free_port()

    def start(address: str, *flags: str) -> ServerProcess:
        own = ("--engine", "redis", "--redis-url", bus.url, "--namespace", bus.namespace)
        return start_server(*own, *flags, listen=f"{address}:{port}")

    return start


def port_of(server: ServerProcess) -> int:
    return int(server.address.rpartition(":")[2])


class Crowd:
    """Twenty workers, each with a client of its own.

    Attributes:
        handled: how many times each event was handled.
        attempts: of the deliveries.
        late_s: how late the latest delivery was, in seconds.
    """

    def __init__(self, topic: str, target: str) -> None:
        self.handled: Counter[str] = Counter()
        self.attempts: Counter[int] = Counter()
        self.late_s = 0.0
        self._topic = topic
        self._target = target

    async def start(self, stack: AsyncExitStack) -> None:
        """Start the workers; they end with the stack."""
        workers = [await self._worker(stack) for _ in range(WORKERS)]
        serving = [asyncio.create_task(worker.serve()) for worker in workers]

        async def stop() -> None:
            await asyncio.gather(*(worker.stop() for worker in workers))
            await asyncio.gather(*serving)

        stack.push_async_callback(stop)
        await asyncio.gather(*(worker.ready() for worker in workers))

    async def _worker(self, stack: AsyncExitStack) -> Worker:
        client = await stack.enter_async_context(aio.Client(self._target, options=OPTIONS))
        worker = Worker(client=client, concurrency=4)
        worker.add(self._topic, self._handle)
        return worker

    async def _handle(self, delivery: Delivery) -> None:
        self.late_s = max(self.late_s, time.time() - delivery.deliver_at.timestamp())
        self.attempts[delivery.attempt] += 1
        # Longer than a tick, so that leases are held while the streams end.
        await asyncio.sleep(0.2)
        self.handled[delivery.event_id] += 1


def streams(bus: RedisBus) -> dict[bytes, int]:
    """How many streams each server has told the others."""
    found = bus.raw.hgetall(f"{bus.namespace}:{{{bus.namespace}:layout}}:streams")
    return {replica: int(count) for replica, count in found.items()}


async def average(bus: RedisBus, length_s: float) -> list[float]:
    """How many streams each server has on average, from now on for so many seconds."""
    end_s = time.monotonic() + length_s
    sums: Counter[bytes] = Counter()
    samples = 0
    while time.monotonic() < end_s:
        sums.update(streams(bus))
        samples += 1
        await asyncio.sleep(SAMPLE_S)
    return sorted(total / samples for total in sums.values())


async def shares_are_even(bus: RedisBus) -> bool:
    """Whether, for an age, each server has its share within a fifth."""
    shares = await average(bus, AGE_S)
    figure("servers have " + ", ".join(f"{share:.1f}" for share in shares) + f" of {WORKERS} streams on average")
    return len(shares) == len(ADDRESSES) and all(abs(share - SHARE) <= SHARE / 5 for share in shares)


async def dispatching(client: aio.Client, topic: str, sent: list[str]) -> None:
    """Dispatch forty events a second until it is cancelled."""
    while True:
        for _ in range(2):
            sent.append(f"e{len(sent)}")
            await client.dispatch(topic, b"", id=sent[-1])
        await asyncio.sleep(0.05)


async def test_servers_that_are_added_get_their_share_and_nothing_is_handled_twice(
    bus: RedisBus, serve: Callable[..., ServerProcess]
) -> None:
    topic, sent = unique_name(), list[str]()
    flags = ("--max-stream-age", f"{AGE_S}s")
    first = [serve(address, *flags) for address in ADDRESSES[:2]]
    async with name_server(*ADDRESSES[:2]) as names, AsyncExitStack() as stack:
        crowd = Crowd(topic, names.target(port_of(first[0])))
        await crowd.start(stack)
        client = await stack.enter_async_context(aio.Client(first[0].address))
        load = asyncio.create_task(dispatching(client, topic, sent))
        await until(lambda: sum(streams(bus).values()) == WORKERS, "a heartbeat with all streams")
        for address in ADDRESSES[2:]:
            await asyncio.to_thread(serve, address, *flags)
        names.addresses += ADDRESSES[2:]
        ages = 1
        while not await shares_are_even(bus):
            ages += 1
            assert ages <= AGES, "the shares are uneven"
        load.cancel()
        await asyncio.wait([load])
        await until(lambda: len(crowd.handled) >= len(sent) - 1, "the handling of the last event")
    figure(f"{len(sent)} events meanwhile, the latest delivery {1_000 * crowd.late_s:.0f} ms late")
    assert set(crowd.handled.values()) == {1}
    assert set(crowd.attempts) == {1}


async def test_replicas_know_how_many_streams_there_are_until_one_stops(bus: RedisBus) -> None:
    first, second = await bus.replica(), await bus.replica()
    assert first.engine.fair_share(4) == 4
    await until(lambda: second.engine.fair_share(1) == 3, "a heartbeat with the streams of the first")
    await until(lambda: first.engine.fair_share(4) == 3, "a heartbeat with the stream of the second")
    await first.engine.stop()
    await until(lambda: second.engine.fair_share(1) == 1, "a heartbeat without the first")
    assert list(streams(bus).values()) == [1]


async def test_a_replica_that_drains_has_no_share(bus: RedisBus) -> None:
    first, second = await bus.replica(), await bus.replica()
    first.engine.fair_share(0)
    await until(lambda: second.engine.fair_share(4) == 2, "a heartbeat with the share of the first")
    first.engine.fair_share(None)
    await until(lambda: second.engine.fair_share(4) == 4, "a heartbeat of the first, which drains")
    assert list(streams(bus).values()) == [4]
