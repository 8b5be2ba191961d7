"""Limits and key policies on Redis: over several replicas, and when Redis loses a key of theirs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from duebus.v1 import event_bus_pb2
from duebus_server.domain.clock import MILLISECOND, SECOND
from duebus_server.domain.rates import KeyPolicy, Limits, OnDead, Rate
from duebus_server.domain.states import EventState
from support.builders import new_event, unique_name
from support.redis_app import app_on
from support.topics import ids
from support.wire import figure

if TYPE_CHECKING:
    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver
    from support.wire import Stream, Wire

PER_SECOND, SECONDS = 10, 3
"""The rate under test, and for how long it is measured. A minute takes more time than the suite has."""


async def take_until(stream: Stream, wire: Wire, begun_us: list[int], count: int, done: asyncio.Event) -> None:
    """Ack what a stream delivers, and note when each lease began by Redis's clock: its fencing token says it."""
    while True:
        delivery = await stream.one()
        begun_us.append(delivery.fencing_token)
        if len(begun_us) >= count:
            done.set()
        assert await wire.ack(delivery) == []


async def test_a_rate_holds_over_four_replicas_with_eight_workers(bus: RedisBus) -> None:
    topic, count = unique_name(), PER_SECOND * SECONDS + 1
    begun_us: list[int] = []
    done = asyncio.Event()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(app_on(bus, sweep_interval="60s")) for _ in range(4)]
        await (await bus.replica()).topic(topic).configure(limits=Limits(rate=Rate(PER_SECOND, SECOND)))
        workers = [
            asyncio.ensure_future(take_until(await server.subscribe(topic), server, begun_us, count, done))
            for server in servers
            for _ in range(2)
        ]
        for number in range(2 * count // PER_SECOND):
            await servers[number % 4].dispatch(topic, *(f"{number}-{one}" for one in range(PER_SECOND)))
        async with asyncio.timeout(SECONDS + 30):
            await done.wait()
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
    begun_us.sort()
    took_us = begun_us[count - 1] - begun_us[0]
    figure(f"{count - 1} deliveries at a rate of {PER_SECOND} a second took {took_us / SECOND} s")
    assert took_us >= SECONDS * SECOND
    for first in begun_us:
        assert sum(first <= at < first + SECOND for at in begun_us) <= PER_SECOND + 1


async def test_a_slot_that_an_ack_frees_wakes_another_replica(bus: RedisBus) -> None:
    topic = unique_name()
    async with app_on(bus, sweep_interval="60s") as one, app_on(bus, sweep_interval="60s") as other:
        await (await bus.replica()).topic(topic).configure(limits=Limits(max_in_flight=1))
        streams = [await one.subscribe(topic), await other.subscribe(topic)]
        await one.dispatch(topic, *(f"e{number}" for number in range(6)))
        seen = []
        for _ in range(6):
            takers = [asyncio.ensure_future(stream.one()) for stream in streams]
            (first, *more), waiting = await asyncio.wait(takers, return_when=asyncio.FIRST_COMPLETED)
            assert not more, "one delivery at a time"
            seen.append(first.result().event.id)
            for taker in waiting:
                taker.cancel()
            await asyncio.wait(waiting)
            assert await one.ack(first.result()) == []
        assert sorted(seen) == [f"e{number}" for number in range(6)]


async def test_streams_of_every_replica_come_again_when_their_group_gets_its_first_limit(bus: RedisBus) -> None:
    """What they prefetch would count for the limit, and they learn of it when they start."""
    topic = unique_name()
    async with app_on(bus) as one, app_on(bus) as other:
        streams = [await one.subscribe(topic), await other.subscribe(topic)]
        assert not any(stream.started.limited for stream in streams)
        await (await bus.replica()).topic(topic).configure(limits=Limits(max_in_flight=5))
        for stream in streams:
            assert (await stream.closing()).reason == event_bus_pb2.Closing.REASON_REBALANCE
        # Those that know it stay, also when the limit changes.
        streams = [await one.subscribe(topic), await other.subscribe(topic)]
        assert all(stream.started.limited for stream in streams)
        await (await bus.replica()).topic(topic).configure(limits=Limits(max_in_flight=1))
        await one.dispatch(topic, "a", "b")
        takers = [asyncio.ensure_future(stream.one()) for stream in streams]
        (first,), waiting = await asyncio.wait(takers, return_when=asyncio.FIRST_COMPLETED)
        assert await one.ack(first.result()) == []
        assert {first.result().event.id, (await next(iter(waiting))).event.id} == {"a", "b"}


async def test_the_loss_of_the_heads_is_noticed_while_nothing_is_blocked(replica: Replica, bus: RedisBus) -> None:
    topic = replica.topic()
    await topic.join()
    await topic.dispatch(new_event("first", key="an order"))
    (held,) = await topic.lease()
    bus.raw.delete(bus.key(topic.name, "group:default:keys"))
    await replica.engine.expire_leases()
    await topic.dispatch(new_event("second", key="an order"))
    assert await topic.counts() == {EventState.LEASED: 1, EventState.BLOCKED: 1}
    await topic.ack(held)
    assert ids(await topic.lease()) == ["second"]


@pytest.mark.parametrize("name", ["slots", "opens", "tats", "pauses", "keys", "by_key", "blocked", "upcoming"])
async def test_a_lost_key_of_a_policy_stops_no_event(frozen_bus: RedisBus, name: str) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    await topic.configure(keys=KeyPolicy(2, Rate(10, SECOND)))
    await topic.dispatch(*(new_event(f"{key} {one}", key=key) for key in ("a", "b") for one in range(4)))
    held = await topic.lease_all()
    await topic.pause_key(held[0], for_us=SECOND)
    frozen_bus.raw.delete(frozen_bus.key(topic.name, f"group:default:{name}"))
    await replica.engine.expire_leases()
    done = set(await settle_all(replica, topic))
    await topic.redrive()
    done |= set(await settle_all(replica, topic))
    assert done | set(ids(held)) == {f"{key} {one}" for key in ("a", "b") for one in range(4)}


async def lose(bus: RedisBus, replica: Replica, topic: TopicDriver, name: str) -> None:
    """Redis loses a key of the group, and a replica sweeps."""
    assert bus.raw.delete(bus.key(topic.name, f"group:default:{name}")) == 1
    await replica.engine.expire_leases()


@pytest.mark.parametrize("slots", [3, 1])
async def test_lost_slots_are_restored_from_what_is_leased_and_ready(frozen_bus: RedisBus, slots: int) -> None:
    """With one slot, those that were under way when there were three still have theirs."""
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    await topic.configure(keys=KeyPolicy(3))
    await topic.dispatch(*(new_event(str(number), key="an order") for number in range(6)))
    held = await topic.lease(max_events=2)
    await topic.configure(keys=KeyPolicy(slots))
    assert await topic.counts() == {EventState.LEASED: 2, EventState.READY: 1, EventState.BLOCKED: 3}

    await lose(frozen_bus, replica, topic, "slots")

    assert await topic.counts() == {EventState.LEASED: 2, EventState.READY: 1, EventState.BLOCKED: 3}
    held += await topic.lease_all()
    assert ids(held) == ["0", "1", "2"]
    await topic.ack(held[0])
    held += await topic.lease_all()
    assert ids(held[3:]) == (["3"] if slots == 3 else [])
    await topic.ack(*held[1:])
    rest = await settle_all(replica, topic)
    assert rest == (["4", "5"] if slots == 3 else ["3", "4", "5"])
    assert not frozen_bus.raw.exists(frozen_bus.key(topic.name, "group:default:slots"))
    assert not frozen_bus.raw.hexists(frozen_bus.key(topic.name, "group:default:group"), "slotted")


async def test_the_mark_of_slots_is_restored_when_the_group_is_lost(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    await topic.configure(keys=KeyPolicy(2))
    await topic.dispatch(*(new_event(str(number), key="an order") for number in range(4)))
    await lose(frozen_bus, replica, topic, "group")
    assert len(await topic.lease_all()) == 2
    await lose(frozen_bus, replica, topic, "slots")
    assert await topic.lease_all() == []


async def test_a_rate_of_a_key_holds_again_after_its_count_was_lost(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    await topic.configure(keys=KeyPolicy(rate=Rate(1, SECOND)))
    await topic.dispatch(*(new_event(str(number), key="an order") for number in range(9)))
    await topic.ack(*await topic.lease_all())

    await lose(frozen_bus, replica, topic, "tats")

    begun_us: list[int] = []
    for _ in range(40):
        held = await topic.lease_all()
        await topic.ack(*held)
        begun_us += [replica.now_us()] * len(held)
        await replica.advance(100 * MILLISECOND)
    assert 3 <= len(begun_us) <= 4
    assert all(later - earlier >= SECOND for earlier, later in pairwise(begun_us))


async def test_a_pause_of_a_key_that_was_lost_ends_no_later_than_it_would_have(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    await topic.dispatch(*(new_event(str(number), key="an order") for number in range(3)))
    await topic.pause_key(*await topic.lease_all(), for_us=SECOND)

    await lose(frozen_bus, replica, topic, "pauses")

    await replica.advance(SECOND)
    assert await settle_all(replica, topic) == ["0", "1", "2"]
    assert not frozen_bus.raw.exists(frozen_bus.key(topic.name, "group:default:opens"))


async def settle_all(replica: Replica, topic: TopicDriver) -> list[str]:
    """Ack everything that a minute delivers."""
    found: list[str] = []
    for _ in range(60):
        held = await topic.lease_all()
        await topic.ack(*held)
        found += ids(held)
        await replica.advance(100 * MILLISECOND)
        await replica.engine.expire_leases()
    return found


async def test_policies_and_limits_leave_nothing_behind(frozen_bus: RedisBus) -> None:
    bus, replica = frozen_bus, await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    await topic.configure(limits=Limits(100, Rate(10_000, SECOND)), keys=KeyPolicy(on_dead=OnDead.HOLD))
    await topic.dispatch("before")
    await topic.ack(*await topic.lease_all())
    empty = bus.stored_keys()
    await topic.dispatch(*(new_event(key=f"key {number % 20}") for number in range(40)))
    await topic.dead_letter(*await topic.lease_all())
    await topic.purge()
    await topic.pause_for(*await topic.lease(max_events=1), for_us=SECOND)
    await replica.advance(SECOND)
    assert len(await settle_all(replica, topic)) == 20
    assert {key for key in bus.stored_keys() if not key.endswith(("rates", "minutes"))} <= empty
