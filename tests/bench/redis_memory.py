"""How much memory a scheduled event takes in Redis: ``python tests/bench/redis_memory.py [EVENTS]``.

Starts a redis-server of its own, schedules so many events (a million unless told) whose payload is 200 bytes, and
prints what each takes beside its payload. The target is 250 bytes. It depends on Redis's allocator: the sizes that
jemalloc rounds up to are finer in Redis's own builds than in Debian's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from duebus.v1 import event_bus_pb2
from duebus_server.domain.clock import HOUR, MILLISECOND
from duebus_server.domain.event_ids import EventIds
from duebus_server.domain.model import DispatchRequest, NewEvent
from support.redis_bus import RedisBus, redis_bus
from support.redis_server import RedisServer

PAYLOAD = b"p" * 200
ORIGIN = "ipv4:127.0.0.1:50000"
BATCH = 1_000
TARGET = 250


def batch(first: int) -> DispatchRequest:
    """Events as the bus makes them of a request without ids, each due at a time of its own."""
    made = EventIds(time.time_ns() // 1_000, "")
    ids = [made.at(place) for place in range(BATCH)]
    bodies = [event_bus_pb2.Event(id=each, data=PAYLOAD).SerializeToString() for each in ids]
    return DispatchRequest(
        [
            NewEvent(each, body, delay_us=HOUR + (first + place) * MILLISECOND, id_is_generated=True)
            for place, (each, body) in enumerate(zip(ids, bodies, strict=True))
        ],
        origin=ORIGIN,
    )


def used(bus: RedisBus) -> int:
    """Bytes that Redis has allocated, buffers of connections aside."""
    memory = bus.raw.info("memory")
    return int(memory["used_memory"]) - int(memory["mem_clients_normal"])


async def measure(events: int) -> None:
    """Schedule and print."""
    server = RedisServer()
    try:
        async with redis_bus(server.url) as bus:
            topic = (await bus.replica()).topic()
            await topic.join()
            await topic.dispatch("first")
            before, began = used(bus), time.monotonic()
            for first in range(0, events, BATCH):
                await topic.engine.dispatch(topic.name, [batch(first)])
            took_s = time.monotonic() - began
            each = (used(bus) - before) / events
    finally:
        server.close()
    over = each - len(PAYLOAD)
    print(f"{events:,} scheduled events of {len(PAYLOAD)} bytes, stored in {took_s:.0f} s")  # noqa: T201  # its output
    print(f"each takes {each:.0f} bytes: its payload and {over:.0f} more; the target is {TARGET}")  # noqa: T201  # its output


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 1_000_000))
