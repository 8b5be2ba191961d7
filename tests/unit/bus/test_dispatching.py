"""Dispatch to one engine or several."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from duebus_server.bus import dispatching
from duebus_server.bus.dispatching import DispatchCommand
from duebus_server.bus.engines import EngineStatus
from duebus_server.delivery.frames import Deliveries
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, MaxQueuedEventsReached, PartialDispatch
from duebus_server.domain.event_ids import EventIds
from duebus_server.domain.model import DispatchRequest, NewEvent
from support.engines import START_US
from support.workers import settle_down
from unit.bus.conftest import LOCAL, REDIS, TOPIC, command

if TYPE_CHECKING:
    from unit.bus.conftest import Bus

FULL = MaxQueuedEventsReached("full", metadata={"topic": "orders"}, retry_after_us=7)


async def test_the_first_engine_is_the_default(bus: Bus) -> None:
    await bus.dispatch("a")
    assert (await bus.local.queued(), await bus.other.queued()) == (1, 0)


async def test_a_waiting_session_gets_its_events_before_the_dispatch_is_answered(bus: Bus) -> None:
    async with bus.subscribing.subscribe(command()) as subscription:
        frame = asyncio.ensure_future(anext(subscription.session.frames()))
        await settle_down()
        assert not frame.done()

        await bus.dispatch("a")

        assert frame.done()
        assert isinstance(await frame, Deliveries)


@pytest.mark.parametrize(("partitions", "sizes"), [(1, [1, 2, 2]), (2, [1, 4])])
async def test_what_arrives_meanwhile_shares_a_call_with_room_for_each_partition(
    partitions: int, sizes: list[int], bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "MAX_EVENTS_AT_ONCE", 2)
    bus.other.partition_count = partitions

    await asyncio.gather(*(bus.dispatch(name, engines=[REDIS]) for name in "abcde"))

    assert bus.other.dispatched == sizes


async def test_each_named_engine_stores_the_events_once(bus: Bus) -> None:
    answer = await bus.dispatch("a", "b", engines=[REDIS, LOCAL, REDIS])
    assert answer.event_ids == ["a", "b"]
    assert (await bus.local.queued(), await bus.other.queued()) == (2, 2)


async def test_a_failure_of_the_first_engine_stores_nothing(bus: Bus) -> None:
    bus.other.failure = FULL
    with pytest.raises(MaxQueuedEventsReached) as caught:
        await bus.dispatch("a", engines=[REDIS, LOCAL])
    assert caught.value is FULL
    assert await bus.local.queued() == 0


async def test_a_failure_of_a_later_engine_names_the_engines_that_hold_the_events(bus: Bus) -> None:
    bus.other.failure = FULL
    with pytest.raises(PartialDispatch) as caught:
        await bus.dispatch("a", "b", engines=[LOCAL, REDIS], request_id="r-1")
    error = caught.value
    assert (error.cause, error.stored_engines, error.event_ids) == (FULL, (LOCAL,), ("a", "b"))
    assert (error.reason, error.retry_after_us) == ("MAX_QUEUED_EVENTS_REACHED", 7)
    assert error.metadata == {"topic": "orders", "stored_engines": "local"}

    bus.other.failure = None
    answer = await bus.dispatch("a", "b", engines=[LOCAL, REDIS], request_id="r-1")
    assert answer.event_ids == ["a", "b"]
    assert (await bus.local.queued(), await bus.other.queued()) == (2, 2), "repeating it is safe"


async def test_an_engine_that_has_stored_some_events_is_named_among_those_that_hold_them(bus: Bus) -> None:
    """A dispatch to several partitions stores part of its events if one of them fails."""
    bus.other.failure = PartialDispatch(FULL, [REDIS], ["b"])
    with pytest.raises(PartialDispatch) as caught:
        await bus.dispatch("a", "b", engines=[LOCAL, REDIS], request_id="r-1")
    error = caught.value
    assert (error.cause, error.stored_engines, error.event_ids) == (FULL, (LOCAL, REDIS), ("a", "b"))


async def test_a_repeated_request_stores_its_events_under_the_ids_of_the_first_time_on_every_engine(bus: Bus) -> None:
    def request(now_us: int) -> DispatchRequest:
        event_id = EventIds(now_us, "r-1").at(0)
        return DispatchRequest([NewEvent(event_id, b"rest", id_is_generated=True)], "r-1")

    bus.other.failure = FULL
    command = DispatchCommand(TOPIC, request(START_US), [LOCAL, REDIS])
    with pytest.raises(PartialDispatch) as caught:
        await bus.dispatching.dispatch(command)

    bus.other.failure = None
    later = replace(command, request=request(START_US + SECOND))
    answer = await bus.dispatching.dispatch(later)

    (event_id,) = answer.event_ids
    assert caught.value.event_ids == (event_id,)
    for engine in (bus.local, bus.other):
        assert (await engine.get_event(TOPIC, event_id)).body == b"rest"


async def test_an_event_is_a_duplicate_if_it_added_nothing_to_any_engine(bus: Bus) -> None:
    await bus.dispatch("a", "b", engines=[LOCAL])
    await bus.dispatch("b", engines=[REDIS])
    answer = await bus.dispatch("a", "b", "c", engines=[LOCAL, REDIS])
    assert answer.duplicate_event_ids == ["b"]


async def test_a_draining_engine_refuses_a_dispatch_and_no_other_engine_stores_it(bus: Bus) -> None:
    bus.running[1].status = EngineStatus.DRAINING
    with pytest.raises(DispatcherNotWorking) as caught:
        await bus.dispatch("a", engines=[LOCAL, REDIS])
    assert caught.value.metadata == {"engine": "redis"}
    assert caught.value.retry_after_us is not None
    assert await bus.local.queued() == 0
    await bus.dispatch("a", engines=[LOCAL])
