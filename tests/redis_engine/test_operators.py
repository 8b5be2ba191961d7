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
from support.builders import new_event, unique_name
from support.redis_app import app_on
from support.redis_bus import SIGNAL_TIMEOUT_S, RedisBus, Replica, redis_bus
from support.topics import TopicDriver, ids
from support.wire import Wire, figure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from duebus_server.engine.redis.transport.scripts import Script
    from support.redis_server import RedisServer

SETTLED = LeaseFailureReason.SETTLED
SOON_S = 5.0
"""Far sooner than a sweep. On an idle machine it takes a few milliseconds."""


@pytest.fixture
async def here(replica: Replica) -> TopicDriver:
    """A topic with a subscriber, through one replica."""
    driver = replica.topic()
    await driver.join("session here")
    await driver.join()
    return driver


@pytest.fixture
async def there(bus: RedisBus, here: TopicDriver) -> TopicDriver:
    """The same topic through another one, with its own subscriber."""
    driver = (await bus.replica()).topic(here.name)
    await driver.join("session there")
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


async def test_settings_changed_on_one_replica_apply_to_another_at_once(here: TopicDriver, there: TopicDriver) -> None:
    await there.dispatch("before")
    await here.configure(max_queued=2, lease_us=7 * SECOND, max_retries=0)

    await there.dispatch("second")
    assert isinstance(await there.try_dispatch("third"), MaxQueuedEventsReached)
    held, _ = await there.lease("session there")
    assert held.lease_expires_us - there.harness.now_us() == pytest.approx(7 * SECOND, abs=SECOND)
    await there.nack(held)
    assert await here.state(held.event_id) is EventState.DEAD
    assert await there.engine.config_of(there.name) == await here.engine.config_of(here.name)

    await here.configure(max_queued=0)
    await there.dispatch("third")


async def test_a_retry_policy_of_a_group_applies_on_another_replica(here: TopicDriver, there: TopicDriver) -> None:
    await here.configure(max_retries=0)
    await here.configure_group(max_retries=1, backoff_initial_us=MINUTE, backoff_max_us=MINUTE)
    await here.dispatch("event")

    await there.nack(await there.lease_one("session there"))

    found = await there.group_info("event")
    assert found.state is EventState.SCHEDULED
    assert found.max_retries == 1
    assert found.deliver_at_us - there.harness.now_us() > 40 * SECOND


async def test_a_retention_set_on_one_replica_is_kept_by_another(here: TopicDriver, there: TopicDriver) -> None:
    await here.dispatch("dead")
    await here.dead_letter(await here.lease_one())
    sweep = there.engine.expire_leases
    await sweep()
    assert await there.counts() == {EventState.DEAD: 1}

    await here.configure(dead_letter_retention_us=1)

    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while await there.counts():
            await sweep()


async def test_a_retention_is_known_to_a_replica_that_starts_later(bus: RedisBus, here: TopicDriver) -> None:
    await here.dispatch("dead")
    await here.dead_letter(await here.lease_one())
    await here.configure(dead_letter_retention_us=1)
    later = (await bus.replica()).topic(here.name)

    await later.engine.expire_leases()

    assert await later.counts() == {}


async def test_invalid_settings_are_ignored(bus: RedisBus, here: TopicDriver) -> None:
    garbage = [b"", b"x", b"nan", b"inf", b"-1", b"1e300", b"\xff"]
    defaults = await here.engine.config_of(here.name)
    for number, value in enumerate(garbage):
        for name in ("lease", "max_queued", "dedupe_window", "max_retries", "backoff_initial", "backoff_max", "what"):
            bus.raw.hset(bus.key(here.name, "config"), name, value)
            bus.raw.hset(bus.key(here.name, f"group:{DEFAULT_GROUP}:group"), f"{name}", value)
        assert await here.engine.config_of(here.name) == defaults
        assert (await here.group()).retry_policy == defaults.retry_policy
        await here.dispatch(f"e{number}")
        held = await here.lease_one("session here")
        assert held.lease_expires_us - here.harness.now_us() == pytest.approx(defaults.lease_us, abs=SECOND)
        assert await here.nack(held, delay_us=0) == [None]
        assert await here.ack(await here.lease_one("session here")) == [None]


# --- pause and resume -------------------------------------------------------------------------------------------------


