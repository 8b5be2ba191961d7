"""The cost of a sweep, and that it finds what a lost answer left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.replicas.sweeping import IDLE_AT_ONCE
from support.partitions import COUNT
from support.proxy import proxy_to
from support.redis_bus import RedisBus, Replica, redis_bus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.redis_server import RedisServer


@pytest.fixture
async def own_bus(start_redis: Callable[..., RedisServer]) -> AsyncIterator[RedisBus]:
    """A bus with its own Redis, so that its commands can be counted."""
    async with redis_bus(start_redis().url) as bus:
        yield bus


def commands(bus: RedisBus) -> int:
    """How many commands Redis has carried out, those inside scripts included."""
    stats: dict[str, Any] = bus.raw.info("commandstats")
    return sum(one["calls"] for one in stats.values())


async def cost_of_a_sweep(bus: RedisBus, replica: Replica) -> float:
    """The commands of one sweep: the mean of ten."""
    before = commands(bus)
    for _ in range(10):
        await replica.engine.expire_leases()
    return (commands(bus) - before) / 10


async def test_an_idle_topic_costs_a_sweep_nothing(own_bus: RedisBus) -> None:
    replica = await own_bus.replica()
    costs = []
    for _ in range(2):
        for _ in range(50):
            topic = replica.topic()
            await topic.join()
            assert await topic.lease() == []
        costs.append(await cost_of_a_sweep(own_bus, replica))
    assert costs[1] < costs[0] + 10
    assert costs[1] < 150


async def test_an_idle_topic_of_several_partitions_wakes_nobody(own_bus: RedisBus) -> None:
    """A sweep took each of its partitions for closed."""
    replica = await own_bus.replica()
    topic = replica.topic()
    await topic.configure(partitions=COUNT)
    await topic.join()
    assert await topic.lease() == []
    replica.recorder.forget()

    await replica.engine.expire_leases()

    assert replica.recorder.dues == []


async def test_events_made_due_by_a_lost_answer_are_found_by_the_next_sweep(
    start_redis: Callable[..., RedisServer],
) -> None:
    async with (
        proxy_to(f"127.0.0.1:{start_redis().port}") as proxy,
        redis_bus(f"redis://{proxy.address}") as bus,
    ):
        replica = await bus.replica()
        topics = [replica.topic() for _ in range(3 * IDLE_AT_ONCE)]
        for topic in topics:
            await topic.join()
            assert await topic.lease() == []
        await topics[0].dispatch("leaves Redis knowing the script")
        proxy.stall(requests=False)
        with pytest.raises(DispatcherNotWorking, match="does not answer"):
            await topics[-1].dispatch("stored without a report")
        proxy.flow()
        replica.recorder.forget()
        await replica.engine.expire_leases()
        assert {due.topic for due in replica.recorder.dues} == {topics[0].name, topics[-1].name}
