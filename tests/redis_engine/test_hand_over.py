"""Hand-over on Redis: one script stores and leases, the body stays on the server, and a lost answer costs no lease."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import DEFAULT_GROUP, DispatchRequest, LeaseRequest, Reservation
from duebus_server.domain.states import EventState
from duebus_server.engine.redis.engine import DISPATCH
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.replicas.sessions import Unanswered
from support.builders import new_event
from support.redis_bus import lost_answers, noted_runs
from support.topics import PLENTY, WORKER, ids

if TYPE_CHECKING:
    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver

ROOM = LeaseRequest(1_000, PLENTY)
RESERVED = [Reservation(DEFAULT_GROUP, WORKER, ROOM)]


@pytest.fixture
async def joined(topic: TopicDriver) -> TopicDriver:
    """A topic with a session that has leased everything."""
    await topic.join()
    assert await topic.lease() == []
    return topic


async def lose_a_hand_over(topic: TopicDriver, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dispatch two events that are handed over, and cancel the call before its answer."""
    request = DispatchRequest([new_event("a"), new_event("b")])
    with lost_answers(replica, monkeypatch) as ran:
        dispatching = asyncio.create_task(topic.engine.dispatch(topic.name, [request], RESERVED))
        await ran.wait()
        dispatching.cancel()
        await asyncio.wait([dispatching])
    assert await topic.counts() == {EventState.LEASED: 2}
    assert replica.recorder.handed_over(WORKER) == []


