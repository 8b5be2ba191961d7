"""How long the calls of operators take on a full Redis: ``python tests/bench/admin_calls.py [EVENTS]``.

Starts a redis-server of its own and fills one topic with so many events (100,000 unless told), in two groups, a quarter
in each state. Then it makes each call and prints how long it took, how many scripts it ran, and for how long the
longest of them held Redis. The target is a second a call.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog
from duebus_server.bus.administering import Administering
from duebus_server.bus.engines import Engines, RunningEngine
from duebus_server.delivery.streams import Streams
from duebus_server.domain.administration import DeadLetterFilter, NewDueTime, RetryPolicyChanges, TopicChanges
from duebus_server.domain.clock import HOUR, MILLISECOND, MINUTE, SystemClock
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.states import EventState
from duebus_server.domain.views import EventQuery
from support.builders import new_event
from support.redis_bus import RedisBus, redis_bus
from support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from support.topics import TopicDriver

BATCH = 1_000
GROUPS = (DEFAULT_GROUP, "audit")
TARGET_S = 1.0
SLOW_US = 200
"""What held Redis for less is as nothing."""


async def fill(topic: TopicDriver, events: int) -> None:
    """A quarter of the events in each state, in both groups; the dead ones at times and with errors of their own."""
    for group in GROUPS:
        await topic.join(group=group)
    for first in range(0, events // 4, BATCH):
        await topic.dispatch(*(named(first + place, "dead") for place in range(BATCH)))
        for group in GROUPS:
            held = await topic.lease(group=group, max_events=BATCH)
            await topic.dead_letter(*held, error=f"no such card, batch {first // BATCH % 10}", group=group)
    for first in range(0, events // 4, BATCH):
        await topic.dispatch(*(named(first + place, "leased") for place in range(BATCH)))
        for group in GROUPS:
            await topic.lease(group=group, max_events=BATCH, lease_us=12 * HOUR)
    for first in range(0, events // 4, BATCH):
        await topic.dispatch(*(named(first + place, "ready") for place in range(BATCH)))
        await topic.dispatch(*(named(first + place, "later", HOUR) for place in range(BATCH)))


def named(number: int, state: str, delay_us: int = 0) -> Any:
    """An event of 200 bytes whose id a client chose."""
    return new_event(name_of(number, state), body=b"b" * 200, delay_us=delay_us + number * MILLISECOND * bool(delay_us))


def name_of(number: int, state: str) -> str:
    """Its id."""
    return f"{state}-{number:07}"


class Stopwatch:
    """Times calls, and looks at what they did to Redis."""

    def __init__(self, bus: RedisBus) -> None:
        self._redis = bus.raw
        self._redis.config_set("slowlog-log-slower-than", SLOW_US)
        self.longest_s = 0.0

    async def time(self, what: str, call: Awaitable[Any]) -> Any:
        """Make a call and print its figures."""
        self._redis.slowlog_reset()
        self._redis.config_resetstat()
        began = time.perf_counter()
        result = await call
        took_s = time.perf_counter() - began
        scripts = self._redis.info("commandstats")["cmdstat_evalsha"]["calls"]
        longest_us = max((entry["duration"] for entry in self._redis.slowlog_get(1_000)), default=0)
        held = f"{longest_us / 1e3:.1f} ms" if longest_us else "no time"
        print(f"{what:<48}{took_s * 1e3:>9.1f} ms  {scripts:>4} scripts, the longest held Redis for {held}")  # noqa: T201  # its output
        self.longest_s = max(self.longest_s, took_s)
        return result


async def see(admin: Administering, topic: str, watch: Stopwatch, events: int) -> None:
    """The calls that change nothing."""
    await watch.time("list topics", admin.list_topics(None, "", 100))
    await watch.time("get a topic", admin.get_topic(None, topic))
    for state in EventState:
        query = EventQuery(DEFAULT_GROUP, state, 100, 1 << 30, newest_first=True)
        page = await watch.time(f"list the newest 100 that are {state}", admin.list_events(None, topic, query))
        query = EventQuery(DEFAULT_GROUP, state, 1_000, 1 << 30, page.next_cursor, newest_first=True)
        await watch.time(f"list the 1,000 behind them, {state}", admin.list_events(None, topic, query))
    for kind in ("later", "ready", "leased", "dead"):
        await watch.time(f"get an event, {kind}", admin.get_event(None, topic, name_of(events // 8, kind)))


async def change(admin: Administering, topic: str, watch: Stopwatch, events: int) -> None:
    """The calls that change something, the gentle ones first."""
    changes = TopicChanges(RetryPolicyChanges(max_retries=5), lease_us=MINUTE)
    await watch.time("configure a topic", admin.configure(None, topic, "", changes))
    await watch.time("configure a group", admin.configure(None, topic, "audit", changes))
    await watch.time("pause a group", admin.pause_group(None, topic, ""))
    await watch.time("resume a group", admin.resume_group(None, topic, ""))
    ids = [name_of(number, "later") for number in range(BATCH)]
    await watch.time("reschedule 1,000 in both groups", admin.reschedule(None, topic, ids, None, NewDueTime(2 * HOUR)))
    await watch.time("cancel 1,000 in both groups", admin.cancel(None, topic, ids, None))
    ids = [name_of(number, "dead") for number in range(BATCH)]
    named_ones = DeadLetterFilter(ids[:100])
    await watch.time("redrive 100 that are named", admin.redrive(None, topic, "", named_ones, 0))
    by_error = DeadLetterFilter(error_contains="batch 7")
    count = await watch.time("redrive by error", admin.redrive(None, topic, "", by_error, 100.0))
    print(f"    that were {count:,}")  # noqa: T201  # its output
    by_error = DeadLetterFilter(error_contains="batch 8")
    count = await watch.time("purge by error", admin.purge(None, topic, "", by_error))
    print(f"    that were {count:,}")  # noqa: T201  # its output
    count = await watch.time("redrive all", admin.redrive(None, topic, "", DeadLetterFilter(), 0))
    print(f"    that were {count:,}")  # noqa: T201  # its output
    count = await watch.time("purge all of a group", admin.purge(None, topic, "audit", DeadLetterFilter()))
    print(f"    that were {count:,}")  # noqa: T201  # its output
    count = await watch.time("delete a group", admin.delete_group(None, topic, "audit"))
    print(f"    that held {count:,} events")  # noqa: T201  # its output
    count = await watch.time("delete a topic", admin.delete_topic(None, topic))
    print(f"    that held {count:,} events; {events:,} were dispatched")  # noqa: T201  # its output


async def measure(events: int) -> None:
    """Fill, call and print."""
    server = RedisServer()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        async with redis_bus(server.url) as bus:
            engine = (await bus.replica()).engine
            running = RunningEngine(engine, Streams(engine, SystemClock()))
            topic = bus._started[0].topic()
            await fill(topic, events)
            counts = {group: await topic.counts(group) for group in GROUPS}
            print(f"{events:,} events in {len(GROUPS)} groups: {counts}")  # noqa: T201  # its output
            admin, watch = Administering(Engines([running])), Stopwatch(bus)
            await see(admin, topic.name, watch, events)
            await change(admin, topic.name, watch, events)
            print(f"keys left: {sorted(bus.stored_keys())}")  # noqa: T201  # its output
            print(f"the longest call took {watch.longest_s:.2f} s; the target is {TARGET_S:.0f} s")  # noqa: T201  # its output
    finally:
        server.close()


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 100_000))
