"""Redis's clock decides, regardless of the hosts' clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, SECOND, SystemClock
from duebus_server.domain.model import DEFAULT_GROUP
from support.builders import unique_name
from support.redis_app import app_on
from support.wire import event, us

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.domain.clock import Timer
    from support.redis_bus import RedisBus
    from support.topics import TopicDriver


class SkewedClock:
    """A host's clock that is wrong."""

    def __init__(self, skew_us: int) -> None:
        self._skew_us = skew_us
        self._true = SystemClock()

    def now_us(self) -> int:
        return self._true.now_us() + self._skew_us

    def host_us(self) -> int:
        return self.now_us()

    def call_at(self, at_us: int, callback: Callable[[], None]) -> Timer:
        return self._true.call_at(at_us - self._skew_us, callback)


@pytest.mark.parametrize("skew_us", [-HOUR, HOUR], ids=["slow", "fast"])
async def test_a_host_with_a_wrong_clock_delivers_neither_early_nor_late(bus: RedisBus, skew_us: int) -> None:
    async with app_on(bus, clock=SkewedClock(skew_us)) as skewed, app_on(bus) as straight:
        for producer, consumer in ((skewed, straight), (straight, skewed), (skewed, skewed)):
            topic = unique_name()
            stream = await consumer.subscribe(topic, lease=5)
            began_us = redis_now_us(bus)
            await producer.dispatch(topic, event("event", delay=0.3))
            delivery = await stream.one()
            now_us = redis_now_us(bus)
            assert began_us + 300_000 <= us(delivery.deliver_at) <= now_us < began_us + 600_000
            assert abs(us(delivery.lease_expires_at) - now_us - 5 * SECOND) < 300_000
            assert await producer.ack(delivery) == []


@pytest.mark.parametrize("partitions", [1, 4])
async def test_fencing_tokens_are_at_least_the_time_and_grow_although_the_last_one_is_lost(
    bus: RedisBus, topic: TopicDriver, partitions: int
) -> None:
    """The last token is lost in a failover to a node that had not received it."""
    await topic.configure(partitions=partitions)
    await topic.join()
    await topic.dispatch(*(f"event {number}" for number in range(8)))
    last = dict.fromkeys((f"event {number}" for number in range(8)), redis_now_us(bus) - 1)
    for _ in range(3):
        held = await topic.lease_all()
        assert len(held) == 8
        assert all(lease.fencing_token > last[lease.event_id] for lease in held)
        assert all(lease.fencing_token < redis_now_us(bus) + SECOND for lease in held)
        last = {lease.event_id: lease.fencing_token for lease in held}
        await topic.release(*held)
        for key in bus.raw.scan_iter(f"{bus.namespace}:*:group:{DEFAULT_GROUP}:group"):
            assert bus.raw.hdel(key, "fence") == 1


async def test_fencing_tokens_keep_growing_when_the_clock_is_set_back(bus: RedisBus, topic: TopicDriver) -> None:
    await topic.join()
    ahead = redis_now_us(bus) + HOUR
    bus.raw.hset(bus.key(topic.name, f"group:{DEFAULT_GROUP}:group"), "fence", ahead)
    await topic.dispatch("event")
    assert (await topic.lease_one()).fencing_token == ahead + 1


def redis_now_us(bus: RedisBus) -> int:
    seconds, micros = bus.raw.time()
    return int(seconds) * SECOND + int(micros)
