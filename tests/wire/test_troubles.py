"""Whoever reads nothing but the metrics learns of every trouble, among many topics that are well.

``make troubles`` is the long form: 10,000 topics, and the settings that a server has by default.
"""

from __future__ import annotations

import asyncio
import math
import os
import urllib.request
from typing import TYPE_CHECKING, Any

from duebus.v1 import admin_pb2, schedules_pb2, schedules_pb2_grpc, test_clock_pb2, test_clock_pb2_grpc
from support.troubles import Kind, Trouble, troubles
from support.wire import SIGNAL_TIMEOUT_S, connect, duration, event, figure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.server_process import ServerProcess
    from support.wire import Wire

TOPICS = int(os.environ.get("TROUBLE_TOPICS", "400"))
SHOWN = "200" if TOPICS > 400 else "100"
"""How many topics have metrics of their own."""

OF_EACH_KIND = 4
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
AT_ONCE = 100


async def nobody_subscribed(wire: Wire, topic: str) -> None:
    await (await wire.subscribe(topic)).cancel()
    await wire.dispatch(topic, "a")


async def no_group(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a")


async def no_room(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, max_in_flight=1, lease=HOUR_S)
    await wire.dispatch(topic, "held", "waits")
    await stream.one()


async def hung(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, lease=HOUR_S)
    await wire.dispatch(topic, "held")
    await stream.one()


async def blocked(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, lease=HOUR_S)
    await wire.dispatch(topic, event("held", key="k"), event("waits", key="k"))
    await stream.one()


async def held_by_dead_letter(wire: Wire, topic: str) -> None:
    keys = admin_pb2.KeyPolicy(on_dead=admin_pb2.KeyPolicy.ON_DEAD_HOLD)
    await configure(wire, topic, keys=keys)
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, event("dead", key="k"), event("waits", key="k"))
    await wire.nack(await stream.one(), dead_letter=True)


