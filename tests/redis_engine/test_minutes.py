"""Counts by the minute are those of all replicas, and cost few commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.minutes import KEPT_MINUTES
from duebus_server.domain.model import DEFAULT_GROUP, LeaseBatch, LeasedEvent
from duebus_server.engine.redis.partitioned import minutes
from support.builders import new_event, new_events

if TYPE_CHECKING:
    from collections import Counter

    from duebus_server.domain.minutes import MinuteOfTopic
    from support.redis_bus import RedisBus
    from support.topics import TopicDriver

NOW_US = 1_767_225_600_000_000


async def minutes_of(topic: TopicDriver) -> list[MinuteOfTopic]:
    return await topic.engine.minutes(topic.name)


async def test_replicas_show_the_sum_of_what_all_of_them_did(frozen_bus: RedisBus) -> None:
    a, b = await frozen_bus.replica(), await frozen_bus.replica()
    at_a = a.topic()
    at_b = b.topic(at_a.name)
    await at_b.join()
    for _ in range(2):
        await at_a.dispatch(*new_events(3))
        await at_b.dispatch(*new_events(2))
        await at_b.ack(*await at_b.lease())
        await a.advance(5 * SECOND)
        await a.engine.expire_leases()
        await b.engine.expire_leases()

    shown = await minutes_of(at_a)

    assert [minute.dispatched for minute in shown] == [10]
    assert [(minute.groups[DEFAULT_GROUP].delivered, minute.groups[DEFAULT_GROUP].acked) for minute in shown] == [
        (10, 10)
    ]
    assert [(minute.dispatched, minute.groups.keys()) for minute in await minutes_of(at_b)] == [
        (minute.dispatched, minute.groups.keys()) for minute in shown
    ]
    assert (await at_a.group()).lateness == (await at_b.group()).lateness


async def test_a_replica_that_stops_saves_what_it_has_counted(frozen_bus: RedisBus) -> None:
    a, b = await frozen_bus.replica(), await frozen_bus.replica()
    topic = a.topic()
    await topic.dispatch("event")

    await a.engine.stop()

    assert [minute.dispatched for minute in await minutes_of(b.topic(topic.name))] == [1]


async def test_minutes_that_are_over_for_an_hour_are_removed(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    for _ in range(KEPT_MINUTES + 10):
        await topic.dispatch(new_event())
        await topic.ack(*await topic.lease())
        await replica.advance(MINUTE)
        await replica.engine.expire_leases()

    key = frozen_bus.key(topic.name, "minutes")
    assert frozen_bus.raw.hlen(key) <= 2 * KEPT_MINUTES
    assert 0 < frozen_bus.raw.ttl(key) <= KEPT_MINUTES * 60


async def test_a_busy_topic_is_saved_every_few_seconds(frozen_bus: RedisBus, runs: Counter[str]) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    for _ in range(30):
        await topic.dispatch(new_event())
        await replica.advance(SECOND)
        await replica.engine.expire_leases()

    assert 5 <= runs["add_minutes"] <= 10


async def test_an_idle_bus_saves_nothing(frozen_bus: RedisBus, runs: Counter[str]) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    for _ in range(30):
        assert await topic.lease() == []
        await replica.advance(SECOND)
        await replica.engine.expire_leases()

    assert runs["add_minutes"] == 0
    assert not frozen_bus.raw.exists(frozen_bus.key(topic.name, "minutes"))


async def test_a_sweep_saves_the_counts_of_a_few_topics(
    frozen_bus: RedisBus, runs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minutes, "SAVED_AT_ONCE", 3)
    replica = await frozen_bus.replica()
    topics = [replica.topic() for _ in range(7)]
    for topic in topics:
        await topic.dispatch(new_event())
    await replica.advance(5 * SECOND)

    saved = []
    for _ in range(3):
        await replica.engine.expire_leases()
        saved.append(runs["add_minutes"])

    assert saved == [3, 6, 7]
    assert [[minute.dispatched for minute in await minutes_of(topic)] for topic in topics] == [[1]] * 7


async def test_of_too_many_topics_and_groups_no_more_is_counted(
    frozen_bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minutes, "MAX_WAITING", 2)
    monkeypatch.setattr(minutes, "MAX_TALLIES", 3)
    counting = minutes.MinutesOfTopics((await frozen_bus.replica()).engine._runner, lambda _: pytest.fail("not asked"))
    event = LeasedEvent("event", b"", 1, NOW_US, NOW_US, 1, NOW_US, "")
    for number in range(5):
        counting.dispatched(f"topic {number}", 1)
        counting.delivered("topic 0", f"group {number}", LeaseBatch([event], None))

    assert [len(waiting.tallies) for waiting in counting._waiting.values()] == [3, 1]


async def test_counts_that_redis_refuses_are_lost_and_hide_nothing(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    frozen_bus.raw.set(frozen_bus.key(topic.name, "minutes"), "of another application")
    await topic.dispatch("event")
    await replica.advance(5 * SECOND)

    await replica.engine.expire_leases()

    assert not (await topic.group()).lateness
    assert await topic.queued() == 1