async def test_a_pause_on_one_server_applies_to_another_and_its_end_wakes_it(pair: tuple[Wire, Wire]) -> None:
    here, there = pair
    topic = unique_name()
    stream = await there.subscribe(topic)
    await here.admin.PauseGroup(admin_pb2.PauseGroupRequest(topic=topic))
    for wire in pair:
        await wire.dispatch(topic, f"through {wire is here}")
    other = await there.subscribe(unique_name())
    assert stream.come() == []
    assert (await there.group(topic)).ready == 2

    began = asyncio.get_running_loop().time()
    await here.admin.ResumeGroup(admin_pb2.ResumeGroupRequest(topic=topic))

    assert len(await stream.take(2)) == 2
    took_s = asyncio.get_running_loop().time() - began
    figure(f"resumed on one server, delivered by another after {took_s * 1e3:.1f} ms")
    assert took_s < SOON_S
    assert other.come() == []


async def test_a_paused_group_wakes_no_one_until_it_is_resumed(here: TopicDriver, there: TopicDriver) -> None:
    await there.lease("session there")
    told = [here.harness.heard, there.harness.heard]
    for recorder in told:
        recorder.forget()
    await here.pause()
    for recorder in told:  # pausing makes them check
        await recorder.until_due(here.name, DEFAULT_GROUP, lambda _: True)
        recorder.forget()

    await here.dispatch("event")
    assert await there.lease("session there") == []
    assert await there.extend() == []
    marker = here.harness.topic()  # type: ignore[attr-defined]
    await there.engine.join(marker.name, DEFAULT_GROUP, SubscriberInfo("marker", "", 0))
    await there.engine.lease(marker.name, DEFAULT_GROUP, "marker", LeaseRequest(1, 1))
    await marker.dispatch("marker")
    await there.harness.heard.until_due(marker.name, DEFAULT_GROUP, lambda _: True)
    assert [due for recorder in told for due in recorder.dues if due.topic == here.name] == []

    await there.resume()
    for recorder in told:
        await recorder.until_due(here.name, DEFAULT_GROUP, lambda _: True)


# --- deletions --------------------------------------------------------------------------------------------------------


async def test_streams_on_every_server_end_with_a_deletion(pair: tuple[Wire, Wire]) -> None:
    here, there = pair
    topic = unique_name()
    streams = {group: await there.subscribe(topic, group=group) for group in ("one", "two")}
    await here.dispatch(topic, "event")
    held = [await stream.one() for stream in streams.values()]

    await here.admin.DeleteGroup(admin_pb2.DeleteGroupRequest(topic=topic, group="one"))
    assert (await streams["one"].closing()).reason == event_bus_pb2.Closing.REASON_GROUP_DELETED
    await here.admin.DeleteTopic(admin_pb2.DeleteTopicRequest(topic=topic))
    assert (await streams["two"].closing()).reason == event_bus_pb2.Closing.REASON_TOPIC_DELETED

    failures = await there.ack(*held)
    assert {failure.reason for failure in failures} == {event_bus_pb2.LeaseFailure.REASON_SETTLED}
    assert len(failures) == 2
    assert topic not in await there.topic_names()


