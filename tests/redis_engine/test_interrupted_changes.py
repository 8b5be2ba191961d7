"""A replica begins a change of the number of partitions and does not finish it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from duebus_server.domain.clock import MINUTE
from duebus_server.domain.errors import (
    DispatcherNotWorking,
    InvalidArgument,
    NotFound,
)
from support.builders import unique_name
from support.partitions import COUNT, break_off, dispatch_one_each, in_partition, partitions_with
from support.topics import ids

if TYPE_CHECKING:
    from duebus_server.engine.redis.partition import Partition
    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("after", [1, 3, 4])
async def test_another_replica_finishes_an_interrupted_change(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    other = await bus.replica()
    for step in range(40):
        topic = replica.topic()
        there = other.topic(topic.name)
        await there.join("session")
        await topic.configure(partitions=before)
        is_broken = await break_off(replica.engine, partial(topic.configure, partitions=after), step, monkeypatch)
        names = await dispatch_one_each(there)
        held = await there.lease_all("session")
        assert sorted(ids(held)) == sorted(names), f"interrupted before step {step}"
        (group,) = (await topic.engine.get_topic(topic.name)).groups
        assert [(one.session_id, one.in_flight) for one in group.subscribers] == [("session", COUNT)]
        assert await partitions_with(bus, topic, "events", "groups", "sessions", "group") == set()
        if not is_broken:
            break
    assert not is_broken


@pytest.mark.parametrize("number", range(COUNT))
async def test_another_replica_undoes_an_interrupted_change_of_a_topic_with_events(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It finds an event in one of the partitions, and opens the others again."""
    other = await bus.replica()
    for step in range(40):
        topic = replica.topic()
        there = other.topic(topic.name)
        await topic.configure(partitions=COUNT)
        await there.join()
        await topic.dispatch(in_partition(number, "first"))
        try:
            is_broken = await break_off(replica.engine, partial(topic.configure, partitions=2), step, monkeypatch)
        except InvalidArgument:
            is_broken = False
        names = await dispatch_one_each(there)
        held = await there.lease_all()
        assert sorted(ids(held)) == sorted([in_partition(number, "first"), *names]), f"interrupted before step {step}"
        assert (await topic.engine.config_of(topic.name)).partitions == COUNT
        if not is_broken:
            break
    assert not is_broken


