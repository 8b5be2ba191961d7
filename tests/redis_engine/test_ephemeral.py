"""Ephemeral groups whose replicas die or restart, and what the groups leave in Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.replicas.ephemeral_groups import RETURN_US
from support.builders import unique_name
from support.redis_bus import Replica, redis_bus
from support.redis_engine import redis_flags, shared_redis
from support.wire import SIGNAL_TIMEOUT_S, connect, figure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.redis_bus import RedisBus
    from support.server_process import ServerProcess
    from support.topics import TopicDriver

EPHEMERAL = "instance"


@pytest.fixture
async def frozen() -> AsyncIterator[RedisBus]:
    """A bus whose clock the test moves."""
    async with redis_bus(shared_redis().url, frozen=True) as bus:
        yield bus


async def join_ephemeral(topic: TopicDriver, session: str = "watcher") -> None:
    await topic.join(session, EPHEMERAL, ephemeral_us=SECOND)


def notes(bus: RedisBus) -> dict[bytes, float]:
    """The groups that a replica has to check, with the time of the check."""
    return dict(bus.raw.zrange(f"{bus.namespace}:ephemeral", 0, -1, withscores=True))


async def pass_time(replica: Replica, us: int) -> None:
    await replica.advance(us)
    await replica.engine.expire_leases()


async def groups(topic: TopicDriver) -> list[str]:
    return [info.group for info in (await topic.engine.get_topic(topic.name)).groups]


# --- what stays in Redis ----------------------------------------------------------------------------------------------


async def test_nothing_remains_of_a_removed_group(frozen: RedisBus) -> None:
    replica = await frozen.replica()
    topic = replica.topic()
    await topic.join()
    for number in range(3):
        await join_ephemeral(topic)
        await topic.dispatch(f"event-{number}")
        await topic.ack(await topic.lease_one())
        await topic.leave("watcher", EPHEMERAL)
        await pass_time(replica, SECOND)

    assert not [key for key in frozen.stored_keys() if EPHEMERAL in key]
    assert notes(frozen) == {}
    assert frozen.raw.smembers(f"{frozen.namespace}:replica:{replica.name}:groups") == {
        f"{topic.name}/default".encode()
    }, "a replica's notes do not grow with every group that there ever was"
    assert frozen.raw.hgetall(frozen.key(topic.name, "meta")).get(b"dead", b"0") == b"0"


async def test_many_groups_are_removed_over_several_sweeps(frozen: RedisBus) -> None:
    replica = await frozen.replica()
    topic = replica.topic()
    for number in range(250):
        await topic.join("watcher", f"{EPHEMERAL}-{number}", ephemeral_us=SECOND)
        await topic.leave("watcher", f"{EPHEMERAL}-{number}")

    left = []
    for _ in range(3):
        await pass_time(replica, SECOND)
        left.append(frozen.raw.hlen(frozen.key(topic.name, "groups")))

    assert left == [150, 50, 0]


# --- replicas that die, and start -------------------------------------------------------------------------------------


async def test_another_replica_removes_the_groups_that_one_left_behind(frozen: RedisBus) -> None:
    """The replica ends after its last session has left, and before the group is due for removal."""
    leaving, other = await frozen.replica(), await frozen.replica()
    topic = leaving.topic()
    await join_ephemeral(topic)
    await topic.leave("watcher", EPHEMERAL)
    await leaving.engine.stop()

    await pass_time(other, MINUTE)

    assert not frozen.raw.exists(frozen.key(topic.name, "groups"))


async def test_a_replica_that_dies_before_it_has_noted_the_group_leaves_no_orphan(
    frozen: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, other = await frozen.replica(), await frozen.replica()
    topic = dying.topic()
    await join_ephemeral(topic)
    with monkeypatch.context() as patched:
        away = DispatcherNotWorking("Redis is away")
        patched.setattr(dying.engine._engine.ephemeral, "_note", AsyncMock(side_effect=away))
        with pytest.raises(DispatcherNotWorking):
            await topic.leave("watcher", EPHEMERAL)
    assert frozen.raw.hlen(frozen.key(topic.name, "group:instance:sessions")) == 0
    assert notes(frozen) == {}

    await other.engine._engine._presence._end_sessions_of(dying.name)
    await pass_time(other, SECOND)
    await pass_time(other, SECOND)

    assert not frozen.raw.exists(frozen.key(topic.name, "groups"))


async def test_after_a_start_subscribers_have_five_seconds_to_come_back(frozen: RedisBus) -> None:
    """The only replica ends. Long after, another one starts, and one of two sessions subscribes again."""
    first = await frozen.replica()
    topic, other = first.topic(), first.topic()
    for each in (topic, other):
        await join_ephemeral(each)
        await each.leave("watcher", EPHEMERAL)
    await first.engine.stop()
    assert frozen.now_us is not None
    frozen.now_us += MINUTE

    second = await frozen.replica()
    await pass_time(second, RETURN_US - SECOND)
    await join_ephemeral(second.topic(topic.name))
    await pass_time(second, SECOND)

    assert frozen.raw.hkeys(frozen.key(topic.name, "groups")) == [EPHEMERAL.encode()]
    assert not frozen.raw.exists(frozen.key(other.name, "groups"))
    assert notes(frozen) == {}


async def test_a_check_that_races_with_a_return_keeps_the_next_note(frozen: RedisBus) -> None:
    """A sweep finds a session in the group. The session leaves before the sweep removes the old note."""
    replica = await frozen.replica()
    topic = replica.topic()
    await join_ephemeral(topic)
    await topic.leave("watcher", EPHEMERAL)
    stale = int(notes(frozen)[f"{topic.name}/{EPHEMERAL}".encode()])
    await join_ephemeral(topic, "again")
    await replica.advance(MINUTE)
    await topic.leave("again", EPHEMERAL)

    await replica.engine._engine.ephemeral._note(f"{topic.name}/{EPHEMERAL}", "", stale)

    assert notes(frozen).keys() == {f"{topic.name}/{EPHEMERAL}".encode()}
    await pass_time(replica, SECOND)
    assert not frozen.raw.exists(frozen.key(topic.name, "groups"))


# --- partitions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (3, 1)])
async def test_groups_keep_their_kind_when_the_partitions_change(frozen: RedisBus, before: int, after: int) -> None:
    """There are a lasting group, an ephemeral one with a session, and one that is about to be removed."""
    replica = await frozen.replica()
    topic = replica.topic()
    await topic.configure(partitions=before)
    await topic.join()
    await join_ephemeral(topic)
    await topic.join("gone", "going", ephemeral_us=SECOND)
    await topic.leave("gone", "going")

    await topic.configure(partitions=after)
    await topic.dispatch(*(f"event-{number}" for number in range(20)))

    assert len(await topic.lease_all("watcher", EPHEMERAL)) == len(await topic.lease_all()) == 20
    assert (await topic.group(EPHEMERAL)).ephemeral
    assert not (await topic.group()).ephemeral
    await pass_time(replica, RETURN_US)
    await pass_time(replica, RETURN_US)
    assert await groups(topic) == ["default", EPHEMERAL]
    await topic.ack(*await topic.lease_all("watcher", EPHEMERAL), group=EPHEMERAL)
    await topic.leave("watcher", EPHEMERAL)
    await topic.shorten(0, "watcher", EPHEMERAL)
    await pass_time(replica, MINUTE)
    assert await groups(topic) == ["default"]
    assert notes(frozen) == {}


async def test_a_refused_change_of_partitions_keeps_the_groups(frozen: RedisBus) -> None:
    replica = await frozen.replica()
    topic = replica.topic()
    await topic.configure(partitions=2)
    await join_ephemeral(topic)
    await topic.leave("watcher", EPHEMERAL)
    closed = Partition(topic.name, 0, 2)
    frozen.raw.hdel(frozen.key(closed, "config"), "partitions")

    await pass_time(replica, MINUTE)

    assert notes(frozen).keys() == {f"{closed}/{EPHEMERAL}".encode()}
    frozen.raw.hset(frozen.key(closed, "config"), "partitions", 2)
    await pass_time(replica, MINUTE)
    assert notes(frozen) == {}
    assert not frozen.raw.exists(frozen.key(closed, "groups"))


# --- processes --------------------------------------------------------------------------------------------------------


async def test_when_a_server_is_killed_the_others_remove_its_ephemeral_groups(
    start_server: Callable[..., ServerProcess],
) -> None:
    """Each server has workers. When one is killed, some of its workers move to the other server."""
    flags = redis_flags()
    first, other = start_server(*flags), start_server(*flags)
    topic = unique_name()
    async with connect(first.address) as here, connect(other.address) as there:
        lost = await here.subscribe(topic, group="lost", ephemeral=True)
        moves = await here.subscribe(topic, group="moves", ephemeral=True)
        await there.dispatch(topic, "event")
        held = await moves.one()
        await lost.one()
        first.kill()
        killed = time.monotonic()
        moved = await there.subscribe(topic, group="moves", ephemeral=True, held_lease_tokens=[held.lease_token])
        assert moved.started.lost_lease_tokens == []
        while "lost" in {group.group for group in (await there.topic(topic)).groups}:
            assert time.monotonic() - killed < SIGNAL_TIMEOUT_S
        figure(f"the ephemeral group of a killed server was gone after {time.monotonic() - killed:.1f} s")
        assert {group.group for group in (await there.topic(topic)).groups} == {"", "moves"}
        assert await there.ack(held) == []
        assert [frame.WhichOneof("frame") for frame in moved.frames] == [], "its stream goes on"