async def test_one_script_stores_and_leases_and_does_not_return_the_bodies(
    bus: RedisBus, replica: Replica, joined: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"large" * 10_000
    with noted_runs(replica, monkeypatch) as runs:
        batch = await joined.hand_over(new_event("event", body=body))
    assert batch.events[0].body == body
    ((name, _, answer),) = runs
    assert name == "dispatch"
    assert len(repr(answer)) < 500
    assert not bus.raw.exists(bus.key(joined.name, f"group:{DEFAULT_GROUP}:waiting"))
    with noted_runs(replica, monkeypatch) as runs:
        assert await joined.ack(*batch.events) == [None]
    assert [name for name, _, _ in runs] == ["ack"]


async def test_a_hand_over_stores_what_a_lease_would(bus: RedisBus, replica: Replica, joined: TopicDriver) -> None:
    """Layouts, figures and places are the same, so every script can read them."""
    kinds = {"plain": new_event("plain"), "own retries": new_event("own", max_retries=300), "made": new_event()}
    await joined.hand_over(*kinds.values())
    other = replica.topic()
    await other.join()
    await other.dispatch(*kinds.values())
    await other.lease()
    stored = [bus.contents(each.name) for each in (joined, other)]
    keys = [{key.split("}:")[1] for key in one} for one in stored]
    assert keys[0] == keys[1]
    records = [bus.raw.hgetall(bus.key(each.name, f"group:{DEFAULT_GROUP}:records")) for each in (joined, other)]
    assert {key: len(value) for key, value in records[0].items()} == {
        key: len(value) for key, value in records[1].items()
    }


async def test_a_session_takes_back_leases_that_it_was_not_told_of(
    replica: Replica, joined: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose_a_hand_over(joined, replica, monkeypatch)
    again = await joined.lease()
    assert [(event.event_id, event.attempt) for event in again] == [("a", 1), ("b", 1)]


async def test_after_a_lost_answer_the_session_is_told_that_something_is_due(
    replica: Replica, joined: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several partitions, the answer of one is lost."""
    replica.recorder.forget()
    await lose_a_hand_over(joined, replica, monkeypatch)
    assert [due for due in replica.recorder.dues if due.at_us <= replica.now_us()]


async def test_a_stream_that_ends_with_a_lost_hand_over_keeps_nothing(
    bus: RedisBus, replica: Replica, joined: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose_a_hand_over(joined, replica, monkeypatch)
    await joined.shorten(HOUR)
    await joined.leave()
    other = (await bus.replica()).topic(joined.name)
    await other.join("other")
    assert [(event.event_id, event.attempt) for event in await other.lease("other")] == [("a", 1), ("b", 1)]


async def test_while_an_answer_is_lost_nothing_is_handed_over(
    replica: Replica, joined: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session must first lease, which takes back the leases that were not reported to it."""
    await lose_a_hand_over(joined, replica, monkeypatch)
    await joined.engine.dispatch(joined.name, [DispatchRequest([new_event("c")])], RESERVED)
    assert replica.recorder.batches[WORKER] == []
    assert ids(await joined.lease()) == ["a", "b", "c"]


async def test_a_dispatch_that_comes_through_late_stores_and_leases_nothing_to_who_gave_it_up(
    bus: RedisBus, replica: Replica, joined: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a dispatch that never reached Redis, as far as its session knows
    session = replica.engine._engine.notifications.sessions.find(Partition(joined.name), DEFAULT_GROUP, WORKER)
    assert session is not None
    with noted_runs(replica, monkeypatch) as runs:
        await joined.hand_over("before")
    arguments = runs[0][1]
    await joined.ack(*replica.recorder.handed_over(WORKER))
    session.unanswered.add(Unanswered.LEASE)
    assert await joined.lease() == []
    # when a command of that round still reaches Redis
    other_replica = await bus.replica()
    await other_replica.engine._engine._runner.run(DISPATCH[True, False], Partition(joined.name), *arguments)
    # then the event waits, and the session gets it when it leases
    assert await joined.counts() == {}, "the id is remembered, so nothing is stored twice"
    late = [one.replace(b"before", b"behind") if isinstance(one, bytes) else one for one in arguments]
    await other_replica.engine._engine._runner.run(DISPATCH[True, False], Partition(joined.name), *late)
    assert await joined.counts() == {EventState.READY: 1}


async def test_a_session_that_redis_has_lost_gets_its_events_by_a_lease(
    bus: RedisBus, replica: Replica, joined: TopicDriver
) -> None:
    bus.raw.delete(bus.key(joined.name, f"group:{DEFAULT_GROUP}:sessions"))
    replica.recorder.forget()
    await joined.engine.dispatch(joined.name, [DispatchRequest([new_event("event")])], RESERVED)
    assert replica.recorder.batches[WORKER] == []
    assert replica.recorder.dues
    await joined.lease()  # it joins again
    assert ids(await joined.lease()) == ["event"]


async def test_a_refused_dispatch_leaves_the_session_as_it_was(
    bus: RedisBus, replica: Replica, joined: TopicDriver
) -> None:
    """Redis has answered that it leased nothing, so the next dispatch hands over."""
    key = bus.key(joined.name, f"group:{DEFAULT_GROUP}:waiting")
    bus.raw.set(key, "of another type")
    with pytest.raises(DispatcherNotWorking):
        await joined.hand_over("refused")
    bus.raw.delete(key)
    assert ids((await joined.hand_over("event")).events) == ["event"]


async def test_other_replicas_are_told_only_of_what_waits(bus: RedisBus, replica: Replica, joined: TopicDriver) -> None:
    other_replica = await bus.replica()
    topic_elsewhere = other_replica.topic(joined.name)
    await topic_elsewhere.join("elsewhere")
    await topic_elsewhere.lease("elsewhere")
    await joined.lease()
    other_replica.recorder.forget()
    await joined.hand_over("handed over")
    await joined.hand_over("handed over too", "too much", room=LeaseRequest(1, PLENTY))
    await other_replica.recorder.until_due(
        joined.name, DEFAULT_GROUP, lambda at_us: at_us <= other_replica.now_us() + HOUR
    )
    assert ids(await topic_elsewhere.lease("elsewhere")) == ["too much"]
    assert len(other_replica.recorder.dues) == 1
