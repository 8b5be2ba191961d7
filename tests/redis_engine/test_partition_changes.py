"""The number of a topic's partitions changes: what is kept, and when the replicas notice."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SystemClock
from duebus_server.domain.errors import (
    DispatcherNotWorking,
    InvalidArgument,
    MaxQueuedEventsReached,
    NotFound,
    PartialDispatch,
    PartitionsChanging,
)
from duebus_server.domain.model import DEFAULT_GROUP, DispatchAnswer
from duebus_server.engine.redis.partition import Partition, partitions_of
from support.builders import unique_name
from support.checked_keys import check_keys_of, undeclared_keys
from support.partitions import COUNT, break_off, dispatch_one_each, in_partition, of, partitions_with
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver


async def test_the_number_can_be_changed_only_while_the_topic_holds_no_events(partitioned: TopicDriver) -> None:
    await partitioned.join()
    await partitioned.dispatch("event")
    with pytest.raises(
        InvalidArgument, match=r"config\.partitions: can be changed only while the topic holds no events"
    ):
        await partitioned.configure(partitions=2)
    assert (await partitioned.engine.config_of(partitioned.name)).partitions == COUNT
    await partitioned.dispatch(*(in_partition(number, "after") for number in range(COUNT)))
    held = await partitioned.lease()
    assert len(held) == 1 + COUNT
    await partitioned.ack(*held)
    assert (await partitioned.configure(partitions=2)).partitions == 2


async def test_a_topic_with_one_partition_can_be_changed_only_while_it_holds_no_events(topic: TopicDriver) -> None:
    await topic.dispatch("event")
    with pytest.raises(InvalidArgument, match=r"config\.partitions"):
        await topic.configure(partitions=2)
    await topic.join()
    assert ids(await topic.lease()) == ["event"]


@pytest.mark.parametrize("numbers", [(4, 1), (2, 64), (4, 3, 1, 2)])
async def test_settings_groups_and_pauses_are_kept(bus: RedisBus, topic: TopicDriver, numbers: tuple[int, ...]) -> None:
    await topic.join()
    await topic.join(group="paused")
    await topic.configure(max_retries=9, lease_us=MINUTE)
    await topic.configure_group("paused", max_retries=2)
    await topic.pause("paused")
    for number in numbers:
        config = await topic.configure(partitions=number)
        assert (config.partitions, config.retry_policy.max_retries, config.lease_us) == (number, 9, MINUTE)
        await topic.dispatch(f"event {number}")
        held = await topic.lease()
        assert ids(held) == [f"event {number}"]
        await topic.ack(*held)
        group = await topic.group("paused")
        assert (group.paused, group.retry_policy.max_retries) == (True, 2)
        await topic.resume("paused")
        await topic.ack(*await topic.lease(group="paused"), group="paused")
        await topic.pause("paused")
    tags = {key.partition("}")[0] for key in of(topic, bus.stored_keys()) if not key.endswith(":config")}
    assert tags <= {"{" + one.hash_tag for one in partitions_of(topic.name, numbers[-1])}


async def test_a_replica_with_an_old_number_is_corrected_before_it_stores_anything(
    bus: RedisBus, topic: TopicDriver
) -> None:
    stale, other = (await bus.replica()).topic(topic.name), (await bus.replica()).topic(topic.name)
    await stale.join("session")
    for count in (COUNT, 2, 1, COUNT):
        await topic.configure(partitions=count, dedupe_window_us=0)
        names = await dispatch_one_each(stale)
        held = await stale.lease("session")
        assert sorted(ids(held)) == sorted(names), f"{count} partitions"
        assert await other.extend(*held) == [None] * COUNT
        assert await other.ack(*held) == [None] * COUNT
        assert (await other.group()).subscribers[0].session_id == "session"


async def test_a_replica_with_an_old_number_configures_all_partitions(bus: RedisBus, topic: TopicDriver) -> None:
    await topic.configure(partitions=COUNT)
    await topic.join()
    fresh = (await bus.replica()).topic(topic.name)
    assert (await fresh.configure_group(max_retries=7)).retry_policy.max_retries == 7
    assert (await topic.group()).retry_policy.max_retries == 7
    fresh = (await bus.replica()).topic(topic.name)
    await fresh.configure(max_queued=COUNT)
    assert (await topic.configure()).max_queued == COUNT
    await dispatch_one_each(topic)
    for number in range(COUNT):
        assert isinstance(await topic.try_dispatch(in_partition(number, "more")), MaxQueuedEventsReached)


async def test_a_session_that_waits_is_notified_when_the_number_changes(bus: RedisBus, topic: TopicDriver) -> None:
    replica = await bus.replica()
    subscriber = replica.topic(topic.name)
    await subscriber.join()
    assert await subscriber.lease() == []
    replica.recorder.forget()
    await topic.configure(partitions=COUNT)
    await replica.recorder.until_due(topic.name, DEFAULT_GROUP, lambda _: True)
    assert await subscriber.lease() == []
    replica.recorder.forget()
    await topic.dispatch("event")
    await replica.recorder.until_due(topic.name, DEFAULT_GROUP, lambda _: True)
    assert ids(await subscriber.lease()) == ["event"]


async def test_the_sweep_finds_a_change_without_a_notification(bus: RedisBus, topic: TopicDriver) -> None:
    replica = await bus.replica()
    subscriber = replica.topic(topic.name)
    await subscriber.join()
    await topic.configure(partitions=COUNT)
    await replica.recorder.until_due(topic.name, DEFAULT_GROUP, lambda _: True)
    replica.recorder.forget()
    await replica.engine.expire_leases()
    assert [due.topic for due in replica.recorder.dues] == [topic.name]


def skew_clocks(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the replica see nodes whose clocks are an hour behind, right, or an hour ahead."""
    runner = replica.engine._engine._runner
    common = runner._common

    def on_its_node(partition: Partition | None) -> tuple[str, ...]:
        prefix, _, *rest = common(partition)
        node = crc32(str(partition).encode()) % 3 - 1
        return prefix, str(SystemClock().now_us() + node * HOUR), *rest

    monkeypatch.setattr(runner, "_common", on_its_node)


