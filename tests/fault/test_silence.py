"""Redis hangs for longer than a replica may be silent, and no call fails."""

from __future__ import annotations

from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import DEFAULT_GROUP
from support.redis_bus import redis_bus, until
from support.redis_engine import shared_redis

WORKER = "worker-1"


async def test_replicas_that_were_all_silent_do_not_take_each_other_for_dead() -> None:
    async with redis_bus(shared_redis().url, frozen=True) as bus:
        # given two replicas, each with a lease of half a minute
        replicas = [await bus.replica(), await bus.replica()]
        topics = [replica.topic() for replica in replicas]
        for replica, topic in zip(replicas, topics, strict=True):
            await topic.join(WORKER)
            await topic.dispatch("event")
            await topic.lease_one(WORKER)
            replica.engine._engine._presence._finds_dead_from_s = 0.0  # as one that has been there for a while
        # when nothing is heard of either for four seconds
        await replicas[0].advance(4 * SECOND)
        now_us = replicas[0].now_us()
        alive = f"{bus.namespace}:{{{bus.namespace}:layout}}:replicas"
        names = [replica.name for replica in replicas]
        await until(lambda: all((bus.raw.zscore(alive, name) or 0) > now_us for name in names), "both heartbeats")
        # then the leases last
        for topic in topics:
            leased = bus.raw.zrange(bus.key(topic.name, f"group:{DEFAULT_GROUP}:leased"), 0, -1, withscores=True)
            assert [expires > now_us for _, expires in leased] == [True]
