"""An ack that leases, on Redis: it is one script, and a lost answer costs no lease."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR
from duebus_server.domain.model import DEFAULT_GROUP, Refill
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.redis_bus import lost_answers, noted_runs
from support.topics import PLENTY, WORKER, ids, ref

if TYPE_CHECKING:
    from duebus_server.domain.model import LeasedEvent
    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver


@pytest.fixture
async def held(topic: TopicDriver) -> LeasedEvent:
    """A leased event, behind which two more are due."""
    await topic.join()
    await topic.dispatch("held")
    lease = await topic.lease_one()
    await topic.dispatch(new_event("a"), new_event("b"))
    return lease


def refill_of(lease: LeasedEvent) -> Refill:
    """The room that an ack of this lease makes."""
    return Refill(WORKER, {lease.fencing_token: len(lease.body)}, PLENTY)


async def lose_an_ack(topic: TopicDriver, replica: Replica, held: LeasedEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ack and lease, and cancel the call before its answer."""
    with lost_answers(replica, monkeypatch) as ran:
        acking = asyncio.create_task(topic.engine.ack(topic.name, DEFAULT_GROUP, [ref(held)], refill_of(held)))
        await ran.wait()
        acking.cancel()
        await asyncio.wait([acking])
    assert await topic.counts() == {EventState.LEASED: 1, EventState.READY: 1}
    assert replica.recorder.handed_over(WORKER) == []


async def test_one_script_settles_and_leases(
    replica: Replica, topic: TopicDriver, held: LeasedEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    with noted_runs(replica, monkeypatch) as runs:
        batch = await topic.ack_and_lease(held)
    assert [name for name, _, _ in runs] == ["ack_and_lease"]
    assert (ids(batch.events), batch.has_more) == (["a"], True)


async def test_without_room_an_ack_is_sent_without_the_lease(
    replica: Replica, topic: TopicDriver, held: LeasedEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topic.join("other")
    others = await topic.lease("other", max_events=1)
    with noted_runs(replica, monkeypatch) as runs:
        await topic.engine.ack(topic.name, DEFAULT_GROUP, [ref(others[0])], refill_of(held))
    assert [name for name, _, _ in runs] == ["ack"]


async def test_a_session_takes_back_leases_that_it_was_not_told_of(
    replica: Replica, topic: TopicDriver, held: LeasedEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose_an_ack(topic, replica, held, monkeypatch)
    again = await topic.lease()
    assert [(event.event_id, event.attempt) for event in again] == [("a", 1), ("b", 1)]


async def test_a_stream_that_ends_with_a_lost_ack_keeps_nothing(
    bus: RedisBus, replica: Replica, topic: TopicDriver, held: LeasedEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose_an_ack(topic, replica, held, monkeypatch)
    await topic.shorten(HOUR)
    await topic.leave()
    other = (await bus.replica()).topic(topic.name)
    await other.join("other")
    assert [(event.event_id, event.attempt) for event in await other.lease("other")] == [("a", 1), ("b", 1)]


async def test_while_an_answer_is_lost_an_ack_leases_nothing(
    replica: Replica, topic: TopicDriver, held: LeasedEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = await topic.lease(max_events=1)
    with lost_answers(replica, monkeypatch) as ran:
        acking = asyncio.create_task(topic.engine.ack(topic.name, DEFAULT_GROUP, [ref(held)], refill_of(held)))
        await ran.wait()
        acking.cancel()
        await asyncio.wait([acking])
    assert await topic.engine.ack(topic.name, DEFAULT_GROUP, [ref(other)], refill_of(other)) == [None]
    assert replica.recorder.batches[WORKER] == []
    assert ids(await topic.lease()) == ["b"]


async def test_a_lease_that_redis_refuses_does_not_fail_the_ack(
    bus: RedisBus, replica: Replica, topic: TopicDriver, held: LeasedEvent
) -> None:
    """The session's next lease then takes back what the script may have leased."""
    key = bus.key(topic.name, f"group:{DEFAULT_GROUP}:suspects")
    bus.raw.set(key, "of another type")
    assert await topic.engine.ack(topic.name, DEFAULT_GROUP, [ref(held)], refill_of(held)) == [None]
    assert replica.recorder.batches[WORKER] == []
    bus.raw.delete(key)
    assert [(event.event_id, event.attempt) for event in await topic.lease()] == [("a", 1), ("b", 1)]


async def test_a_session_that_redis_has_lost_gets_its_events_by_a_lease(
    bus: RedisBus, replica: Replica, topic: TopicDriver, held: LeasedEvent
) -> None:
    bus.raw.delete(bus.key(topic.name, f"group:{DEFAULT_GROUP}:sessions"))
    assert await topic.engine.ack(topic.name, DEFAULT_GROUP, [ref(held)], refill_of(held)) == [None]
    assert replica.recorder.batches[WORKER] == []
    await topic.lease()  # it joins again
    assert ids(await topic.lease()) == ["a", "b"]
