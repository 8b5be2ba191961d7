"""The same work on the same sorted sets with redis-py alone and no service: what Redis and Python can do."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import redis.asyncio
from bench.roles.role import begin, cpu_s, now_s, play

EVENTS, WAITING, LEASED = "bench:events", "bench:waiting", "bench:leased"
LEASE_S = 30
IDLE_S = 0.001


async def produce(client: redis.asyncio.Redis, events: int, batch: int, payload: int) -> None:
    """Store events in batches."""
    data = os.urandom(payload)
    for first in range(0, events, batch):
        ids = [b"%016d" % index for index in range(first, min(first + batch, events))]
        pipeline = client.pipeline()
        pipeline.hset(EVENTS, mapping=dict.fromkeys(ids, data))
        pipeline.zadd(WAITING, dict.fromkeys(ids, time.time()))
        await pipeline.execute()


async def consume(client: redis.asyncio.Redis, events: int, batch: int) -> None:
    """Lease and ack events in batches."""
    left = events
    while left:
        ids: list[bytes] = await client.zrangebyscore(WAITING, "-inf", time.time(), start=0, num=batch)  # type: ignore[assignment]  # whatever it could be, these are members
        if not ids:
            await asyncio.sleep(IDLE_S)
            continue
        lease = client.pipeline()
        lease.hmget(EVENTS, ids)
        lease.zadd(LEASED, dict.fromkeys(ids, time.time() + LEASE_S))
        lease.zrem(WAITING, *ids)
        await lease.execute()
        ack = client.pipeline()
        ack.zrem(LEASED, *ids)
        ack.hdel(EVENTS, *ids)
        await ack.execute()
        left -= len(ids)


async def work(url: str, side: str, events: int, batch: int, payload: int = 200) -> dict[str, Any]:
    """Run one side, ``producer`` or ``consumer``, in batches."""
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    await client.ping()
    await begin()
    began_s, cpu_began_s = now_s(), cpu_s()
    if side == "producer":
        await produce(client, events, batch, payload)
    else:
        await consume(client, events, batch)
    ended_s = now_s()
    await client.aclose()
    return {"began_s": began_s, "ended_s": ended_s, "cpu_began_s": cpu_began_s}


if __name__ == "__main__":
    play(work)