async def dead(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    await wire.nack(await stream.one(), dead_letter=True)


async def suspect(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a")
    for _ in range(2):
        stream = await wire.subscribe(topic, disconnect_grace=0)
        await stream.one()
        await stream.cancel()
    stream = await wire.subscribe(topic, disconnect_grace=0)
    await wire.ack(await stream.one())


async def paused(wire: Wire, topic: str) -> None:
    await wire.subscribe(topic)
    await wire.admin.PauseGroup(admin_pb2.PauseGroupRequest(topic=topic))
    await wire.dispatch(topic, "a")


async def at_limit(wire: Wire, topic: str) -> None:
    await configure(wire, topic, limits=admin_pb2.Limits(max_in_flight=1))
    stream = await wire.subscribe(topic, lease=HOUR_S)
    await wire.dispatch(topic, "held", "waits")
    await stream.one()


async def slowed(wire: Wire, topic: str) -> None:
    await configure(wire, topic, limits=admin_pb2.Limits(rate=admin_pb2.Rate(events=1, per=duration(HOUR_S), burst=1)))
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "passes", "waits")
    await wire.ack(await stream.one())


async def full(wire: Wire, topic: str) -> None:
    await configure(wire, topic, max_queued=1)
    await wire.dispatch(topic, event("later", delay=DAY_S))


async def nearly_full(wire: Wire, topic: str) -> None:
    await configure(wire, topic, max_queued=20)
    await wire.dispatch(topic, *(event(str(number), delay=DAY_S) for number in range(19)))


async def misses(wire: Wire, topic: str) -> None:
    await full(wire, topic)
    schedule = schedules_pb2.Schedule(name=topic, topic=topic, every=duration(MINUTE_S), event=event())
    stub: Any = schedules_pb2_grpc.EventBusSchedulesStub(wire.channel)  # type: ignore[no-untyped-call]  # generated
    await stub.PutSchedule(schedules_pb2.PutScheduleRequest(schedule=schedule))


async def late(wire: Wire, topic: str) -> Callable[[], Awaitable[Any]]:
    stream = await wire.subscribe(topic, max_in_flight=1, lease=HOUR_S)
    await wire.dispatch(topic, *map(str, range(100)))
    return lambda: handle_next(wire, stream)


async def failing(wire: Wire, topic: str) -> Callable[[], Awaitable[Any]]:
    stream = await wire.subscribe(topic, max_in_flight=1, lease=HOUR_S)
    await wire.dispatch(topic, *map(str, range(100)))

    async def fail() -> None:
        await wire.nack(await stream.one(), delay=duration(DAY_S))

    await fail()
    return fail


async def handle_next(wire: Wire, stream: Any) -> None:
    """Ack one event."""
    await wire.ack(await stream.one())


PLANTED: dict[Kind, Callable[[Wire, str], Awaitable[Callable[[], Awaitable[Any]] | None]]] = {
    Kind.NO_SUBSCRIBERS: nobody_subscribed,
    Kind.NO_GROUP: no_group,
    Kind.NO_ROOM: no_room,
    Kind.LATE: late,
    Kind.HUNG: hung,
    Kind.BLOCKED: blocked,
    Kind.HELD: held_by_dead_letter,
    Kind.DEAD: dead,
    Kind.FAILING: failing,
    Kind.SUSPECT: suspect,
    Kind.PAUSED: paused,
    Kind.AT_LIMIT: at_limit,
    Kind.SLOWED: slowed,
    Kind.NEARLY_FULL: nearly_full,
    Kind.FULL: full,
    Kind.MISSED: misses,
}
"""Makes each kind of trouble. What one returns goes on: it is to be called again and again."""


async def test_whoever_reads_the_metrics_learns_of_every_trouble(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--test-clock", "--http-listen", "127.0.0.1:0", "--metrics-topics", SHOWN)
    url = "http://" + server.logged(r"http on .*address=(\S+)") + "/metrics"
    async with connect(server.address) as wire:
        await make_healthy(wire)
        expected: set[Trouble] = set()
        going_on: list[Callable[[], Awaitable[Any]]] = []
        for kind, plant in PLANTED.items():
            for number in range(OF_EACH_KIND):
                topic = f"trouble-{kind.name.lower()}-{number}"
                if (goes_on := await plant(wire, topic)) is not None:
                    going_on.append(goes_on)
                expected.add(Trouble(topic, kind))
        assert len(expected) > 50
        clock = test_clock_pb2_grpc.TestClockStub(wire.channel)  # type: ignore[no-untyped-call]  # generated
        await clock.AdvanceTime(test_clock_pb2.AdvanceTimeRequest(by=duration(40 * MINUTE_S)))

        found: set[Trouble] = set()
        async with asyncio.timeout(2 * SIGNAL_TIMEOUT_S):
            while not expected <= found:
                figure(f"not named yet: {sorted({trouble.kind.name for trouble in expected - found})}")
                await asyncio.gather(*(goes_on() for goes_on in going_on))
                found = troubles(await next_reading(url))
        assert {trouble.topic for trouble in found} == {trouble.topic for trouble in expected}
        figure(f"{len(expected)} troubles among {TOPICS} topics; a scrape costs {await cost_ms(url):.0f} ms")


async def make_healthy(wire: Wire) -> None:
    """Topics in which nothing is wrong, with names on both sides of the others."""
    names = [f"{'a' if number % 2 else 'z'}-healthy-{number:05}" for number in range(TOPICS)]
    for first in range(0, TOPICS, AT_ONCE):
        some = names[first : first + AT_ONCE]
        await asyncio.gather(*(wire.dispatch(name, event("later", delay=DAY_S)) for name in some))


async def configure(wire: Wire, topic: str, **config: Any) -> None:
    """Change settings of a topic."""
    request = admin_pb2.ConfigureTopicRequest(topic=topic, config=admin_pb2.TopicConfig(**config))
    await wire.admin.ConfigureTopic(request)


async def scraped(url: str) -> str:
    """The metrics."""

    def get() -> str:
        with urllib.request.urlopen(url, timeout=SIGNAL_TIMEOUT_S) as answer:  # noqa: S310
            text: str = answer.read().decode()
        return text

    return await asyncio.to_thread(get)


async def next_reading(url: str) -> str:
    """The metrics, once the server has read its gauges again."""
    text = await scraped(url)
    oldest_s = value(text, AGE)
    while value(text, AGE) >= oldest_s:
        oldest_s = value(text, AGE)
        text = await scraped(url)
    return text


AGE = 'duebus_gauges_age_seconds{engine="local"}'


def value(text: str, name: str) -> float:
    """The value of the sample with this name and labels; infinite if there is none."""
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")), math.inf)


async def cost_ms(url: str) -> float:
    """How much of the server's processor a scrape costs, with the readings for it."""
    scrapes = 10
    before = value(await scraped(url), CPU)
    for _ in range(scrapes - 1):
        await scraped(url)
    return (value(await scraped(url), CPU) - before) * 1_000 / scrapes


CPU = "process_cpu_seconds_total"
