"""Topics with several partitions: where their events are, and what holds for all partitions together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest
from duebus_server.bus.coalescing import PARTITIONS_AT_ONCE
from duebus_server.bus.dispatching import MAX_EVENTS_AT_ONCE
from duebus_server.domain.clock import HOUR, MINUTE
from duebus_server.domain.errors import (
    ConcurrentModification,
    DispatcherNotWorking,
    MaxQueuedEventsReached,
    NotFound,
    PartialDispatch,
    PartitionsChanging,
    RequestIdReused,
)
from duebus_server.domain.model import DEFAULT_GROUP, DispatchAnswer, DispatchRequest, EngineName
from duebus_server.engine.redis.locks import Locks
from duebus_server.engine.redis.partition import Partition, partitions_of
from support.builders import new_event, new_events
from support.partitions import COUNT, break_off, dispatch_one_each, held_in, in_partition, of
from support.topics import ids

if TYPE_CHECKING:
    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver


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


async def test_the_largest_call_may_belong_to_one_partition(bus: RedisBus, partitioned: TopicDriver) -> None:
    await partitioned.join()
    count = MAX_EVENTS_AT_ONCE // 1_000 * PARTITIONS_AT_ONCE
    requests = [
        DispatchRequest(list(new_events(1_000)), request_id=in_partition(0, f"request {nth}")) for nth in range(count)
    ]

    answers = await partitioned.engine.dispatch(partitioned.name, requests)

    assert all(isinstance(answer, DispatchAnswer) for answer in answers)
    assert held_in(bus, partitioned) == [1_000 * count, 0, 0, 0]
    held = [event for _ in range(count) for event in await partitioned.lease(max_events=1_000)]
    assert await partitioned.ack(*held) == [None] * (1_000 * count)
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
    """One partition is closed, because another replica is changing the number."""
    lock = await Locks((await bus.replica()).engine._engine._runner).acquire(f"partitions:{partitioned.name}", MINUTE)
    assert lock is not None
    bus.raw.hset(bus.key(partitions_of(partitioned.name, COUNT)[1], "config"), "partitions", f"{COUNT}/{0:016x}")
    names = [in_partition(number) for number in (1, 0, 3)]
    whole, part = await partitioned.engine.dispatch(
        partitioned.name, [DispatchRequest([new_event(in_partition(2))]), DispatchRequest([*map(new_event, names)])]
    )
    assert isinstance(whole, DispatchAnswer)
    assert isinstance(part, PartialDispatch)
    assert isinstance(part.cause, PartitionsChanging)
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


async def test_no_id_is_answered_of_an_event_that_was_refused_when_its_request_is_repeated_with_another_key(
    topic: TopicDriver,
) -> None:
    """The first request fails in the partition of its last event; that of the other events remembers the request."""
    await topic.configure(partitions=COUNT, max_queued=2 * COUNT)
    here, full = in_partition(1), in_partition(2)
    await topic.dispatch(*(new_event(key=full, delay_us=MINUTE) for _ in range(2)))
    first = await topic.try_dispatch(new_event(key=here), new_event(key=full), request_id="request")
    assert isinstance(first, PartialDispatch)
    assert isinstance(first.cause, MaxQueuedEventsReached)
    again = await topic.try_dispatch(new_event(key=here), new_event(key=here), request_id="request")
    assert isinstance(again, RequestIdReused)
    assert await topic.queued() == 3


@pytest.mark.parametrize("after", [1, 2, COUNT * 2])
async def test_a_dispatch_that_meets_a_change_of_the_number_stores_each_event_once(
    bus: RedisBus, partitioned: TopicDriver, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The events of one partition are acked before the other partitions are found closed."""
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
    """The cached due times of the partitions were once those of the deleted group."""
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
    await other.recorder.until(lambda: bool(other.recorder.deletions), "the deletion")
    assert other.recorder.deletions == [(partitioned.name, None)]
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
    await other.recorder.until(lambda: bool(other.recorder.deletions), "the deletion")
    assert other.recorder.deletions == [(partitioned.name, DEFAULT_GROUP)]
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
    """The replica has just started, and believes that the topic has one partition."""
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


async def test_a_partition_that_lost_everything_is_reopened(bus: RedisBus, partitioned: TopicDriver) -> None:
    await partitioned.join()
    lost = partitions_of(partitioned.name, COUNT)[1]
    for key in bus.raw.keys(f"{bus.namespace}:{{{lost.hash_tag}}}:*"):
        bus.raw.delete(key)
    names = await dispatch_one_each(partitioned)
    assert sorted(ids(await partitioned.lease_all())) == sorted(names)


async def test_a_lease_whose_answer_was_lost_is_taken_back_from_every_partition(
    partitioned: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await partitioned.join()
    names = await dispatch_one_each(partitioned)
    assert await break_off(partitioned.engine, partitioned.lease, 3, monkeypatch, script_name="lease")
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