async def test_the_clocks_of_the_nodes_need_not_agree_for_a_change(
    bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it has joined, a session leases from every partition, whatever the clocks say."""
    replica, other = await bus.replica(), await bus.replica()
    for one in (replica, other):
        skew_clocks(one, monkeypatch)
    for _ in range(4):  # topics on other nodes
        topic = replica.topic()
        subscriber = other.topic(topic.name)
        tokens = [0]
        for count in (COUNT, 2, 1, 3, COUNT):
            assert (await topic.configure(partitions=count)).partitions == count
            name = unique_name()
            await topic.dispatch(name)
            await subscriber.join()
            (held,) = await subscriber.lease()
            assert held.event_id == name
            assert held.fencing_token > tokens[-1]
            tokens.append(held.fencing_token)
            await subscriber.ack(held)
        await dispatch_one_each(topic)
        assert await topic.delete() == COUNT
        await other.recorder.until(lambda: (topic.name, None) in other.recorder.deletions, "the deletion")  # noqa: B023
        with pytest.raises(NotFound):
            await subscriber.lease()
        assert of(topic, bus.stored_keys()) == set()


@pytest.mark.parametrize("seed", range(3))
async def test_dispatches_during_interrupted_changes_are_delivered(
    bus: RedisBus, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Each dispatch is made at another step of a change. All replicas declare their keys."""
    rng = random.Random(seed)
    replicas = [await bus.replica() for _ in range(4)]
    for replica in replicas:
        check_keys_of(replica.engine)
    name = unique_name()
    *dispatching, changing = (replica.topic(name) for replica in replicas)
    answered: list[str] = []
    done: list[str] = []
    counts: set[int] = set()

    has_begun = asyncio.Event()
    set_when_a_change_begins(has_begun, replicas[-1], monkeypatch)

    async def work(driver: TopicDriver) -> None:
        await has_begun.wait()
        for _ in range(rng.randrange(30)):
            await asyncio.sleep(0)
        answer = await until_accepted(driver.try_dispatch, *(unique_name() for _ in range(rng.randrange(1, 6))))
        if isinstance(answer, DispatchAnswer | PartialDispatch):
            answered.extend(answer.event_ids)

    async def change() -> None:
        count, step = rng.choice((1, 2, 3, COUNT)), rng.randrange(60)
        with suppress(InvalidArgument, DispatcherNotWorking):
            await break_off(replicas[-1].engine, partial(changing.configure, partitions=count), step, monkeypatch)
        has_begun.set()
        counts.add((await changing.engine.config_of(name)).partitions)

    for driver in dispatching:
        await driver.join()
    for _ in range(30):
        has_begun.clear()
        await asyncio.gather(change(), *map(work, dispatching))
        for driver in dispatching:
            held = await until_accepted(driver.lease_all)
            done += ids(held)
            await until_accepted(driver.ack, *held)
    assert len(counts) > 1, "changes are made meanwhile"
    assert sorted(done) == sorted(answered)
    assert await partitions_with(bus, changing, "events") == set()
    assert await undeclared_keys(replicas[-1].engine) == set()


def set_when_a_change_begins(event: asyncio.Event, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through this replica."""
    run = replica.engine._engine._runner.run

    async def noting(script: Any, *arguments: Any, **more: Any) -> Any:
        answer = await run(script, *arguments, **more)
        if script.name == "partitions_begin":
            event.set()
        return answer

    monkeypatch.setattr(replica.engine._engine._runner, "run", noting)


async def until_accepted(verb: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Repeat a call while the partitions are being changed."""
    async with asyncio.timeout(30):
        while True:
            with suppress(PartitionsChanging):
                return await verb(*arguments)
            await asyncio.sleep(0.01)  # a retry, as a client does it


async def test_settings_made_during_a_change_reach_every_partition(bus: RedisBus, topic: TopicDriver) -> None:
    bus.raw.hset(bus.key(topic.name, "config"), "partitions", f"1>{COUNT}/{0:016x}")
    assert (await topic.configure(max_queued=COUNT)).partitions == COUNT
    await dispatch_one_each(topic)
    for number in range(COUNT):
        assert isinstance(await topic.try_dispatch(in_partition(number, "more")), MaxQueuedEventsReached)


@pytest.mark.parametrize(("before", "after"), [(COUNT, 2), (2, COUNT), (COUNT, 1)])
async def test_a_session_whose_move_to_other_partitions_failed_is_moved_by_the_next_lease(
    bus: RedisBus, topic: TopicDriver, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    subscriber = (await bus.replica()).topic(topic.name)
    await subscriber.join()
    for step in range(40):
        await topic.configure(partitions=before)
        assert await subscriber.lease() == []
        await topic.configure(partitions=after)
        is_broken = await break_off(subscriber.engine, subscriber.lease, step, monkeypatch)
        names = await dispatch_one_each(topic, f"after step {step}")
        held = await subscriber.lease_all()
        assert sorted(ids(held)) == sorted(names), f"failed before step {step}"
        await subscriber.ack(*held)
        if not is_broken:
            break
    assert not is_broken


async def test_a_lease_during_which_its_session_is_moved_goes_on_in_the_new_partitions(
    bus: RedisBus, partitioned: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dispatch through the same replica notices the change while the lease goes from partition to partition."""
    replica = await bus.replica()
    subscriber = replica.topic(partitioned.name)
    await subscriber.join()
    runner = replica.engine._engine._runner
    run, asked, moved = runner.run, asyncio.Event(), asyncio.Event()

    async def waits_once(script: Any, *arguments: Any, **more: Any) -> Any:
        answer = await run(script, *arguments, **more)
        if script.name == "lease" and not asked.is_set():
            asked.set()
            await moved.wait()
        return answer

    monkeypatch.setattr(runner, "run", waits_once)
    leasing = asyncio.create_task(subscriber.lease())
    await asked.wait()
    await partitioned.configure(partitions=2)
    await subscriber.dispatch("event")
    moved.set()
    assert ids(await leasing) == ["event"]


async def test_a_session_that_is_moved_while_it_joins_joins_the_new_partitions(
    bus: RedisBus, partitioned: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await bus.replica()
    subscriber = replica.topic(partitioned.name)
    await subscriber.join("other")
    notes = replica.engine._engine.members._notes
    add, noted, moved = notes.add, asyncio.Event(), asyncio.Event()

    async def waits_in_each_partition(groups: Any) -> None:
        await add(groups)
        if groups[0][0].count == COUNT:
            noted.set()
            await moved.wait()

    monkeypatch.setattr(notes, "add", waits_in_each_partition)
    joining = asyncio.create_task(subscriber.join())
    await noted.wait()
    await partitioned.configure(partitions=2)
    await subscriber.dispatch("event")
    moved.set()
    await joining
    assert ids(await subscriber.lease()) == ["event"]
