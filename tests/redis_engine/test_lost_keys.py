"""A key is lost by eviction or by an operator's DEL. New events still reach every group, and no event vanishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.model import NackAction
from duebus_server.domain.states import EventState
from duebus_server.engine.redis.keys import GROUP_KEYS, TOPIC_KEYS
from duebus_server.engine.redis.partition import Partition, partitions_of
from structlog.testing import capture_logs
from support.builders import new_event, new_events
from support.partitions import COUNT, dispatch_one_each
from support.topics import ids

if TYPE_CHECKING:
    from duebus_server.domain.model import LeasedEvent
    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver

GROUPS = ("one", "other")
OF_THE_BUS = ("topics", "retention", "partitions", "deleting", "secret", "replicas", "reads", "groups noted")


async def events_in_every_state(replica: Replica) -> TopicDriver:
    """Events in every state, in two groups."""
    topic = replica.topic()
    for group in GROUPS:
        await topic.join(group=group)
    await topic.configure(dead_letter_retention_us=10 * HOUR)
    await topic.dispatch(*(new_event(f"a{number}") for number in range(10)), request_id="first")
    await topic.dispatch(new_event("later", delay_us=HOUR), *new_events(3), request_id="second")
    held = await topic.lease(group="one", max_events=6)
    await topic.ack(held[0], group="one")
    await topic.dead_letter(held[1], group="one")
    await topic.nack(held[2], delay_us=MINUTE, group="one")
    return topic


def key_of(bus: RedisBus, replica: Replica, topic: TopicDriver, name: str) -> str:
    keys = replica.engine._engine._runner.keys
    of_bus = {
        "topics": keys.topics,
        "retention": keys.retention,
        "partitions": f"{bus.namespace}:partitions",
        "deleting": keys.deleting,
        "secret": keys.secret,
        "replicas": keys.replicas,
        "reads": keys.layouts_read,
        "streams": keys.streams,
        "groups noted": keys.replica_groups(replica.name),
    }
    return of_bus.get(name) or bus.key(topic.name, name)


@pytest.mark.parametrize("name", [*TOPIC_KEYS, *(f"group:one:{name}" for name in GROUP_KEYS), *OF_THE_BUS])
async def test_events_are_delivered_after_a_key_was_lost(frozen_bus: RedisBus, name: str) -> None:
    # given events in every state
    replica, other = await frozen_bus.replica(), await frozen_bus.replica()
    topic = await events_in_every_state(replica)
    held = await topic.lease(group="other", max_events=2)
    # when a key is lost
    frozen_bus.raw.delete(key_of(frozen_bus, replica, topic, name))
    # and servers sweep, and sessions lease more
    for one in (replica, other):
        await one.engine.expire_leases()
    for group in GROUPS:
        await topic.lease(group=group, max_events=1)
    # then new events reach each group, and can be settled
    elsewhere = other.topic(topic.name)
    await elsewhere.dispatch("new", request_id="third")
    await replica.engine.expire_leases()
    for group in GROUPS:
        found = await topic.lease_all(group=group)
        assert "new" in ids(found), group
        assert await topic.ack(*(event for event in found if event.event_id == "new"), group=group) == [None]
    # and the same holds once all leases have run out
    await topic.ack(*held, group="other")
    await replica.advance(2 * HOUR)
    for one in (replica, other):
        await one.engine.expire_leases()
    await elsewhere.dispatch("newer", request_id="fourth")
    for group in GROUPS:
        found = await topic.lease_all(group=group)
        assert "newer" in ids(found), group
        await topic.ack(*found, group=group)
        await topic.counts(group)
    if name == "events":
        for group in GROUPS:
            dead = await topic.page(EventState.DEAD, 100, group=group)
            reasons = {one.last_error for event in dead.events for one in event.groups if one.group == group}
            assert "the stored event is missing or corrupt" in reasons, group
    await topic.redrive(group="one")
    await topic.purge(group="one")


async def test_events_dispatched_while_no_group_was_known_are_delivered(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = await events_in_every_state(replica)
    frozen_bus.raw.delete(frozen_bus.key(topic.name, "groups"))
    await topic.dispatch("in between")
    with capture_logs() as logs:
        await replica.engine.expire_leases()
        found = await topic.lease_all(group="one")
    assert "in between" in ids(found)
    assert "Redis has lost a group; its sessions join again" in {line["event"] for line in logs}


async def test_a_session_without_leases_has_no_count_of_them(frozen_bus: RedisBus) -> None:
    """Such a count was left by a session that adopted its own leases, and by one whose answer was lost."""
    replica = await frozen_bus.replica()
    topic = replica.topic()
    counts = frozen_bus.key(topic.name, "group:default:in_flight")
    await topic.join()
    await topic.dispatch("a")
    # given a lease that the session adopts twice and settles
    held = await topic.lease_one()
    await topic.adopt("worker-1", held)
    await topic.ack(held)
    await topic.adopt("worker-1", held)
    assert frozen_bus.raw.hgetall(counts) == {}
    # and a lease that was not reported to it
    await topic.dispatch("b")
    lost = await topic.lease_one()
    replica.engine._engine.members.take_back(Partition(topic.name), "default", "worker-1", lost.fencing_token)
    await topic.leave()
    await replica.engine.expire_leases()
    assert frozen_bus.raw.hgetall(counts) == {}


# --- the events that were there ---


DUE_IS_LOST = "Redis has lost when this event is due, and whether this group has settled it"
RESTORED = "Redis had lost track of events; they are restored, or dead if their due time is lost"
ALL = ("suspect", "leased", "nacked", "dead", "ready", "later")
MEANS = {
    "waiting": {"ready": EventState.DEAD, "later": EventState.DEAD},
    "suspects": {},
    "leased": {},
    "dead": {},
}
"""The keys that say where events are, and what can't be restored without one of them."""


