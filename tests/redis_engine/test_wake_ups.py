"""Notifications between replicas; a lost one costs at most one sweep interval."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import SECOND
from support.builders import unique_name
from support.commands import watched
from support.redis_app import app_on
from support.redis_bus import RedisBus, redis_bus
from support.wire import SIGNAL_TIMEOUT_S, Wire, event, figure, ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.redis_server import RedisServer

SOON_S = 20.0
"""Far sooner than a sweep of `pair`; on an idle machine it takes a few milliseconds."""


@pytest.fixture
async def pair(bus: RedisBus) -> AsyncIterator[tuple[Wire, Wire]]:
    """Two servers of one bus that do not sweep."""
    async with app_on(bus, sweep_interval="60s") as one, app_on(bus, sweep_interval="60s") as other:
        yield one, other


def now_us() -> int:
    return round(asyncio.get_running_loop().time() * SECOND)


async def test_events_dispatched_on_one_replica_are_delivered_by_another_at_once(pair: tuple[Wire, Wire]) -> None:
    here, there = pair
    topic = unique_name()
    stream = await there.subscribe(topic)
    took_us = []
    for number in range(50):
        began_us = now_us()
        await here.dispatch(topic, f"e{number}")
        assert ids([delivery := await stream.one()]) == [f"e{number}"]
        took_us.append(now_us() - began_us)
        assert await here.ack(delivery) == []
    took_us.sort()
    figure(
        f"dispatched on one replica, delivered by another: {took_us[25] / 1000} ms, at worst {took_us[-1] / 1000} ms"
    )
    assert took_us[-1] < SOON_S * SECOND


async def test_a_due_time_wakes_another_replica(pair: tuple[Wire, Wire]) -> None:
    here, there = pair
    topic = unique_name()
    stream = await there.subscribe(topic)
    await here.dispatch(topic, event("late", delay=3600), event("soon", delay=0.4))
    await here.dispatch(topic, event("sooner", delay=0.2))
    for name in ("sooner", "soon"):
        delivery = await stream.one()
        assert delivery.event.id == name
        lateness_us = delivery.lease_expires_at.ToMicroseconds() - 30 * SECOND - delivery.deliver_at.ToMicroseconds()
        assert 0 <= lateness_us < SOON_S * SECOND


async def test_each_of_several_sessions_of_a_replica_is_woken(pair: tuple[Wire, Wire]) -> None:
    """The first session has room for one event, so the second must be woken for the next one."""
    here, there = pair
    topic = unique_name()
    streams = [await there.subscribe(topic, max_in_flight=1) for _ in range(3)]
    for number in range(3):
        waiting = [asyncio.create_task(stream.next_frame()) for stream in streams]
        began_us = now_us()
        await here.dispatch(topic, f"e{number}")
        done, pending = await asyncio.wait(waiting, timeout=SIGNAL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        took_us = now_us() - began_us
        for task in pending:
            task.cancel()
        assert len(done) == 1, f"e{number} was not delivered"
        assert took_us < SOON_S * SECOND
        streams = [stream for stream, task in zip(streams, waiting, strict=True) if task not in done]


async def test_an_ack_through_another_replica_makes_room(pair: tuple[Wire, Wire]) -> None:
    here, there = pair
    topic = unique_name()
    stream = await there.subscribe(topic, max_in_flight=1)
    await here.dispatch(topic, "a", "b")
    first = await stream.one()
    began_us = now_us()
    await here.ack(first)
    assert ids([await stream.one()]) == ["b"]
    assert now_us() - began_us < SOON_S * SECOND


async def test_a_lease_that_runs_out_on_one_replica_is_taken_over_by_another(pair: tuple[Wire, Wire]) -> None:
    here, there = pair
    topic = unique_name()
    holder = await here.subscribe(topic, lease=0.3, max_in_flight=1)
    await here.dispatch(topic, "event")
    assert (await holder.one()).attempt == 1
    idle = await there.subscribe(topic)
    again = await idle.one()
    assert again.attempt == 2
    assert again.lease_expires_at.ToMicroseconds() - 30 * SECOND >= 0


async def test_a_stream_that_breaks_on_one_replica_costs_another_a_second(pair: tuple[Wire, Wire]) -> None:
    here, there = pair
    topic = unique_name()
    holder = await here.subscribe(topic, max_in_flight=1, disconnect_grace=0.3)
    await here.dispatch(topic, "event")
    await holder.one()
    idle = await there.subscribe(topic)
    began_us = now_us()
    await holder.cancel()
    assert ids([await idle.one()]) == ["event"]
    assert 0.2 * SECOND < now_us() - began_us < 0.3 * SECOND + SOON_S * SECOND


# --- lost notifications ---


@pytest.fixture
async def own_bus(start_redis: Callable[..., RedisServer]) -> AsyncIterator[RedisBus]:
    """A bus on a Redis of the test's own."""
    async with redis_bus(start_redis().url) as opened:
        yield opened


