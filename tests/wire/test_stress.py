"""Many workers and producers at once: every event is delivered once, and no worker starves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from support.wire import SIGNAL_TIMEOUT_S, connect, event, figure, ids

if TYPE_CHECKING:
    from duebus.v1 import event_bus_pb2
    from support.server_process import ServerProcess
    from support.wire import Stream, Wire

SESSIONS = 20
PRODUCERS = 5
EVENTS = 20_000
BATCH = 200


class Tally:
    """The deliveries of all workers together."""

    def __init__(self, expected: int) -> None:
        self.delivered: Counter[str] = Counter()
        self.by_session: Counter[str] = Counter()
        self.fences: set[int] = set()
        self.attempts: set[int] = set()
        self.all_acked = asyncio.Event()
        self._left = expected

    def saw(self, session: str, deliveries: list[event_bus_pb2.Delivery]) -> None:
        """Record deliveries of a worker."""
        self.delivered.update(ids(deliveries))
        self.by_session[session] += len(deliveries)
        self.fences.update(delivery.fencing_token for delivery in deliveries)
        self.attempts.update(delivery.attempt for delivery in deliveries)

    def acked(self, count: int) -> None:
        """Record how many events a worker has finished."""
        self._left -= count
        if not self._left:
            self.all_acked.set()


async def work(wire: Wire, stream: Stream, tally: Tally) -> None:
    """Ack every delivery."""
    while True:
        deliveries = [await stream.one(), *stream.come()]
        tally.saw(stream.started.session_id, deliveries)
        assert await wire.ack(*deliveries) == []
        tally.acked(len(deliveries))


async def produce(wire: Wire, topic: str, number: int) -> None:
    """A share of the events, some of them due a little later."""
    share = range(number * EVENTS // PRODUCERS, (number + 1) * EVENTS // PRODUCERS)
    for first in share[::BATCH]:
        batch = [event(f"e{index}", b"x" * 200, delay=index % 7 / 100) for index in range(first, first + BATCH)]
        await wire.dispatch(topic, *batch)


async def test_twenty_workers_and_five_producers(server: ServerProcess, topic: str) -> None:
    tally = Tally(EVENTS)
    async with connect(server.address) as consumer, connect(server.address) as producer:
        streams = [await consumer.subscribe(topic) for _ in range(SESSIONS)]
        begun = time.monotonic()
        workers = [asyncio.create_task(work(consumer, stream, tally)) for stream in streams]
        await asyncio.gather(*(produce(producer, topic, number) for number in range(PRODUCERS)))
        await asyncio.wait_for(tally.all_acked.wait(), 3 * SIGNAL_TIMEOUT_S)
        took_s = time.monotonic() - begun
        for worker in workers:
            worker.cancel()
        ends = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

        figure(f"{EVENTS / took_s:,.0f} events a second; a worker got {min(tally.by_session.values())} at least")
        assert len(tally.delivered) == EVENTS
        assert set(tally.delivered.values()) == {1}, "each once"
        assert len(tally.fences) == EVENTS
        assert tally.attempts == {1}
        assert len(tally.by_session) == SESSIONS, "every worker gets a share"
        assert (await consumer.topic(topic)).queued == 0


async def test_workers_that_vanish_and_return_under_load_lose_nothing(server: ServerProcess, topic: str) -> None:
    """Every worker vanishes repeatedly while holding events; each event is finally acked."""
    total, acked = 2_000, Counter[str]()
    async with connect(server.address) as wire:
        done = asyncio.Event()

        async def come_and_go(patience: int) -> None:
            while not done.is_set():
                stream = await wire.subscribe(topic, max_in_flight=40, disconnect_grace=0)
                for _ in range(patience):
                    try:
                        deliveries = await asyncio.wait_for(stream.take(1), 1)
                    except TimeoutError:
                        break
                    deliveries += stream.come()
                    kept = deliveries[: len(deliveries) // 2 + 1]
                    failed = {each.lease_token for each in await wire.ack(*kept)}
                    acked.update(each.event.id for each in kept if each.lease_token not in failed)
                await stream.cancel()
                if len(acked) == total:
                    done.set()

        for first in range(0, total, 500):
            await wire.dispatch(topic, *[event(f"e{first + index}", max_retries=1_000) for index in range(500)])
        await asyncio.wait_for(asyncio.gather(*(come_and_go(patience) for patience in (1, 2, 3, 5, 8))), 100)
        assert set(acked.values()) == {1}, "an acked event is not delivered again"
        group = await wire.group(topic)
        assert (group.ready, group.leased, group.scheduled, group.dead) == (0, 0, 0, 0)
