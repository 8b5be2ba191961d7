"""Redis hangs for as long as a replica may be silent, or longer, and no call fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import DEFAULT_GROUP
from support.redis_bus import redis_bus
from support.redis_engine import shared_redis

if TYPE_CHECKING:
    from support.redis_bus import RedisBus

WORKER = "worker-1"


@pytest.mark.parametrize("pause_s", [2.8, 4])
async def test_replicas_that_were_all_silent_do_not_take_each_other_for_dead(pause_s: float) -> None:
    """After 2.8 s one replica is overdue and the other is not yet."""
    async with redis_bus(shared_redis().url, frozen=True) as bus:
        # given two replicas, each with a lease of half a minute
        replicas = [await bus.replica(), await bus.replica()]
        topics = [replica.topic() for replica in replicas]
        for replica, topic in zip(replicas, topics, strict=True):
            await topic.join(WORKER)
            await topic.dispatch("event")
            await topic.lease_one(WORKER)
            replica.engine._engine._presence._finds_dead_from_s = 0.0  # it has run for a while
        until_us = {replica.name: replica.now_us() + 3 * SECOND for replica in replicas}
        until_us[replicas[0].name] -= SECOND // 2
        # when neither sends a heartbeat for a while
        await replicas[0].advance(round(pause_s * SECOND))
        bus.raw.zadd(alive(bus), until_us)
        await replicas[1].engine._engine._presence._beat()
        await replicas[0].engine._engine._presence._beat()
        # then both are alive, and the leases last
        now_us = replicas[0].now_us()
        assert all(bus.raw.zscore(alive(bus), replica.name) > now_us for replica in replicas)
        for topic in topics:
            leased = bus.raw.zrange(bus.key(topic.name, f"group:{DEFAULT_GROUP}:leased"), 0, -1, withscores=True)
            assert [expires > now_us for _, expires in leased] == [True]


def alive(bus: RedisBus) -> str:
    return f"{bus.namespace}:{{{bus.namespace}:layout}}:replicas"
