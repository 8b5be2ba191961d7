"""The memory of a deletion is released in pieces, other tasks run in between, and nothing is left."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, ManualClock
from duebus_server.domain.model import DispatchAnswer, DispatchRequest, SubscriberInfo
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.engine.local.disposal import Disposal
from duebus_server.engine.local.records import StoredEvent
from support.builders import new_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TOPIC, GROUP = "orders", "billing"
EVENTS = 20_000
ORIGIN = "the tests of disposal"
"""Distinguishes the events of these tests from those of other tests."""


@pytest.fixture
async def engine() -> AsyncIterator[LocalEngine]:
    """An engine with many events in one group."""
    engine = LocalEngine(ManualClock(0), TopicConfig())
    await engine.start()
    await engine.join(TOPIC, GROUP, SubscriberInfo("session", "", 0))
    for part in range(EVENTS // 1_000):
        events = [new_event(f"{part}.{number}", delay_us=HOUR * (number % 2)) for number in range(1_000)]
        await engine.dispatch(TOPIC, [DispatchRequest(events, origin=ORIGIN)])
    yield engine
    await engine.stop()


async def turns_during(deleting: asyncio.Future[int]) -> int:
    """How many turns other tasks get until it is done."""
    turns = 0
    while not deleting.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


@pytest.mark.parametrize("what", ["group", "topic"])
async def test_other_tasks_run_during_a_deletion(engine: LocalEngine, what: str) -> None:
    deletion = engine.delete_group(TOPIC, GROUP) if what == "group" else engine.delete_topic(TOPIC)
    deleting = asyncio.ensure_future(deletion)

    turns = await turns_during(deleting)

    assert deleting.result() == EVENTS
    assert turns >= EVENTS // 1_024  # a piece is a block of the index


async def test_deleted_events_are_invisible_at_once(engine: LocalEngine) -> None:
    deleting = asyncio.ensure_future(engine.delete_topic(TOPIC))
    await asyncio.sleep(0)

    assert not deleting.done()
    assert await engine.list_topics("", 10) == []
    assert await engine.queued() == 0
    await engine.dispatch(TOPIC, [DispatchRequest([new_event("0.0")])])
    assert (await engine.get_topic(TOPIC)).queued == 1
    await deleting
    assert (await engine.get_topic(TOPIC)).queued == 1


async def test_an_event_of_a_deleted_group_is_a_duplicate_during_and_after_its_release(
    engine: LocalEngine,
) -> None:
    deleting = asyncio.ensure_future(engine.delete_group(TOPIC, GROUP))
    await asyncio.sleep(0)
    assert not deleting.done()

    # one in the first piece, and one in the last
    again = [DispatchRequest([new_event("0.0"), new_event("19.999")])]
    (during,) = await engine.dispatch(TOPIC, again)
    await deleting
    (after,) = await engine.dispatch(TOPIC, again)

    assert isinstance(during, DispatchAnswer)
    assert during.duplicate_event_ids == ["0.0", "19.999"]
    assert after == during


async def test_an_interrupted_deletion_is_finished_by_the_sweep(engine: LocalEngine) -> None:
    await engine.join(TOPIC, "other", SubscriberInfo("session", "", 0))
    deleting = asyncio.ensure_future(engine.delete_group(TOPIC, GROUP))
    await asyncio.sleep(0)
    deleting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deleting
    assert 0 < await engine.queued() < EVENTS

    await engine.expire_leases()

    assert await engine.queued() == 0


async def test_nothing_of_a_deleted_topic_is_kept(engine: LocalEngine) -> None:
    await engine.delete_topic(TOPIC)

    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is StoredEvent and each.arrival.origin == ORIGIN]


async def test_two_deletions_can_run_at_the_same_time() -> None:
    disposal = Disposal()
    done: list[str] = []

    def pieces(name: str) -> Iterator[None]:
        for number in range(3):
            done.append(f"{name}{number}")
            yield

    disposal.add(pieces("a"))
    disposal.add(pieces("b"))
    await asyncio.gather(disposal.run(), disposal.run())

    assert done == ["a0", "a1", "a2", "b0", "b1", "b2"]