async def one_of_each(topic: TopicDriver) -> LeasedEvent:
    """An event in each state; the one that is leased."""
    await topic.join()
    await topic.dispatch("leased", "nacked", "dead")
    held, nacked, dead = await topic.lease_each("leased", "nacked", "dead")
    await topic.nack(nacked, delay_us=HOUR)
    await topic.dead_letter(dead, error="boom")
    await topic.dispatch("suspect")
    await topic.let_run_out()
    await topic.engine.expire_leases()
    await topic.dispatch("ready", new_event("later", delay_us=HOUR))
    return held


async def states(topic: TopicDriver, group: str = "default") -> dict[str, EventState | None]:
    return {name: await topic.state(name, group) for name in ALL}


@pytest.mark.parametrize("name", GROUP_KEYS)
async def test_no_event_vanishes_with_a_key_of_its_group(frozen_bus: RedisBus, name: str) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    held = await one_of_each(topic)
    before = await states(topic)
    assert None not in before.values()

    frozen_bus.raw.delete(key_of(frozen_bus, replica, topic, f"group:default:{name}"))
    with capture_logs() as logs:
        await replica.engine.expire_leases()

    assert (RESTORED in {line["event"] for line in logs}) == (name in MEANS)
    lost = MEANS.get(name, {})
    if name != "records":  # events without a record are known only by their place
        assert await states(topic) == {**before, **lost}
        assert {(await topic.group_info(event)).last_error for event in lost} <= {DUE_IS_LOST}
        assert (await topic.group_info("dead")).last_error == "boom"
        assert await topic.ack(held) == [None]
    await replica.advance(2 * HOUR)
    await replica.engine.expire_leases()
    await topic.redrive()
    found = [event for _ in range(3) for event in await topic.lease_all()]
    assert sorted(ids(found)) == sorted(event for event in ALL if event != "leased" or name == "records")
    await topic.ack(*found)
    assert await topic.queued() == 0


