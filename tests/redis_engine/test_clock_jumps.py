"""Redis's clock is moved by an hour while servers run, as docs/redis.md describes.

The scripts get the moved time instead of TIME; the servers learn of it only from answers. (A Redis that is linked with
jemalloc does not start under libfaketime.)
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from duebus.v1 import event_bus_pb2, schedules_pb2, schedules_pb2_grpc
from duebus_server.domain.clock import HOUR, SECOND, SystemClock
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.redis import PartitionedEngine, make_redis_engine
from duebus_server.engine.redis.transport.runner import Runner
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs
from support.builders import unique_name
from support.redis_app import app_on
from support.redis_bus import RedisBus
from support.redis_engine import shared_redis
from support.wire import event, ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from duebus_server.domain.clock import Clock

SOON_S = 30
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


@pytest.mark.parametrize("ahead_us", [HOUR, -HOUR], ids=["forward", "back"])
async def test_schedules_fire_each_time_once_after_the_clock_of_redis_was_moved(
    moved_bus: MovedBus, ahead_us: int
) -> None:
    async with app_on(moved_bus) as server, app_on(moved_bus):
        topic = unique_name()
        stream = await server.subscribe(topic, max_in_flight=100, lease=30)
        stub: Any = schedules_pb2_grpc.EventBusSchedulesStub(server.channel)  # type: ignore[no-untyped-call]  # generated
        await stub.PutSchedule(every_second(topic, topic))
        fired: list[str] = []

        async def fires(times: int) -> None:
            async with asyncio.timeout(SOON_S):
                for _ in range(times):
                    delivery = await stream.one()
                    assert await server.ack(delivery) == []
                    fired.append(delivery.event.id)

        await fires(2)
        # when the clock is moved by an hour, and another schedule is put by a server that has heard of it
        moved_bus.ahead_us = ahead_us
        await server.dispatch(unique_name(), "event")
        await stub.PutSchedule(every_second(f"{topic}.other", topic))
        await fires(2)
        if ahead_us < 0:  # what has fired waits until its next time has come again
            assert [name for name in fired[2:] if name.startswith(f"{topic}@")] == []
            moved_bus.ahead_us = 0
        await fires(4)

        # then each nominal time has fired once, and the others are counted
        assert len(set(fired)) == len(fired)
        info = (await stub.GetSchedule(schedules_pb2.GetScheduleRequest(name=topic))).schedule
        first, last = (nominal_time(name) for name in (fired[0], info.last_event_id))
        assert info.runs + info.missed == last - first + 1
        assert (info.missed >= HOUR // SECOND - SOON_S) == (ahead_us > 0)


def every_second(name: str, topic: str) -> schedules_pb2.PutScheduleRequest:
    schedule = schedules_pb2.Schedule(name=name, topic=topic, event=event_bus_pb2.Event(), every=Duration(seconds=1))
    return schedules_pb2.PutScheduleRequest(schedule=schedule)


def nominal_time(event_id: str) -> int:
    """In seconds since the Unix epoch."""
    return int(datetime.fromisoformat(event_id.partition("@")[2]).timestamp())