async def test_a_lost_notification_costs_at_most_a_sweep(own_bus: RedisBus) -> None:
    async with app_on(own_bus, sweep_interval="60s") as here, app_on(own_bus, sweep_interval="300ms") as there:
        topic = unique_name()
        stream = await there.subscribe(topic)
        began_us = now_us()
        assert own_bus.raw.client_kill_filter(_type="pubsub") == 2
        await here.dispatch(topic, "unheard")
        assert ids([await stream.one()]) == ["unheard"]
        took_us = now_us() - began_us
        figure(f"a lost notification cost {took_us / 1000} ms, with a sweep every 300 ms")
        assert took_us < 0.3 * SECOND + SOON_S * SECOND


async def test_a_lost_notification_of_an_ack_does_not_cost_the_room_forever(own_bus: RedisBus) -> None:
    async with app_on(own_bus, sweep_interval="60s") as here, app_on(own_bus, sweep_interval="300ms") as there:
        topic = unique_name()
        stream = await there.subscribe(topic, max_in_flight=2)
        await here.dispatch(topic, "a", "b", "c")
        held = await stream.take(2)
        assert own_bus.raw.client_kill_filter(_type="pubsub") == 2
        began_us = now_us()
        assert await here.ack(*held) == []
        assert ids([await stream.one()]) == ["c"]
        assert now_us() - began_us < 0.3 * SECOND + SOON_S * SECOND


async def test_a_disconnected_listener_reconnects_and_checks_again(own_bus: RedisBus) -> None:
    async with app_on(own_bus, sweep_interval="60s") as here, app_on(own_bus, sweep_interval="60s") as there:
        topic = unique_name()
        stream = await there.subscribe(topic)
        assert own_bus.raw.client_kill_filter(_type="pubsub") == 2
        await here.dispatch(topic, "unheard")
        assert ids([await stream.one()]) == ["unheard"], "it checks when it listens again"
        await here.dispatch(topic, "heard")
        assert ids([await stream.one()]) == ["heard"]


async def test_invalid_messages_on_a_channel_are_ignored(own_bus: RedisBus) -> None:
    async with app_on(own_bus, sweep_interval="60s") as here, app_on(own_bus, sweep_interval="60s") as there:
        topic = unique_name()
        stream = await there.subscribe(topic)
        (replica,) = {key.split(":")[1] for key in own_bus.stored_keys() if key.startswith("replica:")}
        for garbage in (b"", b"garbage", b"\xff\0\xff\0\xff\0\xff", b"a\0b\0c\0d", b"\0\0\0\0\0\0\0"):
            assert own_bus.raw.publish(f"{own_bus.namespace}:wake", garbage) == 2
            assert own_bus.raw.publish(f"{own_bus.namespace}:replica:{replica}", garbage) == 1
        await here.dispatch(topic, "event")
        assert ids([await stream.one()]) == ["event"], "long before a sweep"


# --- what it costs ---


async def test_an_idle_bus_sends_few_commands(own_bus: RedisBus) -> None:
    """100 topics, 100 subscribers, one replica."""
    seconds = 6
    async with app_on(own_bus) as wire:
        streams = await asyncio.gather(*(wire.subscribe(unique_name()) for _ in range(100)))
        with watched(own_bus.raw) as commands:
            await asyncio.sleep(seconds)
        assert [frame.WhichOneof("frame") for stream in streams for frame in stream.frames] == []
    rate = sum(commands.values()) / seconds
    figure(f"an idle replica of 100 topics and 100 subscribers sends {rate:.1f} commands a second: {dict(commands)}")
    assert 1 < rate < 5