@pytest.mark.parametrize(
    ("before", "mine", "others"), [(4, 2, 3), (4, 1, 2), (1, 4, 4), (2, 4, 1), (4, 2, 0), (2, 0, 4)]
)
async def test_a_replica_suspended_in_a_change_does_not_disturb_a_later_change(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, before: int, mine: int, others: int
) -> None:
    """Its lock expires meanwhile, and the topic holds events when it continues. 0 partitions: the topic is deleted."""
    other, stale = await bus.replica(), await bus.replica()
    run = replica.engine._engine._runner.run
    for step in range(1 if mine == 0 else 0, 40):  # a deletion that has not begun deletes what it finds
        topic = replica.topic()
        there, elsewhere = other.topic(topic.name), stale.topic(topic.name)
        await topic.configure(partitions=before, dedupe_window_us=0)
        await elsewhere.join()
        is_suspended, continues = asyncio.Event(), asyncio.Event()
        steps = [*[None] * step, (is_suspended, continues)]

        async def suspends(script: Any, name: Partition, *arguments: Any, steps: Any = steps, **more: Any) -> Any:
            now = steps.pop(0) if steps else None
            if now is not None:
                now[0].set()
                await now[1].wait()
            return await run(script, name, *arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(replica.engine._engine._runner, "run", suspends)
            changing = asyncio.create_task(change_once(topic, mine))
            waiting = asyncio.create_task(is_suspended.wait())
            await asyncio.wait([changing, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            bus.raw.delete(f"{bus.namespace}:{{lock:partitions:{topic.name}}}")
            with suppress(NotFound):
                await (there.configure(partitions=others) if others else there.delete())
            await elsewhere.join()
            names = await dispatch_one_each(there, "there") + await dispatch_one_each(elsewhere, "elsewhere")
            continues.set()
            await changing
        for driver in (topic, there, elsewhere):
            names += await dispatch_one_each(driver, unique_name())
        held = await elsewhere.lease_all()
        assert sorted(ids(held)) == sorted(names), f"suspended before step {step}"
        assert await partitions_with(bus, topic, "events") == set()
        if not is_suspended.is_set():
            break
    assert not is_suspended.is_set()


@pytest.mark.parametrize(
    "late",
    [
        "partition_close",
        "partition_prepare",
        "partitions_commit",
        "partition_open",
        "partition_clear",
        "partitions_end",
    ],
)
async def test_late_steps_of_a_change_do_not_disturb_the_next_one(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """A replica continues a change that another one has undone meanwhile."""
    other, stale = await bus.replica(), await bus.replica()
    topic = replica.topic()
    there, elsewhere = other.topic(topic.name), stale.topic(topic.name)
    await topic.configure(partitions=2)
    run, steps = replica.engine._engine._runner.run, []

    async def noting(script: Any, name: Partition, *arguments: Any, **more: Any) -> Any:
        if script.name == late:
            steps.append(partial(run, script, name, *arguments, **more))
        return await run(script, name, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(replica.engine._engine._runner, "run", noting)
        await topic.configure(partitions=COUNT)
    await elsewhere.join()
    await there.configure(partitions=2)
    names = await dispatch_one_each(there, "before")

    for step in steps:
        await step()

    names += await dispatch_one_each(elsewhere, "after") + await dispatch_one_each(there, "at last")
    assert sorted(ids(await elsewhere.lease_all())) == sorted(names)
    assert await partitions_with(bus, topic, "events") == set()
    assert steps


async def change_once(topic: TopicDriver, count: int) -> None:
    """Change the number of partitions, or delete the topic. It may fail if another replica was faster."""
    partitioning = topic.engine._partitioning  # type: ignore[attr-defined]
    with suppress(InvalidArgument, DispatcherNotWorking):
        await (partitioning.change(topic.name, count) if count else partitioning.delete(topic.name))


@pytest.mark.parametrize("before", [2, 4])
async def test_another_replica_finishes_an_interrupted_deletion_of_partitions(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    other = await bus.replica()
    for step in range(40):
        topic = replica.topic()
        await topic.configure(partitions=before, lease_us=MINUTE)
        await topic.dispatch(*(in_partition(number) for number in range(COUNT)))
        is_broken = await break_off(replica.engine, topic.delete, step, monkeypatch)
        has_begun = bus.raw.hget(bus.key(topic.name, "config"), "partitions") != str(before).encode()
        if is_broken and has_begun:
            there = other.topic(topic.name)
            await there.join()
            await there.dispatch("new")
            assert ids(await there.lease()) == ["new"], f"interrupted before step {step}"
            assert (await other.engine.config_of(topic.name)).partitions == 1
        if not is_broken:
            break
    assert not is_broken


async def test_a_dispatch_during_a_change_by_another_replica_can_be_retried(
    bus: RedisBus, partitioned: TopicDriver, replica: Replica
) -> None:
    other = await bus.replica()
    locks = other.engine._engine._presence._locks
    lock = await locks.acquire(f"partitions:{partitioned.name}", MINUTE)
    assert lock is not None
    bus.raw.hset(bus.key(partitioned.name, "config"), "partitions", f"{COUNT}>2/{0:016x}")
    fresh = (await bus.replica()).topic(partitioned.name)
    with pytest.raises(DispatcherNotWorking, match="being changed") as raised:
        await fresh.dispatch("event")
    assert raised.value.retry_after_us
    other_topic = fresh.harness.topic()  # type: ignore[attr-defined]
    assert (await other_topic.configure(partitions=2)).partitions == 2, "each topic has its own lock"
    await locks.release(lock)
    await fresh.dispatch("event")
    assert (await replica.engine.config_of(partitioned.name)).partitions == 2
    assert (await replica.engine.get_topic(partitioned.name)).queued == 1
