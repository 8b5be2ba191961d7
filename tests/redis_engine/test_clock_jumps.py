"""Redis's clock is moved by an hour while servers run, as docs/redis.md describes.

The scripts get the moved time instead of TIME; the servers learn of it only from answers. (A Redis that is linked with
jemalloc does not start under libfaketime.)
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from duebus_server.domain.clock import HOUR, SystemClock
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.redis import PartitionedEngine, make_redis_engine
from duebus_server.engine.redis.transport.runner import Runner
from structlog.testing import capture_logs
from support.builders import unique_name
from support.redis_app import app_on
from support.redis_bus import RedisBus
from support.redis_engine import shared_redis
from support.wire import event, ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from duebus_server.domain.clock import Clock

SOON_S = 10
"""How soon everything must be as before."""


class MovedBus(RedisBus):
    """A bus whose Redis has a clock that the test moves.

    Attributes:
        ahead_us: how far the clock is ahead, in microseconds.
    """

    ahead_us = 0

    def make(self, clock: Clock | None = None, config: TopicConfig | None = None, **options: Any) -> PartitionedEngine:
        """An engine of this bus, not started."""
        own, settings = clock or SystemClock(), config or TopicConfig()
        return make_redis_engine(self.url, self.namespace, own, settings, frozen_now=self.redis_now_us, **options)

    def redis_now_us(self) -> int:
        """The time that Redis would report."""
        return time.time_ns() // 1_000 + self.ahead_us


@pytest.fixture
async def moved_bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MovedBus]:
    """A bus whose servers know Redis's clock only from its answers."""
    monkeypatch.setattr(Runner, "now_us", lambda runner: runner._clock.now_us())
    bus = MovedBus(shared_redis().url)
    yield bus
    await bus.close()


@pytest.mark.parametrize("ahead_us", [HOUR, -HOUR], ids=["forward", "back"])
async def test_events_are_delivered_after_the_clock_of_redis_was_moved(moved_bus: MovedBus, ahead_us: int) -> None:
    is_forward = ahead_us > 0
    with capture_logs() as logs:
        async with app_on(moved_bus) as producer, app_on(moved_bus) as consumer:
            topic = unique_name()
            stream = await consumer.subscribe(topic, max_in_flight=10, lease=30)
            await producer.dispatch(
                topic, "held", event("in 50 minutes", delay=3_000), event("in 3 hours", delay=10_800)
            )
            held = await stream.one()
            # when the clock is moved by an hour
            moved_bus.ahead_us = ahead_us
            # then new events are delivered at once, and delayed ones after their delay
            async with asyncio.timeout(SOON_S):
                await producer.dispatch(topic, "new", event("in a moment", delay=0.5))
                seen = []
                for _ in range(4 if is_forward else 2):  # a stream whose lease ran out gets one event at a time
                    seen.append(await stream.one())
                    assert await consumer.ack(seen[-1]) == []
            if is_forward:
                # what was due within the hour is delivered now, and leases run out: held events are delivered again
                assert sorted(ids(seen)) == ["held", "in 50 minutes", "in a moment", "new"]
                assert [failure.lease_token for failure in await consumer.ack(held)] == [held.lease_token]
            else:
                # what was scheduled waits an hour longer, and leases last
                assert sorted(ids(seen)) == ["in a moment", "new"]
                assert await consumer.extend(held) == []
                assert await consumer.ack(held) == []
            # and each event is still delivered once, under growing tokens
            async with asyncio.timeout(SOON_S):
                await producer.dispatch(topic, "last")
                last = await stream.one()
            assert last.event.id == "last"
            assert last.fencing_token > held.fencing_token
            assert await consumer.ack(last) == []
            assert (await producer.topic(topic)).queued == (1 if is_forward else 2)
    assert "unexpected error" not in {line["event"] for line in logs}
