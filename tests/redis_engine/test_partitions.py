"""Topics with several partitions: how their number is changed, and when replicas find out."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock
from zlib import crc32

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SystemClock
from duebus_server.domain.errors import (
    ConcurrentModification,
    DispatcherNotWorking,
    InvalidArgument,
    MaxQueuedEventsReached,
    Moved,
    NotFound,
    PartialDispatch,
    RequestIdReused,
)
from duebus_server.domain.model import DEFAULT_GROUP, DispatchAnswer, DispatchRequest, EngineName
from duebus_server.engine.redis.locks import Locks
from duebus_server.engine.redis.partition import Partition, partition_number, partitions_of
from support.builders import new_event, new_events, unique_name
from support.checked_keys import check_keys_of, undeclared_keys
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver

COUNT = 4


@pytest.fixture
async def partitioned(topic: TopicDriver) -> TopicDriver:
    """A topic with four partitions."""
    await topic.configure(partitions=COUNT)
    return topic


def in_partition(number: int, prefix: str = "id") -> str:
    """An id of an event or a request that belongs to this one of four partitions."""
    return next(name for name in (f"{prefix}-{nth}" for nth in range(1_000)) if partition_number(name, COUNT) == number)


async def dispatch_one_each(topic: TopicDriver, prefix: str = "id") -> list[str]:
    """An event in each partition, each in its own request."""
    names = [in_partition(number, prefix) for number in range(COUNT)]
    for name in names:
        await topic.dispatch(name)
    return names


def held_in(bus: RedisBus, topic: TopicDriver) -> list[int]:
    """How many events each partition holds."""
    return [bus.raw.hlen(bus.key(name, "events")) for name in partitions_of(topic.name, COUNT)]


def of(topic: TopicDriver, keys: set[str]) -> set[str]:
    """The keys of a topic and its partitions."""
    return {key for key in keys if key.startswith("{" + topic.name)}


# --- where events are ---


async def test_a_topic_with_one_partition_has_the_keys_it_always_had(bus: RedisBus, topic: TopicDriver) -> None:
    await topic.join()
    await topic.dispatch("event", request_id="request")
    await topic.lease_one()
    assert all(key.startswith("{" + topic.name + "}:") for key in of(topic, bus.stored_keys()))
    assert not bus.raw.exists(bus.key(topic.name, "config"))


async def test_events_without_ids_stay_together_and_requests_go_to_all_partitions(
    bus: RedisBus, partitioned: TopicDriver
) -> None:
    await partitioned.join()
    for nth in range(40):
        await partitioned.dispatch(*new_events(3), request_id=f"request {nth}" if nth % 2 else "")
    sizes = held_in(bus, partitioned)
    assert sum(sizes) == 120
    assert all(size > 0 and size % 3 == 0 for size in sizes)
    assert await partitioned.queued() == 120
    held = await partitioned.lease(max_events=1_000)
    assert len(held) == 120
    assert await partitioned.ack(*held) == [None] * 120
    assert await partitioned.queued() == 0


@pytest.mark.parametrize("request_id", ["", *(in_partition(number, "request") for number in range(COUNT))])
async def test_an_event_belongs_to_a_partition_by_its_id_whichever_request_it_is_in(
    bus: RedisBus, partitioned: TopicDriver, request_id: str
) -> None:
    names = [in_partition(number) for number in range(COUNT)]
    await partitioned.join()
    assert (await partitioned.dispatch(*names, request_id=request_id)).event_ids == names
    assert held_in(bus, partitioned) == [1] * COUNT
    again = await partitioned.dispatch("new", *reversed(names), names[0], request_id="another")
    assert again.event_ids == ["new", *reversed(names), names[0]]
    assert sorted(again.duplicate_event_ids) == sorted([*names, names[0]])
    assert sorted(ids(await partitioned.lease())) == sorted(["new", *names])


async def test_a_repeated_request_of_several_partitions_has_its_first_answer(partitioned: TopicDriver) -> None:
    names = [in_partition(number) for number in range(COUNT)]
    await partitioned.dispatch(names[2])
    first = await partitioned.dispatch(names[0], new_event(), names[2], new_event(), names[3], request_id="request")
    assert first.duplicate_event_ids == [names[2]]
    again = await partitioned.dispatch(names[0], new_event(), names[2], new_event(), names[3], request_id="request")
    assert (again.event_ids, again.duplicate_event_ids) == (first.event_ids, first.duplicate_event_ids)
    assert await partitioned.queued() == 5


async def test_a_dispatch_that_fails_part_way_lists_what_is_stored_and_a_repetition_completes_it(
    bus: RedisBus, partitioned: TopicDriver
) -> None:
    bad = bus.key(partitions_of(partitioned.name, COUNT)[1], "events")
    bus.raw.set(bad, "not ours")
    names = [in_partition(number) for number in (1, 0, 3)]
    request_id = in_partition(2, "request")
    failed = await partitioned.try_dispatch(*names, new_event(), request_id=request_id)
    assert isinstance(failed, PartialDispatch)
    assert isinstance(failed.cause, DispatcherNotWorking)
    assert failed.retry_after_us
    assert list(failed.stored_engines) == [EngineName.REDIS]
    assert list(failed.event_ids[:2]) == names[1:]
    assert len(failed.event_ids) == 3

    bus.raw.delete(bad)
    done = await partitioned.dispatch(*names, new_event(), request_id=request_id)

    assert done.event_ids == [*names, failed.event_ids[2]]
    assert done.duplicate_event_ids == []
    assert held_in(bus, partitioned) == [1] * COUNT


async def test_a_dispatch_that_meets_a_change_part_way_lists_what_is_stored(
    bus: RedisBus, partitioned: TopicDriver
) -> None:
    """Given a closed partition, and another replica that is changing it."""
    lock = await Locks((await bus.replica()).engine._engine._runner).acquire(f"partitions:{partitioned.name}", MINUTE)
    assert lock is not None
    bus.raw.hset(bus.key(partitions_of(partitioned.name, COUNT)[1], "config"), "partitions", f"{COUNT}/{0:016x}")
    names = [in_partition(number) for number in (1, 0, 3)]
    whole, part = await partitioned.engine.dispatch(
        partitioned.name, [DispatchRequest([new_event(in_partition(2))]), DispatchRequest([*map(new_event, names)])]
    )
    assert isinstance(whole, DispatchAnswer)
    assert isinstance(part, PartialDispatch)
    assert isinstance(part.cause, Moved)
    assert list(part.event_ids) == names[1:]


async def test_where_no_partition_has_stored_anything_the_error_is_its_own(topic: TopicDriver) -> None:
    await topic.configure(partitions=COUNT, max_queued=COUNT)
    await dispatch_one_each(topic)
    full = await topic.try_dispatch(*(in_partition(number, "more") for number in range(COUNT)))
    assert isinstance(full, MaxQueuedEventsReached)
    part = await topic.try_dispatch(in_partition(1), in_partition(2, "more"))
    assert isinstance(part, PartialDispatch)
    assert (part.reason, list(part.event_ids)) == (full.reason, [in_partition(1)])


async def test_a_reused_request_id_is_noticed_where_the_requests_have_a_partition_in_common(
    partitioned: TopicDriver,
) -> None:
    one, two, three = (in_partition(number) for number in (1, 2, 3))
    await partitioned.dispatch(one, two, request_id="request")
    assert isinstance(await partitioned.try_dispatch(one, request_id="request"), RequestIdReused)
    refused = await partitioned.try_dispatch(one, three, request_id="request")
    assert isinstance(refused, PartialDispatch)
    assert isinstance(refused.cause, RequestIdReused)
    assert list(refused.event_ids) == [three]


@pytest.mark.parametrize("after", [1, 2, COUNT * 2])
async def test_a_dispatch_that_meets_a_change_of_the_number_stores_each_event_once(
    bus: RedisBus, partitioned: TopicDriver, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Given events of one partition that are acked before the others are found closed."""
    other = (await bus.replica()).topic(partitioned.name)
    await other.join()
    runner = partitioned.engine._engine._runner  # type: ignore[attr-defined]
    run, first = runner.run, iter([True])
    names = [in_partition(number) for number in range(COUNT)]

    async def meets_a_change(script: Any, name: Partition, *arguments: Any) -> Any:
        if script.name == "dispatch" and not next(first, False):
            await changed.wait()
        return await run(script, name, *arguments)

    changed = asyncio.Event()

    async def change() -> list[str]:
        held = await other.lease_all()
        while not held:
            held = await other.lease_all()
        await other.ack(*held)
        await other.configure(partitions=after)
        changed.set()
        return ids(held)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "run", meets_a_change)
        (done, answer) = await asyncio.gather(change(), partitioned.dispatch(*names, request_id="request"))
    assert answer.event_ids == names
    assert sorted([*done, *ids(await other.lease_all())]) == sorted(names)