async def test_a_sweep_restores_what_a_partition_has_lost(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.configure(partitions=COUNT)
    await topic.join()
    await dispatch_one_each(topic)
    assert len(await topic.lease_all()) == COUNT
    frozen_bus.raw.delete(frozen_bus.key(partitions_of(topic.name, COUNT)[1], "group:default:leased"))
    assert await topic.counts() == {EventState.LEASED: COUNT - 1}

    await replica.engine.expire_leases()

    assert await topic.counts() == {EventState.LEASED: COUNT}


async def test_leases_start_again_when_their_expiry_is_lost(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await one_of_each(topic)
    frozen_bus.raw.delete(key_of(frozen_bus, replica, topic, "group:default:leased"))

    await replica.engine.expire_leases()

    (expiry,) = [expires for _, expires in stored(frozen_bus, topic, "leased")]
    assert expiry == replica.now_us() + (await topic.engine.config_of(topic.name)).lease_us
    assert [info.in_flight for info in (await topic.group()).subscribers] == [1]


async def test_a_session_gets_its_room_back_when_the_records_of_its_leases_are_lost(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    await topic.dispatch("event")
    held = await topic.lease_one()
    frozen_bus.raw.delete(key_of(frozen_bus, replica, topic, "group:default:records"))
    await replica.advance(HOUR)
    await replica.engine.expire_leases()
    await topic.cancel("event")

    for _ in range(2):
        await replica.engine.expire_leases()

    assert replica.recorder.ended["worker-1"] == [held.fencing_token]
    assert not frozen_bus.raw.exists(frozen_bus.key(topic.name, "group:default:in_flight"))


def stored(bus: RedisBus, topic: TopicDriver, name: str, group: str = "default") -> list[tuple[bytes, float]]:
    return list(bus.raw.zrange(bus.key(topic.name, f"group:{group}:{name}"), 0, -1, withscores=True))


async def test_events_that_one_of_two_groups_has_lost_are_found_when_the_other_has_settled_them(
    frozen_bus: RedisBus,
) -> None:
    """Until then, the number of stored events does not show that any are lost."""
    replica = await frozen_bus.replica()
    topic = replica.topic()
    for group in GROUPS:
        await topic.join(group=group)
    await topic.dispatch("a", "b", new_event("later", delay_us=HOUR))
    frozen_bus.raw.delete(key_of(frozen_bus, replica, topic, "group:one:waiting"))
    await replica.engine.expire_leases()
    assert await topic.counts("one") == {}

    await topic.ack(*await topic.lease(group="other", max_events=1), group="other")
    await replica.engine.expire_leases()

    # either group may have settled "a"; the others can only have been lost by this one
    assert await topic.counts("one") == {EventState.DEAD: 3}
    assert await topic.counts("other") == {EventState.READY: 1, EventState.SCHEDULED: 1, EventState.DEAD: 1}
    assert {(await topic.group_info(event, "one")).last_error for event in ("a", "b", "later")} == {DUE_IS_LOST}
    assert await topic.queued() == 2
    for group in GROUPS:
        await topic.purge(group=group)
    assert await topic.queued() == 2
    await replica.advance(HOUR)
    await topic.ack(*await topic.lease_all(group="other"), group="other")
    assert await topic.queued() == 0
    assert not frozen_bus.raw.exists(frozen_bus.key(topic.name, "events"), frozen_bus.key(topic.name, "refs"))


async def test_many_lost_events_are_found_in_several_sweeps(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    for _ in range(10):
        await topic.dispatch(*new_events(1_000))
    frozen_bus.raw.delete(key_of(frozen_bus, replica, topic, "group:default:waiting"))

    sweeps = 0
    while await topic.counts() != {EventState.DEAD: 10_000}:
        await replica.engine.expire_leases()
        sweeps += 1

    assert sweeps == 2


async def test_a_topic_that_has_lost_nothing_is_not_searched_in_every_sweep(
    frozen_bus: RedisBus,
) -> None:
    """One group is behind the other, so the topic holds more events than the faster group."""
    replica = await frozen_bus.replica()
    topic = replica.topic()
    for group in GROUPS:
        await topic.join(group=group)
    await topic.dispatch(*new_events(10))
    await topic.ack(*await topic.lease(group="one"), group="one")
    frozen_bus.raw.config_resetstat()
    for _ in range(3):
        await replica.engine.expire_leases()
    assert "cmdstat_hscan" not in frozen_bus.raw.info("commandstats")


async def test_the_number_of_queued_events_recovers_from_a_lost_count_of_dead_ones(frozen_bus: RedisBus) -> None:
    topic = (await frozen_bus.replica()).topic()
    await topic.join()
    await topic.dispatch("dead", "other")
    await topic.dead_letter(*await topic.lease(max_events=1))
    frozen_bus.raw.delete(frozen_bus.key(topic.name, "meta"))
    await topic.purge()
    assert await topic.queued() == 1


async def test_events_with_priorities_are_ranked_again_when_their_ranks_are_lost(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    await topic.dispatch(new_event("low", priority=-1), new_event("high", priority=1), "plain")
    await topic.dispatch(new_event("later", priority=9, delay_us=SECOND))
    frozen_bus.raw.delete(key_of(frozen_bus, replica, topic, "group:default:ranked"))
    await replica.engine.expire_leases()
    assert ids(await topic.lease_all()) == ["high", "plain", "low"]
    await replica.advance(SECOND)
    assert ids(await topic.lease_all()) == ["later"]


# --- events in order by key ---

LOSE_DUE_TIMES = ("waiting", "records")
"""Without these, an event becomes a dead letter, or its retry is forgotten."""


async def deliver_all(topic: TopicDriver) -> list[str]:
    """Lease and ack until nothing is left, and check that no two events of a key are leased together."""
    done: list[str] = []
    for _ in range(20):
        held = await topic.lease_all()
        keys = [event.event_id.split()[0] for event in held]
        assert len(set(keys)) == len(keys), "one event of each key at a time"
        await topic.ack(*held)
        done += ids(held)
    return done


@pytest.mark.parametrize("name", GROUP_KEYS)
async def test_a_lost_key_stops_no_key_of_events_and_keeps_their_order(frozen_bus: RedisBus, name: str) -> None:
    # given three keys: one with a leased event, one whose event waits for its retry, one with a ready event
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    for key in ("leased", "retried", "ready"):
        events = [new_event(f"{key} {number}", key=key) for number in range(3)]
        await topic.dispatch(*events, new_event(f"{key} later", key=key, delay_us=MINUTE))
    held = await topic.lease_each("leased 0", "retried 0", "ready 0")
    await topic.nack(held[1], delay_us=SECOND)
    await topic.nack(held[2], action=NackAction.RELEASE)
    # when a key is lost
    frozen_bus.raw.delete(key_of(frozen_bus, replica, topic, f"group:default:{name}"))
    await replica.engine.expire_leases()
    # then every event is delivered, those of a key in order
    if name != "records":
        assert await topic.ack(held[0]) == [None]
    await replica.advance(2 * MINUTE)
    await replica.engine.expire_leases()
    done = await deliver_all(topic)
    await topic.redrive()
    done += await deliver_all(topic)
    assert sorted(done) == sorted(
        f"{key} {which}"
        for key in ("leased", "retried", "ready")
        for which in (0, 1, 2, "later")
        if (key, which) != ("leased", 0) or name == "records"
    )
    for key in ("leased", "retried", "ready") if name not in LOSE_DUE_TIMES else ():
        assert [event for event in done if event.startswith(key)] == sorted(
            event for event in done if event.startswith(key)
        )
    assert await topic.queued() == 0
    assert (await topic.keys()).keys == []
    stored = frozen_bus.stored_keys()
    left = {f"{{{topic.name}}}:group:default:{one}" for one in ("upcoming", "blocked", "by_key", "keys", "waiting")}
    assert not stored & left
