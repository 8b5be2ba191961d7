"""A change that an operator makes through one replica applies to all at once, even if a notification is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.errors import MaxQueuedEventsReached, NotFound
from duebus_server.domain.model import DEFAULT_GROUP, LeaseFailureReason, LeaseRequest, SubscriberInfo
from duebus_server.domain.states import EventState
from duebus_server.engine.redis.partition import Partition
from support.builders import new_event, new_events, unique_name
from support.redis_app import app_on
from support.redis_bus import SIGNAL_TIMEOUT_S, RedisBus, Replica, redis_bus
from support.topics import TopicDriver, ids
from support.wire import Wire, figure

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable

    from duebus_server.engine.redis.transport.scripts import Script
    from support.redis_server import RedisServer

SETTLED = LeaseFailureReason.SETTLED
SOON_S = 20.0
"""Far sooner than a sweep. On an idle machine it takes a few milliseconds."""


@pytest.fixture
async def replica_a(replica: Replica) -> TopicDriver:
    """A topic with a subscriber, through replica a."""
    driver = replica.topic()
    await driver.join("session a")
    await driver.join()
    return driver


@pytest.fixture
async def replica_b(bus: RedisBus, replica_a: TopicDriver) -> TopicDriver:
    """The same topic through replica b, with its own subscriber."""
    driver = (await bus.replica()).topic(replica_a.name)
    await driver.join("session b")
    return driver


@pytest.fixture
async def pair(bus: RedisBus) -> AsyncIterator[tuple[Wire, Wire]]:
    """Two servers of one bus that do not sweep."""
    async with app_on(bus, sweep_interval="60s") as one, app_on(bus, sweep_interval="60s") as other:
        yield one, other


@pytest.fixture
async def own_bus(start_redis: Callable[..., RedisServer]) -> AsyncIterator[RedisBus]:
    """A bus on a Redis of the test's own."""
    async with redis_bus(start_redis().url) as opened:
        yield opened


# --- settings ---------------------------------------------------------------------------------------------------------


async def test_settings_changed_on_one_replica_apply_to_another_at_once(
    replica_a: TopicDriver, replica_b: TopicDriver
) -> None:
    await replica_b.dispatch("before")
    await replica_a.configure(max_queued=2, lease_us=7 * SECOND, max_retries=0)

    await replica_b.dispatch("second")
    assert isinstance(await replica_b.try_dispatch("third"), MaxQueuedEventsReached)
    held, _ = await replica_b.lease("session b")
    assert held.lease_expires_us - replica_b.harness.now_us() == pytest.approx(7 * SECOND, abs=SECOND)
    await replica_b.nack(held)
    assert await replica_a.state(held.event_id) is EventState.DEAD
    assert await replica_b.engine.config_of(replica_b.name) == await replica_a.engine.config_of(replica_a.name)

    await replica_a.configure(max_queued=0)
    await replica_b.dispatch("third")


async def test_a_retry_policy_of_a_group_applies_on_another_replica(
    replica_a: TopicDriver, replica_b: TopicDriver
) -> None:
    await replica_a.configure(max_retries=0)
    await replica_a.configure_group(max_retries=1, backoff_initial_us=MINUTE, backoff_max_us=MINUTE)
    await replica_a.dispatch("event")

    await replica_b.nack(await replica_b.lease_one("session b"))

    found = await replica_b.group_info("event")
    assert found.state is EventState.SCHEDULED
    assert found.max_retries == 1
    assert found.deliver_at_us - replica_b.harness.now_us() > 40 * SECOND


async def test_a_retention_set_on_one_replica_is_kept_by_another(
    replica_a: TopicDriver, replica_b: TopicDriver
) -> None:
    await replica_a.dispatch("dead")
    await replica_a.dead_letter(await replica_a.lease_one())
    sweep = replica_b.engine.expire_leases
    await sweep()
    assert await replica_b.counts() == {EventState.DEAD: 1}

    await replica_a.configure(dead_letter_retention_us=1)

    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while await replica_b.counts():
            await sweep()


async def test_a_retention_is_known_to_a_replica_that_starts_later(bus: RedisBus, replica_a: TopicDriver) -> None:
    await replica_a.dispatch("dead")
    await replica_a.dead_letter(await replica_a.lease_one())
    await replica_a.configure(dead_letter_retention_us=1)
    later = (await bus.replica()).topic(replica_a.name)

    await later.engine.expire_leases()

    assert await later.counts() == {}