async def test_a_session_asks_only_where_something_may_be_due(
    partitioned: TopicDriver, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await partitioned.join()
    assert await partitioned.lease() == []
    asked = []
    run = replica.engine._engine._runner.run

    async def counted(script: Any, name: Partition, *arguments: Any, **more: Any) -> Any:
        asked.append((script.name, name))
        return await run(script, name, *arguments, **more)

    monkeypatch.setattr(replica.engine._engine._runner, "run", counted)
    name = in_partition(2)
    await partitioned.dispatch(name)
    assert ids(await partitioned.lease()) == [name]
    assert [where.number for what, where in asked if what == "lease"] == [2]


async def test_a_recreated_group_is_asked_for_waiting_events_in_every_partition(partitioned: TopicDriver) -> None:
    """Found by the property machine: the cached state of the partitions was that of a deleted group."""
    await partitioned.join()
    assert await partitioned.lease() == []
    await partitioned.delete_group()
    names = await dispatch_one_each(partitioned)
    await partitioned.join()
    await partitioned.dispatch(in_partition(0, "later"))
    assert sorted(ids(await partitioned.lease())) == sorted([*names, in_partition(0, "later")])


async def test_fencing_tokens_are_unique_in_all_partitions_and_grow_for_each_event(
    partitioned: TopicDriver,
) -> None:
    await partitioned.join()
    await partitioned.configure(dedupe_window_us=0)
    names = await dispatch_one_each(partitioned)
    last = dict.fromkeys(names, 0)
    seen: set[int] = set()
    for count in (1, 3, COUNT, 2):
        for _ in range(3):
            for lease in await partitioned.lease():
                assert lease.fencing_token > last[lease.event_id]
                last[lease.event_id] = lease.fencing_token
                seen.add(lease.fencing_token)
                await partitioned.release(lease)
        await partitioned.ack(*await partitioned.lease())
        greatest = max(seen)
        await partitioned.configure(partitions=count)
        await dispatch_one_each(partitioned)
        last = dict.fromkeys(names, greatest)
    assert len(seen) == 4 * 3 * COUNT
    assert max(seen) < 1 << 53, "exact in a JavaScript number"


async def test_nothing_of_a_deleted_topic_remains_and_every_replica_hears(
    bus: RedisBus, partitioned: TopicDriver
) -> None:
    other = await bus.replica()
    await partitioned.join()
    await other.topic(partitioned.name).join("other")
    await dispatch_one_each(partitioned)
    assert len(await other.topic(partitioned.name).lease("other")) == COUNT
    assert await partitioned.delete() == COUNT
    await other.heard.until(lambda: bool(other.heard.deletions), "the deletion")
    assert other.heard.deletions == [(partitioned.name, None)]
    assert of(partitioned, bus.stored_keys()) == set()
    with pytest.raises(NotFound):
        await other.topic(partitioned.name).lease("other")
    await other.topic(partitioned.name).dispatch("event")
    assert (await other.engine.get_topic(partitioned.name)).config.partitions == 1


async def test_a_group_that_is_deleted_is_gone_everywhere(bus: RedisBus, partitioned: TopicDriver) -> None:
    other = await bus.replica()
    there = other.topic(partitioned.name)
    await partitioned.join()
    await there.join("other")
    await dispatch_one_each(partitioned)
    assert await partitioned.delete_group() == COUNT
    await other.heard.until(lambda: bool(other.heard.deletions), "the deletion")
    assert other.heard.deletions == [(partitioned.name, DEFAULT_GROUP)]
    with pytest.raises(NotFound):
        await there.lease("other")


async def test_a_topic_is_deleted_with_what_is_left_of_a_deleted_group(
    bus: RedisBus, partitioned: TopicDriver, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await partitioned.join()
    await partitioned.join(group="stays")
    await dispatch_one_each(partitioned)
    with monkeypatch.context() as patch:
        patch.setattr(replica.engine._engine.deletions, "dispose", AsyncMock())
        await partitioned.delete_group()
    assert any(":deleted:" in key for key in of(partitioned, bus.stored_keys()))
    assert await partitioned.delete() == COUNT
    assert of(partitioned, bus.stored_keys()) == set()


async def test_a_deletion_through_a_replica_that_knew_no_partitions_leaves_no_note(
    bus: RedisBus, topic: TopicDriver
) -> None:
    """Given a replica that believes the topic has one partition until it is corrected, as after a start."""
    await topic.configure(partitions=COUNT)
    await topic.join()
    there = (await bus.replica()).topic(topic.name)
    await there.delete_group()

    await there.engine.expire_leases()

    assert not bus.raw.exists(f"{bus.namespace}:deleting")


async def test_rescheduling_is_refused_before_anything_changes_when_one_is_leased(partitioned: TopicDriver) -> None:
    await partitioned.join()
    first, *others = await dispatch_one_each(partitioned)
    held = {lease.event_id: lease for lease in await partitioned.lease()}
    await partitioned.release(*(held[name] for name in others))
    with pytest.raises(ConcurrentModification) as raised:
        await partitioned.reschedule(*others, first, delay_us=HOUR)
    assert raised.value.metadata["event"] == first
    assert sorted(ids(await partitioned.lease())) == sorted(others)


# --- the number is changed ---


async def test_dead_letters_outlive_no_retention_in_any_partition(frozen_bus: RedisBus) -> None:
    topic = (await frozen_bus.replica()).topic()
    await topic.configure(dead_letter_retention_us=HOUR)
    await topic.configure(partitions=COUNT)
    await topic.join()
    await dispatch_one_each(topic)
    await topic.dead_letter(*await topic.lease())
    await topic.engine.expire_leases()
    assert sum((await topic.counts()).values()) == COUNT
    await topic.harness.advance(HOUR)
    await topic.engine.expire_leases()
    assert await topic.counts() == {}
    await topic.delete()
    assert not frozen_bus.raw.exists(f"{frozen_bus.namespace}:retention")


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


async def test_of_one_partition_as_well(topic: TopicDriver) -> None:
    await topic.dispatch("event")
    with pytest.raises(InvalidArgument, match=r"config\.partitions"):
        await topic.configure(partitions=2)
    await topic.join()
    assert ids(await topic.lease()) == ["event"]


@pytest.mark.parametrize("numbers", [(4, 1), (2, 64), (4, 3, 1, 2)])
async def test_settings_groups_and_pauses_go_along(bus: RedisBus, topic: TopicDriver, numbers: tuple[int, ...]) -> None:
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
    assert tags <= {"{" + str(one) for one in partitions_of(topic.name, numbers[-1])}


async def test_replicas_that_have_not_heard_are_corrected_before_they_do_harm(
    bus: RedisBus, topic: TopicDriver
) -> None:
    stale, settles = await bus.replica(), await bus.replica()
    there, elsewhere = stale.topic(topic.name), settles.topic(topic.name)
    await there.join("session")
    for count in (COUNT, 2, 1, COUNT):
        await topic.configure(partitions=count, dedupe_window_us=0)
        names = await dispatch_one_each(there)
        held = await there.lease("session")
        assert sorted(ids(held)) == sorted(names), f"{count} partitions"
        assert await elsewhere.extend(*held) == [None] * COUNT
        assert await elsewhere.ack(*held) == [None] * COUNT
        assert (await elsewhere.group()).subscribers[0].session_id == "session"


async def test_a_replica_that_has_not_heard_configures_all_partitions(bus: RedisBus, topic: TopicDriver) -> None:
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


async def test_a_session_that_waits_is_told_when_the_number_changes(bus: RedisBus, topic: TopicDriver) -> None:
    waiting = await bus.replica()
    there = waiting.topic(topic.name)
    await there.join()
    assert await there.lease() == []
    waiting.heard.forget()
    await topic.configure(partitions=COUNT)
    await waiting.heard.until_due(topic.name, DEFAULT_GROUP, lambda _: True)
    assert await there.lease() == []
    waiting.heard.forget()
    await topic.dispatch("event")
    await waiting.heard.until_due(topic.name, DEFAULT_GROUP, lambda _: True)
    assert ids(await there.lease()) == ["event"]


async def test_a_change_that_nobody_told_of_is_found_by_the_sweep(bus: RedisBus, topic: TopicDriver) -> None:
    deaf = await bus.replica()
    there = deaf.topic(topic.name)
    await there.join()
    await topic.configure(partitions=COUNT)
    await deaf.heard.until_due(topic.name, DEFAULT_GROUP, lambda _: True)
    deaf.heard.forget()
    await deaf.engine.expire_leases()
    assert [due.topic for due in deaf.heard.dues] == [topic.name]


def skew_clocks(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis as the replica sees it: partitions on nodes whose clocks are an hour behind, right, or an hour ahead."""
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
    """A session asks every partition after it has joined, regardless of the clocks' due times."""
    replica, other = await bus.replica(), await bus.replica()
    for one in (replica, other):
        skew_clocks(one, monkeypatch)
    for _ in range(4):  # names on other nodes
        topic = replica.topic()
        there = other.topic(topic.name)
        tokens = [0]
        for count in (COUNT, 2, 1, 3, COUNT):
            assert (await topic.configure(partitions=count)).partitions == count
            name = unique_name()
            await topic.dispatch(name)
            await there.join()
            (held,) = await there.lease()
            assert held.event_id == name
            assert held.fencing_token > tokens[-1]
            tokens.append(held.fencing_token)
            await there.ack(held)
        await dispatch_one_each(topic)
        assert await topic.delete() == COUNT
        await other.heard.until(lambda: (topic.name, None) in other.heard.deletions, "the deletion")  # noqa: B023
        with pytest.raises(NotFound):
            await there.lease()
        assert of(topic, bus.stored_keys()) == set()


@pytest.mark.parametrize("seed", range(3))
async def test_dispatches_during_changes_that_replicas_begin_and_break_off_are_delivered(
    bus: RedisBus, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """They come during a change, at a different step of it each time. All replicas declare their keys."""
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
            await break_off(replicas[-1], partial(changing.configure, partitions=count), step, monkeypatch)
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
            with suppress(Moved):
                return await verb(*arguments)
            await asyncio.sleep(0.01)  # a retry, as a client does it


async def test_settings_that_come_during_a_change_reach_every_partition(bus: RedisBus, topic: TopicDriver) -> None:
    bus.raw.hset(bus.key(topic.name, "config"), "partitions", f"1>{COUNT}/{0:016x}")
    assert (await topic.configure(max_queued=COUNT)).partitions == COUNT
    await dispatch_one_each(topic)
    for number in range(COUNT):
        assert isinstance(await topic.try_dispatch(in_partition(number, "more")), MaxQueuedEventsReached)


# --- a change is interrupted ---


class Broken(Exception):
    """The replica has died here."""


async def break_off(
    replica: Replica, change: Callable[[], Awaitable[Any]], step: int, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Do something that changes partitions, and die before its ``step``th script; False when it has fewer."""
    run, left = replica.engine._engine._runner.run, step

    async def dies(script: Any, name: Partition, *arguments: Any, **more: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Broken
        return await run(script, name, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(replica.engine._engine._runner, "run", dies)
        try:
            await change()
        except Broken:
            return True
    return False


async def partitions_with(bus: RedisBus, topic: TopicDriver, *names: str) -> set[str]:
    """The partitions that have one of these keys, as Redis knows them, less those that the topic has."""
    (await topic.engine.get_topic(topic.name))  # finishes the interrupted change
    count = (await topic.engine.config_of(topic.name)).partitions
    found = {key[1:].partition("}")[0] for key in of(topic, bus.stored_keys()) if key.rpartition(":")[2] in names}
    return found - set(map(str, partitions_of(topic.name, count)))


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("after", [1, 3, 4])
async def test_a_change_that_is_broken_off_is_finished_by_whoever_comes_next(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    other = await bus.replica()
    for step in range(40):
        topic = replica.topic()
        there = other.topic(topic.name)
        await there.join("session")
        await topic.configure(partitions=before)
        is_broken = await break_off(replica, lambda topic=topic: topic.configure(partitions=after), step, monkeypatch)  # type: ignore[misc]
        names = await dispatch_one_each(there)
        held = await there.lease_all("session")
        assert sorted(ids(held)) == sorted(names), f"broken off before step {step}"
        (group,) = (await topic.engine.get_topic(topic.name)).groups
        assert [(one.session_id, one.in_flight) for one in group.subscribers] == [("session", COUNT)]
        assert await partitions_with(bus, topic, "events", "groups", "sessions", "group") == set()
        if not is_broken:
            break
    assert not is_broken


@pytest.mark.parametrize("number", range(COUNT))
async def test_a_change_that_is_broken_off_and_can_not_be_made_fails_no_dispatch(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whoever finishes the change finds an event in one of the partitions, and opens the others again."""
    other = await bus.replica()
    for step in range(40):
        topic = replica.topic()
        there = other.topic(topic.name)
        await topic.configure(partitions=COUNT)
        await there.join()
        await topic.dispatch(in_partition(number, "first"))
        try:
            is_broken = await break_off(replica, lambda topic=topic: topic.configure(partitions=2), step, monkeypatch)  # type: ignore[misc]
        except InvalidArgument:
            is_broken = False
        names = await dispatch_one_each(there)
        held = await there.lease_all()
        assert sorted(ids(held)) == sorted([in_partition(number, "first"), *names]), f"broken off before step {step}"
        assert (await topic.engine.config_of(topic.name)).partitions == COUNT
        if not is_broken:
            break
    assert not is_broken


@pytest.mark.parametrize(
    ("before", "mine", "others"), [(4, 2, 3), (4, 1, 2), (1, 4, 4), (2, 4, 1), (4, 2, 0), (2, 0, 4)]
)
async def test_a_replica_that_was_suspended_in_a_change_does_no_harm_to_what_another_has_made_of_it(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, before: int, mine: int, others: int
) -> None:
    """The lock has expired meanwhile, and the topic holds events when the replica goes on. 0 deletes the topic."""
    other, stale = await bus.replica(), await bus.replica()
    run = replica.engine._engine._runner.run
    for step in range(1 if mine == 0 else 0, 40):  # a deletion that has not begun deletes what it finds
        topic = replica.topic()
        there, elsewhere = other.topic(topic.name), stale.topic(topic.name)
        await topic.configure(partitions=before, dedupe_window_us=0)
        await elsewhere.join()
        is_suspended, goes_on = asyncio.Event(), asyncio.Event()
        steps = [*[None] * step, (is_suspended, goes_on)]

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
            goes_on.set()
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
async def test_steps_of_a_change_that_come_late_do_no_harm_to_the_next_ones(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """Given a replica that continues a change that another one has undone meanwhile."""
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
    """Another number of partitions, or the deletion, unless another replica is faster or the topic holds events."""
    partitioning = topic.engine._partitioning  # type: ignore[attr-defined]
    with suppress(InvalidArgument, DispatcherNotWorking):
        await (partitioning.change(topic.name, count) if count else partitioning.delete(topic.name))


@pytest.mark.parametrize("before", [2, 4])
async def test_a_deletion_that_is_broken_off_is_finished_by_whoever_comes_next(
    bus: RedisBus, replica: Replica, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    other = await bus.replica()
    for step in range(40):
        topic = replica.topic()
        await topic.configure(partitions=before, lease_us=MINUTE)
        await topic.dispatch(*(in_partition(number) for number in range(COUNT)))
        is_broken = await break_off(replica, topic.delete, step, monkeypatch)
        has_begun = bus.raw.hget(bus.key(topic.name, "config"), "partitions") != str(before).encode()
        if is_broken and has_begun:
            there = other.topic(topic.name)
            await there.join()
            await there.dispatch("new")
            assert ids(await there.lease()) == ["new"], f"broken off before step {step}"
            assert (await other.engine.config_of(topic.name)).partitions == 1
        if not is_broken:
            break
    assert not is_broken


async def test_while_a_change_is_under_way_elsewhere_a_dispatch_is_to_be_repeated(
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
    assert (await other_topic.configure(partitions=2)).partitions == 2, "the lock is of one topic"
    await locks.release(lock)
    await fresh.dispatch("event")
    assert (await replica.engine.config_of(partitioned.name)).partitions == 2
    assert (await replica.engine.get_topic(partitioned.name)).queued == 1


async def test_a_partition_that_lost_everything_is_reopened(bus: RedisBus, partitioned: TopicDriver) -> None:
    await partitioned.join()
    lost = partitions_of(partitioned.name, COUNT)[1]
    for key in bus.raw.keys(f"{bus.namespace}:{{{lost}}}:*"):
        bus.raw.delete(key)
    names = await dispatch_one_each(partitioned)
    assert sorted(ids(await partitioned.lease_all())) == sorted(names)


async def test_a_lease_that_nobody_heard_of_is_taken_back_from_every_partition(
    partitioned: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await partitioned.join()
    names = await dispatch_one_each(partitioned)
    run, left = partitioned.engine._engine._runner.run, 3  # type: ignore[attr-defined]

    async def dies(script: Any, name: Partition, *arguments: Any, **more: Any) -> Any:
        nonlocal left
        if script.name == "lease":
            left -= 1
            if left < 0:
                raise Broken
        return await run(script, name, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(partitioned.engine._engine._runner, "run", dies)  # type: ignore[attr-defined]
        with pytest.raises(Broken):
            await partitioned.lease()
    held = await partitioned.lease()
    assert sorted(ids(held)) == sorted(names)
    assert {lease.attempt for lease in held} == {1}


async def test_a_failing_partition_affects_only_its_own_requests(bus: RedisBus, partitioned: TopicDriver) -> None:
    bad = partitions_of(partitioned.name, COUNT)[1]
    bus.raw.set(bus.key(bad, "events"), "not ours")
    requests = [DispatchRequest([new_event(in_partition(number))]) for number in range(COUNT)]
    answers = await partitioned.engine.dispatch(partitioned.name, requests)
    assert [isinstance(answer, DispatcherNotWorking) for answer in answers] == [False, True, False, False]
    bus.raw.delete(bus.key(bad, "events"))
    await partitioned.join()
    assert sorted(ids(await partitioned.lease())) == sorted(in_partition(number) for number in (0, 2, 3))
