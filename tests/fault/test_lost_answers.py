"""Redis carries out a command, and its answer or notification is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import DEFAULT_GROUP, AdoptedLease, LeaseRef, LeaseRequest, NackAction
from duebus_server.domain.states import EventState
from duebus_server.engine.redis.codec.leases import named
from duebus_server.engine.redis.engine import LEASE
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.replicas import membership
from duebus_server.engine.redis.replicas.membership import ADOPT, JOIN, is_unknown
from duebus_server.engine.redis.replicas.sessions import Stage, Unanswered
from support.proxy import proxy_to
from support.redis_bus import redis_bus, until
from support.redis_engine import shared_redis
from support.topics import PLENTY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.proxy import Proxy
    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver

WORKER, OTHER = "worker-1", "worker-2"


@pytest.fixture
async def bus() -> AsyncIterator[RedisBus]:
    async with redis_bus(shared_redis().url) as opened:
        yield opened


@pytest.fixture
async def link() -> AsyncIterator[Proxy]:
    """The link between the replica and Redis."""
    async with proxy_to(f"127.0.0.1:{shared_redis().port}") as proxy:
        yield proxy


@pytest.fixture
async def replica(bus: RedisBus, link: Proxy) -> AsyncIterator[Replica]:
    """A replica that reaches Redis through the link."""
    async with redis_bus(f"redis://{link.address}/0") as same:
        same.namespace = bus.namespace
        yield await same.replica()


@pytest.fixture
async def other_replica(bus: RedisBus) -> Replica:
    return await bus.replica()


def leased(bus: RedisBus, topic: TopicDriver) -> int:
    count: int = bus.raw.zcard(bus.key(topic.name, f"group:{DEFAULT_GROUP}:leased"))
    return count


def in_flight(bus: RedisBus, topic: TopicDriver, replica: Replica, session_id: str) -> int:
    """Leases that Redis counts for a session."""
    session = replica.engine._engine.notifications.sessions.find(Partition(topic.name), DEFAULT_GROUP, session_id)
    assert session is not None
    return int(bus.raw.hget(bus.key(topic.name, f"group:{DEFAULT_GROUP}:in_flight"), session.name) or 0)


def due(bus: RedisBus, topic: TopicDriver) -> int:
    """Leases that have run out."""
    now_s, now_us = bus.raw.time()
    count: int = bus.raw.zcount(bus.key(topic.name, f"group:{DEFAULT_GROUP}:leased"), 0, now_s * SECOND + now_us)
    return count


async def sweep(replica: Replica) -> None:
    """Sweep. The first sweep may meet a connection that was cut."""
    with suppress(DispatcherNotWorking):
        await replica.engine.expire_leases()
    await replica.engine.expire_leases()


async def subscribed(replica: Replica) -> TopicDriver:
    """A topic with a session, on a Redis that knows the scripts: so that each is one command and one answer."""
    topic = replica.topic()
    await topic.join(WORKER)
    await topic.dispatch("first")
    assert await topic.ack(await topic.lease_one(WORKER)) == [None]
    return topic


async def test_a_stream_that_breaks_while_it_leases_costs_no_lease(
    bus: RedisBus, link: Proxy, replica: Replica, other_replica: Replica
) -> None:
    # given a session that leases and is cancelled before the answer
    topic = await subscribed(replica)
    await topic.dispatch("event")
    link.stall(requests=False)
    leasing = asyncio.create_task(topic.lease(WORKER))
    await until(lambda: leased(bus, topic) == 1, "the lease")
    leasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leasing
    link.flow()
    # when its stream is over
    await replica.engine.shorten(topic.name, DEFAULT_GROUP, WORKER, SECOND // 10)
    await topic.leave(WORKER)
    # then another session gets the event long before the lease of 30 s ends
    topic_elsewhere = other_replica.topic(topic.name)
    await topic_elsewhere.join(OTHER)
    await until(lambda: leased(bus, topic) == 0, "the end of the lease")
    assert (await topic_elsewhere.lease_one(OTHER)).event_id == "event"


async def test_a_late_lease_command_does_nothing(bus: RedisBus, replica: Replica, other_replica: Replica) -> None:
    # given a lease command that was abandoned, and whose leases were taken back
    topic = await subscribed(replica)
    await topic.dispatch("event")
    session = replica.engine._engine.notifications.sessions.find(Partition(topic.name), DEFAULT_GROUP, WORKER)
    assert session is not None
    command = (*replica.engine._engine._request_arguments(session, LeaseRequest(1, PLENTY)), 3)
    session.unanswered.add(Unanswered.LEASE)
    event = await topic.lease_one(WORKER)
    assert await topic.nack(event, action=NackAction.RELEASE) == [None]
    # when the command still reaches Redis, and no caller waits for its answer
    await other_replica.engine._engine._runner.run(LEASE, Partition(topic.name), DEFAULT_GROUP, *command)
    # then the event is not leased, and the next session that leases gets it
    assert leased(bus, topic) == 0
    assert (await topic.lease_one(WORKER)).event_id == "event"


async def test_a_late_join_command_leaves_no_subscriber(
    bus: RedisBus, link: Proxy, replica: Replica, other_replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a session that is cancelled before the answer to its join, and leaves
    topic = replica.topic()
    await topic.join(OTHER)  # so that the group is noted as one of this replica's
    monkeypatch.setattr(replica.engine._engine.members._notes, "add", AsyncMock())
    link.stall(requests=False)
    joining = asyncio.create_task(topic.join(WORKER))
    sessions = bus.key(topic.name, f"group:{DEFAULT_GROUP}:sessions")
    await until(lambda: bool(bus.raw.hlen(sessions) == 2), "both sessions")
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    link.flow()
    session = replica.engine._engine.notifications.sessions.find(Partition(topic.name), DEFAULT_GROUP, WORKER)
    assert session is not None
    await topic.leave(WORKER)
    assert bus.raw.hlen(sessions) == 1
    # when its join command still reaches Redis
    command = (session.name, session.session_id, "", session.round)
    await other_replica.engine._engine._runner.run(JOIN, Partition(topic.name), DEFAULT_GROUP, *command)
    # then the next sweep removes it from the group, and later forgets it
    await sweep(replica)
    assert bus.raw.hlen(sessions) == 1
    monkeypatch.setattr(membership, "LATE_S", 0.0)
    await sweep(replica)
    assert replica.engine._engine.notifications.sessions.find(Partition(topic.name), DEFAULT_GROUP, WORKER) is None


async def test_a_late_adopt_command_does_nothing(bus: RedisBus, replica: Replica, other_replica: Replica) -> None:
    # given a session that left before its adopt command reached Redis
    topic = await subscribed(replica)
    await topic.dispatch("event")
    event = await topic.lease_one(WORKER, lease_us=MINUTE)
    await topic.join(OTHER)
    session = replica.engine._engine.notifications.sessions.find(Partition(topic.name), DEFAULT_GROUP, OTHER)
    assert session is not None
    await topic.leave(OTHER)
    before = bus.contents(topic.name)
    # when the command reaches Redis
    command = (session.name, "", HOUR, HOUR, *named([LeaseRef(event.event_id, event.fencing_token)]))
    answer = await other_replica.engine._engine._runner.run(ADOPT, Partition(topic.name), DEFAULT_GROUP, *command)
    # then the lease is unchanged
    assert is_unknown(answer)
    assert bus.contents(topic.name) == before


async def test_an_adopt_whose_answer_is_lost_costs_no_lease(
    bus: RedisBus, link: Proxy, replica: Replica, other_replica: Replica
) -> None:
    # given a session that adopts a lease and is cancelled before the answer
    topic = await subscribed(replica)
    await topic.dispatch("event")
    event = await topic.lease_one(WORKER, lease_us=HOUR)
    await topic.join(OTHER)
    link.stall(requests=False)
    adopting = asyncio.create_task(topic.adopt(OTHER, event, lease_us=HOUR))
    await until(lambda: in_flight(bus, topic, replica, OTHER) == 1, "the adoption")
    adopting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adopting
    link.flow()
    # when its stream is over
    await replica.engine.shorten(topic.name, DEFAULT_GROUP, OTHER, SECOND // 10)
    await topic.leave(OTHER)
    # then another session gets the event long before the lease ends
    topic_elsewhere = other_replica.topic(topic.name)
    await topic_elsewhere.join("worker-3")
    await until(lambda: bool(due(bus, topic)), "the end of the lease")
    assert (await topic_elsewhere.lease_one("worker-3")).event_id == "event"
    await until(
        lambda: replica.engine._engine.notifications.sessions.find(Partition(topic.name), DEFAULT_GROUP, OTHER) is None,
        "the session's end",
    )


async def test_a_session_that_redis_has_lost_can_still_adopt(bus: RedisBus, replica: Replica) -> None:
    topic = await subscribed(replica)
    await topic.dispatch("event")
    event = await topic.lease_one(WORKER)
    await topic.join(OTHER)
    bus.raw.delete(bus.key(topic.name, f"group:{DEFAULT_GROUP}:sessions"))

    (adopted,) = await topic.adopt(OTHER, event)

    assert isinstance(adopted, AdoptedLease)
    assert adopted.fencing_token == event.fencing_token


async def test_an_ack_whose_answer_is_lost_makes_room(bus: RedisBus, link: Proxy, replica: Replica) -> None:
    topic = await subscribed(replica)
    await topic.dispatch("event")
    event = await topic.lease_one(WORKER)
    link.stall(requests=False)
    acking = asyncio.create_task(topic.ack(event))
    await until(lambda: leased(bus, topic) == 0, "the ack")
    link.cut()
    link.flow()
    with pytest.raises(DispatcherNotWorking):
        await acking
    await sweep(replica)
    await replica.recorder.until_ended(WORKER, event.fencing_token)


async def test_a_lost_notification_of_an_ack_makes_room(
    bus: RedisBus, link: Proxy, replica: Replica, other_replica: Replica
) -> None:
    topic = await subscribed(replica)
    await topic.dispatch("event")
    event = await topic.lease_one(WORKER)
    link.stall(requests=False)
    assert await other_replica.topic(topic.name).ack(event) == [None]
    link.cut()
    link.flow()
    await sweep(replica)
    await replica.recorder.until_ended(WORKER, event.fencing_token)


async def test_events_that_were_leased_beside_a_damaged_one_arrive_when_it_cant_be_made_a_dead_letter(
    bus: RedisBus, link: Proxy, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a damaged event, and a link that breaks as soon as the lease is answered
    topic = await subscribed(replica)
    await topic.dispatch("fine", "damaged")
    blob = bytearray(bus.raw.hget(bus.key(topic.name, "events"), "damaged"))
    bus.raw.hset(bus.key(topic.name, "events"), "damaged", bytes(blob[:-1]))
    nack = replica.engine._engine.nack

    async def cut_off(*arguments: Any) -> Any:
        link.aim("127.0.0.1:9")
        link.cut()
        return await nack(*arguments)

    monkeypatch.setattr(replica.engine._engine, "nack", cut_off)
    # when a session leases both
    event = await topic.lease_one(WORKER)
    # then it gets the readable event, and its next lease makes the other one a dead letter
    assert event.event_id == "fine"
    monkeypatch.setattr(replica.engine._engine, "nack", nack)
    link.aim(f"127.0.0.1:{shared_redis().port}")
    assert await topic.lease(WORKER) == []
    assert await topic.counts() == {EventState.LEASED: 1, EventState.DEAD: 1}


async def test_a_broken_group_does_not_keep_the_sessions_of_others_from_leaving(
    bus: RedisBus, link: Proxy, replica: Replica
) -> None:
    # given two sessions that leave while Redis is unreachable, and a group in which one of them can't leave
    topics = [await subscribed(replica) for _ in range(2)]
    link.aim("127.0.0.1:9")
    link.cut()
    for topic in topics:
        with pytest.raises(DispatcherNotWorking):
            await topic.leave(WORKER)
    link.aim(f"127.0.0.1:{shared_redis().port}")
    broken, other = (bus.key(topic.name, f"group:{DEFAULT_GROUP}:sessions") for topic in topics)
    bus.raw.set(broken, "a string")
    # when Redis is back
    await sweep(replica)
    # then the other session leaves, although it comes after the one that can't
    assert bus.raw.hlen(other) == 0


async def test_a_session_that_redis_lost_before_the_answer_to_its_join_rejoins(
    bus: RedisBus, link: Proxy, replica: Replica, other_replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a session whose join Redis has carried out and not yet answered
    topic = await subscribed(replica)
    monkeypatch.setattr(replica.engine._engine.members._notes, "add", AsyncMock())  # the group is noted already
    link.stall(requests=False)
    joining = asyncio.create_task(topic.join(OTHER))
    sessions = bus.key(topic.name, f"group:{DEFAULT_GROUP}:sessions")
    await until(lambda: bool(bus.raw.hlen(sessions) == 2), "both sessions")
    # when Redis loses the group, and this replica is notified before the answer arrives
    bus.raw.delete(sessions, bus.key(topic.name, "groups"))
    replica.engine._engine.members.require_rejoin(replica.engine._engine.notifications.sessions)
    link.flow()
    await joining
    # then the session joins again, and does not consider its group deleted
    session = replica.engine._engine.notifications.sessions.find(Partition(topic.name), DEFAULT_GROUP, OTHER)
    assert session is not None
    assert session.stage is Stage.NEW
    await other_replica.topic(topic.name).dispatch("event")
    assert (await topic.lease_one(OTHER)).event_id == "event"