async def test_a_sweep_finds_a_deletion_whose_notification_was_lost(
    here: TopicDriver, there: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await there.dispatch("event")
    held = await there.lease_one("session there")
    unheard = asyncio.Event()
    monkeypatch.setattr(there.engine._engine._presence._reactions, "deleted", lambda *_: unheard.set())  # type: ignore[attr-defined]
    await here.delete_group()
    await asyncio.wait_for(unheard.wait(), SIGNAL_TIMEOUT_S)
    assert there.harness.heard.deletions == []

    await there.engine.expire_leases()

    assert set(there.harness.heard.deletions) == {(there.name, DEFAULT_GROUP)}
    assert there.harness.heard.ended["session there"] == [held.fencing_token]
    assert await there.ack(held) == [SETTLED]


async def test_a_stream_ends_although_its_server_was_cut_off_during_the_deletion(own_bus: RedisBus) -> None:
    async with app_on(own_bus, sweep_interval="60s") as here, app_on(own_bus, sweep_interval="300ms") as there:
        topic = unique_name()
        stream = await there.subscribe(topic)
        assert own_bus.raw.client_kill_filter(_type="pubsub") == 2
        await here.admin.DeleteGroup(admin_pb2.DeleteGroupRequest(topic=topic))
        assert (await stream.closing()).reason == event_bus_pb2.Closing.REASON_GROUP_DELETED


async def test_a_session_that_was_not_notified_of_a_deletion_finds_out_when_it_leases(own_bus: RedisBus) -> None:
    here = (await own_bus.replica()).topic()
    there = (await own_bus.replica()).topic(here.name)
    await there.join("session there")
    await there.dispatch("event")
    held = await there.lease_one("session there")
    own_bus.raw.client_kill_filter(_type="pubsub")
    await here.delete_group()

    with pytest.raises(NotFound):
        await there.lease("session there")

    assert there.harness.heard.deletions == [(there.name, DEFAULT_GROUP)]
    assert there.harness.heard.ended["session there"] == [held.fencing_token]
    assert await there.ack(held) == [SETTLED]
    with pytest.raises(NotFound):
        await there.adopt("session there", held)
    assert not own_bus.raw.exists(own_bus.key(here.name, "groups")), "none of these calls has created the group again"


@pytest.mark.parametrize("partitions", [1, 4])
async def test_a_session_that_rejoins_does_not_recreate_a_deleted_group(
    own_bus: RedisBus, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    """It joins again because its replica was considered dead, or because the partitions changed."""
    here = (await own_bus.replica()).topic()
    there = (await own_bus.replica()).topic(here.name)
    await there.join("session there")
    if partitions > 1:
        await here.configure(partitions=partitions)
    else:
        own_bus.raw.delete(own_bus.key(here.name, f"group:{DEFAULT_GROUP}:sessions"))
    runner = there.engine._engine._runner  # type: ignore[attr-defined]
    run, is_first = runner.run, iter([True])

    async def meets_a_deletion(script: Script, *arguments: Any, **more: Any) -> Any:
        if script.name == "join" and next(is_first, False):
            await here.delete_group()
        return await run(script, *arguments, **more)

    monkeypatch.setattr(runner, "run", meets_a_deletion)
    with pytest.raises(NotFound, match="no group"):
        await there.lease("session there")

    assert set(there.harness.heard.deletions) == {(there.name, DEFAULT_GROUP)}
    assert [key for key in own_bus.stored_keys() if here.name in key and key.endswith(":groups")] == []


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
    assert replica.heard.deletions == []
    assert {subscriber.session_id for subscriber in (await topic.group()).subscribers} == set(sessions)


async def test_a_session_that_joins_after_a_deletion_survives_its_late_notification(here: TopicDriver) -> None:
    deleted_us = here.harness.now_us()
    await here.delete_group()
    await here.join("new session")
    here.harness.heard.forget()

    here.engine._engine.notifications.deleted(Partition(here.name), DEFAULT_GROUP, deleted_us)  # type: ignore[attr-defined]

    assert here.harness.heard.deletions == []
    await here.dispatch("event")
    assert ids(await here.lease("new session")) == ["event"]


async def test_a_topic_recreated_by_a_replica_that_knew_it_is_listed(here: TopicDriver, there: TopicDriver) -> None:
    await there.dispatch("before")
    await here.delete()

    await there.dispatch("after")

    assert [info.topic for info in await here.engine.list_topics("", 10)] == [here.name]
    assert await here.queued() == 1


async def test_a_topic_that_was_empty_for_a_while_is_listed_again(replica: Replica, bus: RedisBus) -> None:
    here = replica.topic()
    there = (await bus.replica()).topic(here.name)
    event = new_event()
    await there.dispatch(event)
    await there.cancel(event.id)
    assert await here.engine.list_topics("", 10) == []

    await there.dispatch("event")

    assert [info.topic for info in await here.engine.list_topics("", 10)] == [here.name]


async def test_another_replica_finishes_an_interrupted_deletion(
    bus: RedisBus, here: TopicDriver, there: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first replica dies after it has deleted the group, and before it has deleted the group's events."""
    await here.join("elsewhere", "other")
    for first in (0, 750):
        await here.dispatch(*(f"e{first + number:04}" for number in range(750)))
    monkeypatch.setattr(here.engine._engine.deletions, "dispose", AsyncMock())  # type: ignore[attr-defined]
    assert await here.delete_group() == 1_500
    monkeypatch.undo()

    await there.engine.expire_leases()

    left = {key.rpartition(":")[2] for key in bus.stored_keys() if ":deleted" in key}
    assert left == set()
    assert not bus.raw.exists(f"{bus.namespace}:deleting")
    assert await here.queued() == 1_500, "the other group holds it"
    assert await here.delete_group("other") == 1_500
    assert await here.queued() == 0