async def test_invalid_settings_are_ignored(bus: RedisBus, replica_a: TopicDriver) -> None:
    garbage = [b"", b"x", b"nan", b"inf", b"-1", b"1e300", b"\xff"]
    defaults = await replica_a.engine.config_of(replica_a.name)
    for number, value in enumerate(garbage):
        for name in ("lease", "max_queued", "dedupe_window", "max_retries", "backoff_initial", "backoff_max", "what"):
            bus.raw.hset(bus.key(replica_a.name, "config"), name, value)
            bus.raw.hset(bus.key(replica_a.name, f"group:{DEFAULT_GROUP}:group"), f"{name}", value)
        assert await replica_a.engine.config_of(replica_a.name) == defaults
        assert (await replica_a.group()).retry_policy == defaults.retry_policy
        await replica_a.dispatch(f"e{number}")
        held = await replica_a.lease_one("session a")
        assert held.lease_expires_us - replica_a.harness.now_us() == pytest.approx(defaults.lease_us, abs=SECOND)
        assert await replica_a.nack(held, delay_us=0) == [None]
        assert await replica_a.ack(await replica_a.lease_one("session a")) == [None]


# --- pause and resume -------------------------------------------------------------------------------------------------


async def test_a_pause_on_one_server_applies_to_another_and_its_end_wakes_it(pair: tuple[Wire, Wire]) -> None:
    replica_a, replica_b = pair
    topic = unique_name()
    stream = await replica_b.subscribe(topic)
    await replica_a.admin.PauseGroup(admin_pb2.PauseGroupRequest(topic=topic))
    for wire in pair:
        await wire.dispatch(topic, f"through {wire is replica_a}")
    other = await replica_b.subscribe(unique_name())
    assert stream.come() == []
    assert (await replica_b.group(topic)).ready == 2

    began = asyncio.get_running_loop().time()
    await replica_a.admin.ResumeGroup(admin_pb2.ResumeGroupRequest(topic=topic))

    assert len(await stream.take(2)) == 2
    took_s = asyncio.get_running_loop().time() - began
    figure(f"resumed on one server, delivered by another after {took_s * 1e3:.1f} ms")
    assert took_s < SOON_S
    assert other.come() == []


async def test_a_paused_group_wakes_no_one_until_it_is_resumed(replica_a: TopicDriver, replica_b: TopicDriver) -> None:
    await replica_b.lease("session b")
    recorders = [replica_a.harness.recorder, replica_b.harness.recorder]
    for recorder in recorders:
        recorder.forget()
    await replica_a.pause()
    for recorder in recorders:  # pausing makes them check
        await recorder.until_due(replica_a.name, DEFAULT_GROUP, lambda _: True)
        recorder.forget()

    await replica_a.dispatch("event")
    assert await replica_b.lease("session b") == []
    assert await replica_b.extend() == []
    marker = replica_a.harness.topic()  # type: ignore[attr-defined]
    await replica_b.engine.join(marker.name, DEFAULT_GROUP, SubscriberInfo("marker", "", 0))
    await replica_b.engine.lease(marker.name, DEFAULT_GROUP, "marker", LeaseRequest(1, 1))
    await marker.dispatch("marker")
    await replica_b.harness.recorder.until_due(marker.name, DEFAULT_GROUP, lambda _: True)
    assert [due for recorder in recorders for due in recorder.dues if due.topic == replica_a.name] == []

    await replica_b.resume()
    for recorder in recorders:
        await recorder.until_due(replica_a.name, DEFAULT_GROUP, lambda _: True)


# --- deletions --------------------------------------------------------------------------------------------------------


async def test_streams_on_every_server_end_with_a_deletion(pair: tuple[Wire, Wire]) -> None:
    replica_a, replica_b = pair
    topic = unique_name()
    streams = {group: await replica_b.subscribe(topic, group=group) for group in ("one", "two")}
    await replica_a.dispatch(topic, "event")
    held = [await stream.one() for stream in streams.values()]

    await replica_a.admin.DeleteGroup(admin_pb2.DeleteGroupRequest(topic=topic, group="one"))
    assert (await streams["one"].closing()).reason == event_bus_pb2.Closing.REASON_GROUP_DELETED
    await replica_a.admin.DeleteTopic(admin_pb2.DeleteTopicRequest(topic=topic))
    assert (await streams["two"].closing()).reason == event_bus_pb2.Closing.REASON_TOPIC_DELETED

    failures = await replica_b.ack(*held)
    assert {failure.reason for failure in failures} == {event_bus_pb2.LeaseFailure.REASON_SETTLED}
    assert len(failures) == 2
    assert topic not in await replica_b.topic_names()


