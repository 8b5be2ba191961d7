"""What partitions cost on one Redis: ``python tests/bench/partitions.py [EVENTS]``.

Dispatches and drains so many events (20,000 unless told) through one engine, in requests of 100 of which sixteen are
sent at once, by one partition and by four, several times in turn. Prints events a second and the ratio. On one Redis
partitions can only cost; what they are for is more than one.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from duebus_server.domain.model import DispatchRequest
from support.builders import new_event
from support.redis_bus import Replica, redis_bus
from support.redis_server import RedisServer
from support.topics import with_ids

REQUEST, AT_ONCE, ROUNDS = 100, 16, 5


async def run(replica: Replica, partitions: int, events: int) -> tuple[float, float]:
    """Events a second in and out."""
    topic = replica.topic()
    await topic.configure(partitions=partitions)
    await topic.join()
    now_us = replica.now_us()
    requests = [
        DispatchRequest(with_ids([new_event() for _ in range(REQUEST)], now_us, f"request {nth}"), f"request {nth}")
        for nth in range(events // REQUEST)
    ]
    began = time.perf_counter()
    for first in range(0, len(requests), AT_ONCE):
        await topic.engine.dispatch(topic.name, requests[first : first + AT_ONCE])
    stored = time.perf_counter()
    left = events
    while left:
        held = await topic.lease(max_events=1_000)
        await topic.ack(*held)
        left -= len(held)
    drained = time.perf_counter()
    await topic.delete()
    return events / (stored - began), events / (drained - stored)


async def measure(events: int) -> None:
    """Run in turn and print."""
    server = RedisServer()
    rates: dict[int, list[tuple[float, float]]] = {1: [], 4: []}
    try:
        async with redis_bus(server.url) as bus:
            replica = await bus.replica()
            for _ in range(ROUNDS):
                for partitions, found in rates.items():
                    found.append(await run(replica, partitions, events))
    finally:
        server.close()
    for place, what in enumerate(("dispatch", "lease and ack")):
        one, four = (statistics.median(rate[place] for rate in rates[partitions]) for partitions in (1, 4))
        rates_of = f"{one:,.0f} events/s by one partition, {four:,.0f} by four"
        print(f"{what}: {rates_of}; ratio {four / one:.2f}")  # noqa: T201  # its output


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
