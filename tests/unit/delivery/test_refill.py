"""An ack leases to the session whose full window it makes room in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from duebus_server.delivery.frames import DRAINING, Closing
from duebus_server.delivery.waker import FULL_ASKED
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from support.builders import new_event
from support.workers import settle_down
from unit.delivery.conftest import GROUP, TOPIC

if TYPE_CHECKING:
    from duebus_server.domain.model import LeaseRef
    from unit.delivery.conftest import Bench, Subscriber

TURNS = 10


async def full_subscriber(bench: Bench, max_events: int = 2) -> Subscriber:
    """A session with a full window of events a, b, ..., and more to get."""
    await bench.dispatch_elsewhere(*"abcdef")
    return await bench.subscribe(max_events)


async def acking(bench: Bench, *leases: LeaseRef) -> asyncio.Task[object]:
    """An ack that the engine has carried out but not answered."""
    bench.engine.latency = TURNS
    task = asyncio.create_task(bench.streams.ack(TOPIC, GROUP, leases))
    for _ in range(TURNS + 2):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_full_window_is_refilled_without_a_lease(bench: Bench) -> None:
    subscriber = await full_subscriber(bench)
    before = bench.lease_calls(subscriber)
    await bench.ack(*subscriber.leases)
    await bench.ack(subscriber.leases[-1])
    assert subscriber.ids == ["a", "b", "c", "d", "e"]
    assert bench.lease_calls(subscriber) == before
    assert len(subscriber.session.window) == 2


async def test_one_that_reads_slowly_is_refilled_as_far_as_its_window_allows(bench: Bench) -> None:
    subscriber = await full_subscriber(bench)
    subscriber.stop_reading()
    await bench.ack(*subscriber.leases)
    await settle_down()
    assert len(subscriber.session.window) == 2
    subscriber.resume_reading()
    await settle_down()
    assert subscriber.ids == ["a", "b", "c", "d"]


async def test_a_window_with_room_is_not_refilled(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch("a", "b")
    await bench.ack(subscriber.leases[0])
    assert bench.engine.refills == 0


async def test_a_full_window_that_has_got_everything_is_not_refilled(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_events=2)
    await bench.dispatch("a", "b")
    await bench.ack(*subscriber.leases)
    assert bench.engine.refills == 0
    await bench.dispatch("c")
    assert subscriber.ids == ["a", "b", "c"]


async def test_the_session_that_held_the_leases_is_refilled(bench: Bench) -> None:
    first, second = await full_subscriber(bench, 1), await bench.subscribe(1)
    await bench.ack(*second.leases)
    assert (first.ids, second.ids) == (["a"], ["b", "c"])
    await bench.ack(*first.leases)
    assert (first.ids, second.ids) == (["a", "d"], ["b", "c"])
    assert bench.engine.refills == 2


async def test_an_ack_asks_a_bounded_number_of_sessions(bench: Bench) -> None:
    await bench.dispatch_elsewhere(*[str(number) for number in range(2 * FULL_ASKED + 2)])
    subscribers = [await bench.subscribe(1) for _ in range(FULL_ASKED + 1)]
    await bench.ack(*subscribers[-1].leases)
    assert bench.engine.refills == 0
    await bench.ack(*subscribers[0].leases)
    assert bench.engine.refills == 1
    assert [len(subscriber.session.window) for subscriber in subscribers] == [1] * len(subscribers)


async def test_the_bytes_of_a_window_are_kept(bench: Bench) -> None:
    sizes = {"a": 60, "b": 40, "c": 50, "d": 50, "e": 1}
    await bench.dispatch_elsewhere(*[new_event(event, body=b"x" * size) for event, size in sizes.items()])
    subscriber = await bench.subscribe(max_bytes=100)
    assert subscriber.ids == ["a", "b"]
    await bench.ack(subscriber.leases[0])
    assert subscriber.ids == ["a", "b", "c"]
    await bench.ack(*subscriber.leases[1:])
    assert subscriber.ids == ["a", "b", "c", "d", "e"]


async def test_a_stalled_session_leases_one_event_by_itself(bench: Bench) -> None:
    subscriber = await full_subscriber(bench)
    subscriber.session.window.stalled = True
    await bench.ack(subscriber.leases[0])
    assert bench.engine.refills == 0
    assert subscriber.ids == ["a", "b", "c"]


async def test_leases_that_end_during_the_ack_make_room_for_a_lease(bench: Bench) -> None:
    subscriber = await full_subscriber(bench)
    task = await acking(bench, subscriber.leases[0])
    bench.engine.latency = 0
    await bench.engine.ack(TOPIC, GROUP, [subscriber.leases[1]])
    await task
    await settle_down()
    assert subscriber.ids == ["a", "b", "c", "d"]


async def test_a_stream_that_breaks_during_the_ack_ends_after_it(bench: Bench) -> None:
    subscriber = await full_subscriber(bench)
    task = await acking(bench, *subscriber.leases)
    bench.engine.latency = 0
    breaking = asyncio.create_task(subscriber.vanish())
    await settle_down()
    assert task.done()
    await breaking
    other = await bench.subscribe()
    await bench.advance(SECOND)
    assert sorted(other.ids) == ["c", "d", "e", "f"]
    info = await bench.engine.get_event(TOPIC, "c")
    assert info.groups[0].attempts == 1


async def test_a_stream_that_is_closed_during_the_ack_sends_what_it_was_leased(bench: Bench) -> None:
    subscriber = await full_subscriber(bench)
    task = await acking(bench, *subscriber.leases)
    subscriber.session.close_soon(DRAINING)
    await task
    await settle_down()
    assert subscriber.ids == ["a", "b", "c", "d"]
    assert isinstance(subscriber.frames[-1], Closing)


async def test_after_an_ack_that_failed_the_session_leases_by_itself(bench: Bench) -> None:
    subscriber = await full_subscriber(bench)
    bench.engine.unreachable = True
    with pytest.raises(DispatcherNotWorking):
        await bench.streams.ack(TOPIC, GROUP, subscriber.leases)
    bench.engine.unreachable = False
    await settle_down()
    await bench.ack(*subscriber.leases)
    assert subscriber.ids == ["a", "b", "c", "d"]


async def test_after_an_ack_that_was_cancelled_the_session_leases_by_itself(bench: Bench) -> None:
    subscriber = await full_subscriber(bench)
    task = await acking(bench, *subscriber.leases)
    bench.engine.latency = 0
    before = bench.lease_calls(subscriber)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await settle_down()
    assert bench.lease_calls(subscriber) > before