async def test_a_sweep_finds_a_deletion_whose_notification_was_lost(
    replica_a: TopicDriver, replica_b: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica_b.dispatch("event")
    held = await replica_b.lease_one("session b")
    unheard = asyncio.Event()
    monkeypatch.setattr(replica_b.engine._engine._presence._reactions, "deleted", lambda *_: unheard.set())  # type: ignore[attr-defined]
    await replica_a.delete_group()
    await asyncio.wait_for(unheard.wait(), SIGNAL_TIMEOUT_S)
    assert replica_b.harness.recorder.deletions == []

    await replica_b.engine.expire_leases()

    assert set(replica_b.harness.recorder.deletions) == {(replica_b.name, DEFAULT_GROUP)}
    assert replica_b.harness.recorder.ended["session b"] == [held.fencing_token]
    assert await replica_b.ack(held) == [SETTLED]


async def test_a_stream_ends_although_its_server_was_cut_off_during_the_deletion(own_bus: RedisBus) -> None:
    async with app_on(own_bus, sweep_interval="60s") as replica_a, app_on(own_bus, sweep_interval="300ms") as replica_b:
        topic = unique_name()
        stream = await replica_b.subscribe(topic)
        assert own_bus.raw.client_kill_filter(_type="pubsub") == 2
        await replica_a.admin.DeleteGroup(admin_pb2.DeleteGroupRequest(topic=topic))
        assert (await stream.closing()).reason == event_bus_pb2.Closing.REASON_GROUP_DELETED


async def test_a_session_that_was_not_notified_of_a_deletion_finds_out_when_it_leases(own_bus: RedisBus) -> None:
    replica_a = (await own_bus.replica()).topic()
    replica_b = (await own_bus.replica()).topic(replica_a.name)
    await replica_b.join("session b")
    await replica_b.dispatch("event")
    held = await replica_b.lease_one("session b")
    own_bus.raw.client_kill_filter(_type="pubsub")
    await replica_a.delete_group()

    with pytest.raises(NotFound):
        await replica_b.lease("session b")

    assert replica_b.harness.recorder.deletions == [(replica_b.name, DEFAULT_GROUP)]
    assert replica_b.harness.recorder.ended["session b"] == [held.fencing_token]
    assert await replica_b.ack(held) == [SETTLED]
    with pytest.raises(NotFound):
        await replica_b.adopt("session b", held)
    assert not own_bus.raw.exists(own_bus.key(replica_a.name, "groups")), (
        "none of these calls has created the group again"
    )


@pytest.mark.parametrize("partitions", [1, 4])
async def test_a_session_that_rejoins_does_not_recreate_a_deleted_group(
    own_bus: RedisBus, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    """It joins again because its replica was considered dead, or because the partitions changed."""
    replica_a = (await own_bus.replica()).topic()
    replica_b = (await own_bus.replica()).topic(replica_a.name)
    await replica_b.join("session b")
    if partitions > 1:
        await replica_a.configure(partitions=partitions)
    else:
        own_bus.raw.delete(own_bus.key(replica_a.name, f"group:{DEFAULT_GROUP}:sessions"))
    runner = replica_b.engine._engine._runner  # type: ignore[attr-defined]
    run, is_first = runner.run, iter([True])

    async def meets_a_deletion(script: Script, *arguments: Any, **more: Any) -> Any:
        if script.name == "join" and next(is_first, False):
            await replica_a.delete_group()
        return await run(script, *arguments, **more)

    monkeypatch.setattr(runner, "run", meets_a_deletion)
    with pytest.raises(NotFound, match="no group"):
        await replica_b.lease("session b")

    assert set(replica_b.harness.recorder.deletions) == {(replica_b.name, DEFAULT_GROUP)}
    assert [key for key in own_bus.stored_keys() if replica_a.name in key and key.endswith(":groups")] == []


@pytest.mark.parametrize("sweeps", [True, False])
async def test_a_redis_that_lost_everything_is_not_taken_for_a_deletion(own_bus: RedisBus, sweeps: bool) -> None:
    """A sweep or a lease finds no group, as after a deletion. But Redis does not know the replica either."""
    replica = await own_bus.replica()
    topic = replica.topic()
    sessions = ["one", "two"]
    for session in sessions:
        await topic.join(session)

    own_bus.raw.flushdb()
    if sweeps:
        await replica.engine.expire_leases()

    for session in sessions:
        await topic.lease(session)
    assert replica.recorder.deletions == []
    assert {subscriber.session_id for subscriber in (await topic.group()).subscribers} == set(sessions)


async def test_a_session_that_joins_after_a_deletion_survives_its_late_notification(replica_a: TopicDriver) -> None:
    deleted_us = replica_a.harness.now_us()
    await replica_a.delete_group()
    await replica_a.join("new session")
    replica_a.harness.recorder.forget()

    replica_a.engine._engine.notifications.deleted(Partition(replica_a.name), DEFAULT_GROUP, deleted_us)  # type: ignore[attr-defined]

    assert replica_a.harness.recorder.deletions == []
    await replica_a.dispatch("event")
    assert ids(await replica_a.lease("new session")) == ["event"]


async def test_a_topic_recreated_by_a_replica_that_knew_it_is_listed(
    replica_a: TopicDriver, replica_b: TopicDriver
) -> None:
    await replica_b.dispatch("before")
    await replica_a.delete()

    await replica_b.dispatch("after")

    assert [info.topic for info in await replica_a.engine.list_topics("", 10)] == [replica_a.name]
    assert await replica_a.queued() == 1


async def test_a_topic_that_was_empty_for_a_while_is_listed_again(replica: Replica, bus: RedisBus) -> None:
    replica_a = replica.topic()
    replica_b = (await bus.replica()).topic(replica_a.name)
    event = new_event()
    await replica_b.dispatch(event)
    await replica_b.cancel(event.id)
    assert await replica_a.engine.list_topics("", 10) == []

    await replica_b.dispatch("event")

    assert [info.topic for info in await replica_a.engine.list_topics("", 10)] == [replica_a.name]


async def test_topics_are_read_a_hundred_in_a_step(replica: Replica, runs: Counter[str]) -> None:
    topics = [replica.topic() for _ in range(250)]
    for topic in topics[::2]:
        await topic.join()
    for topic in topics:
        await topic.dispatch(new_event(delay_us=MINUTE))
    runs.clear()

    listed = await replica.engine.list_topics("", 1_000)

    assert [info.topic for info in listed] == sorted(topic.name for topic in topics)
    assert (runs["topic_infos"], runs["topic_info"]) == (3, 0)
    assert await replica.engine.queued() == 250


async def test_a_step_reads_fewer_topics_where_that_takes_long(replica: Replica, runs: Counter[str]) -> None:
    """Others wait meanwhile."""
    topics = [replica.topic() for _ in range(6)]
    for topic in topics:
        for group in range(60):
            await topic.join(group=f"g{group}")
    runs.clear()

    listed = await replica.engine.list_topics("", 1_000)

    assert [len(info.groups) for info in listed] == [60] * 6
    assert (runs["topic_infos"], runs["topic_info"]) == (2, 0)


async def test_a_topic_for_which_something_is_to_be_done_is_read_by_itself(
    frozen_bus: RedisBus, runs: Counter[str]
) -> None:
    replica = await frozen_bus.replica()
    held, keyed, idle = [replica.topic() for _ in range(3)]
    for topic in (held, keyed, idle):
        await topic.join()
    await held.dispatch("event")
    await held.lease(lease_us=SECOND)
    await keyed.dispatch(new_event(key="k", delay_us=SECOND))
    await replica.advance(SECOND)
    runs.clear()

    listed = {info.topic: info for info in await replica.engine.list_topics("", 10)}

    assert [listed[topic.name].groups[0].counts[EventState.READY] for topic in (held, keyed, idle)] == [1, 1, 0]
    assert (runs["topic_infos"], runs["topic_info"]) == (1, 2)
    await replica.engine.list_topics("", 10)
    assert (runs["topic_infos"], runs["topic_info"]) == (2, 2), "it was done"


async def test_a_list_shows_the_partitions_that_another_replica_has_made(bus: RedisBus, topic: TopicDriver) -> None:
    await topic.join()
    other = (await bus.replica()).topic(topic.name)
    await other.configure(partitions=2)
    await other.dispatch(*new_events(4))

    (listed,) = await topic.engine.list_topics("", 10)

    assert (listed.config.partitions, listed.queued, len(listed.groups)) == (2, 4, 1)


async def test_another_replica_finishes_an_interrupted_deletion(
    bus: RedisBus, replica_a: TopicDriver, replica_b: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first replica dies after it has deleted the group, and before it has deleted the group's events."""
    await replica_a.join("elsewhere", "other")
    for first in (0, 750):
        await replica_a.dispatch(*(f"e{first + number:04}" for number in range(750)))
    monkeypatch.setattr(replica_a.engine._engine.deletions, "dispose", AsyncMock())  # type: ignore[attr-defined]
    assert await replica_a.delete_group() == 1_500
    monkeypatch.undo()

    await replica_b.engine.expire_leases()

    left = {key.rpartition(":")[2] for key in bus.stored_keys() if ":deleted" in key}
    assert left == set()
    assert not bus.raw.exists(f"{bus.namespace}:deleting")
    assert await replica_a.queued() == 1_500, "the other group holds it"
    assert await replica_a.delete_group("other") == 1_500
    assert await replica_a.queued() == 0
