"""One key is lost, by an evicting policy or an operator's DEL: new events still reach every group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE
from duebus_server.domain.states import EventState
from duebus_server.engine.redis.keys import GROUP_KEYS, TOPIC_KEYS
from duebus_server.engine.redis.partition import Partition
from structlog.testing import capture_logs
from support.builders import new_event, new_events
from support.topics import ids

if TYPE_CHECKING:
    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver

GROUPS = ("one", "other")
OF_THE_BUS = ("topics", "retention", "partitions", "deleting", "secret", "replicas", "reads", "groups noted")


async def lively(replica: Replica) -> TopicDriver:
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
        "groups noted": keys.replica_groups(replica.name),
    }
    return of_bus.get(name) or bus.key(topic.name, name)


@pytest.mark.parametrize("name", [*TOPIC_KEYS, *(f"group:one:{name}" for name in GROUP_KEYS), *OF_THE_BUS])
async def test_events_flow_after_a_key_was_lost(frozen_bus: RedisBus, name: str) -> None:
    # given events in every state
    replica, other = await frozen_bus.replica(), await frozen_bus.replica()
    topic = await lively(replica)
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
    # and so they do once all leases have run out
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


async def test_what_was_dispatched_while_no_group_was_known_is_delivered(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = await lively(replica)
    frozen_bus.raw.delete(frozen_bus.key(topic.name, "groups"))
    await topic.dispatch("in between")
    with capture_logs() as logs:
        await replica.engine.expire_leases()
        found = await topic.lease_all(group="one")
    assert "in between" in ids(found)
    assert "Redis has lost a group; its sessions join again" in {line["event"] for line in logs}


async def test_a_session_without_leases_has_no_count_of_them(frozen_bus: RedisBus) -> None:
    """It was left behind by a session that adopted what it held, and by one whose answer was lost."""
    replica = await frozen_bus.replica()
    topic = replica.topic()
    counts = frozen_bus.key(topic.name, "group:default:in_flight")
    await topic.join()
    await topic.dispatch("a")
    # given a lease that the session adopts and settles twice over
    held = await topic.lease_one()
    await topic.adopt("worker-1", held)
    await topic.ack(held)
    await topic.adopt("worker-1", held)
    assert frozen_bus.raw.hgetall(counts) == {}
    # and one that it has not heard of
    await topic.dispatch("b")
    lost = await topic.lease_one()
    replica.engine._engine.members.never_heard(Partition(topic.name), "default", "worker-1", lost.fencing_token)
    await topic.leave()
    await replica.engine.expire_leases()
    assert frozen_bus.raw.hgetall(counts) == {}
