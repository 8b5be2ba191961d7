"""Dispatch to one engine or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.bus.engines import EngineStatus
from duebus_server.domain.errors import DispatcherNotWorking, MaxQueuedEventsReached, PartialDispatch
from unit.bus.conftest import LOCAL, REDIS

if TYPE_CHECKING:
    from unit.bus.conftest import Bus

FULL = MaxQueuedEventsReached("full", metadata={"topic": "orders"}, retry_after_us=7)


async def test_the_first_engine_is_the_default(bus: Bus) -> None:
    await bus.dispatch("a")
    assert (await bus.local.queued(), await bus.other.queued()) == (1, 0)


async def test_each_engine_that_is_named_stores_the_events_once(bus: Bus) -> None:
    answer = await bus.dispatch("a", "b", engines=[REDIS, LOCAL, REDIS])
    assert answer.event_ids == ["a", "b"]
    assert (await bus.local.queued(), await bus.other.queued()) == (2, 2)


async def test_a_failure_of_the_first_engine_stores_nothing(bus: Bus) -> None:
    bus.other.failure = FULL
    with pytest.raises(MaxQueuedEventsReached) as caught:
        await bus.dispatch("a", engines=[REDIS, LOCAL])
    assert caught.value is FULL
    assert await bus.local.queued() == 0


async def test_a_failure_of_a_later_engine_says_which_ones_hold_the_events(bus: Bus) -> None:
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


async def test_an_event_is_a_duplicate_when_it_added_nothing_anywhere(bus: Bus) -> None:
    await bus.dispatch("a", "b", engines=[LOCAL])
    await bus.dispatch("b", engines=[REDIS])
    answer = await bus.dispatch("a", "b", "c", engines=[LOCAL, REDIS])
    assert answer.duplicate_event_ids == ["b"]


async def test_an_engine_that_drains_takes_nothing_and_none_of_the_others_does(bus: Bus) -> None:
    bus.running[1].status = EngineStatus.DRAINING
    with pytest.raises(DispatcherNotWorking) as caught:
        await bus.dispatch("a", engines=[LOCAL, REDIS])
    assert caught.value.metadata == {"engine": "redis"}
    assert caught.value.retry_after_us is not None
    assert await bus.local.queued() == 0
    await bus.dispatch("a", engines=[LOCAL])
