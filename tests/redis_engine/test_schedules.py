"""Schedules that several replicas fire, and what is left of them when Redis loses something."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MILLISECOND, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument, NotFound, TopicHasSchedules
from duebus_server.domain.schedules import Firing, FiringOutcome, ScheduleRecord
from duebus_server.engine.redis.partition import Partition, partition_number
from structlog.testing import capture_logs
from support.builders import new_event
from support.checked_keys import check_keys_of, undeclared_keys
from support.partitions import COUNT
from support.redis_bus import until
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver

MOST = 10_000


async def put(
    topic: TopicDriver, name: str = "schedule", *, due_in_us: int | None = 0, key: str = ""
) -> ScheduleRecord:
    engine = topic.engine
    due_us = None if due_in_us is None else engine.wall_us() + due_in_us
    record = ScheduleRecord(name, topic.name, key, b"a rule", next_us=due_us, due_us=due_us)
    assert await engine.save_schedule(record, 0, MOST)
    return await engine.get_schedule(name)


def firing(record: ScheduleRecord, period_us: int = MINUTE) -> Firing:
    """Its event has the id of the nominal time."""
    nominal_us = record.next_us or 0
    following = nominal_us + period_us
    event = new_event(f"{record.name}@{nominal_us}", key=record.key)
    return Firing(record, nominal_us, event, next_us=following, due_us=following)


async def fire_due(replica: Replica, period_us: int = MINUTE) -> Sequence[FiringOutcome]:
    """Fire everything that is due, as a server does."""
    found = await replica.engine.due_schedules(1_000)
    return await replica.engine.fire_schedules([firing(record, period_us) for record in found.records])


async def test_of_four_replicas_that_wake_at_once_one_fires_each_time(bus: RedisBus) -> None:
    # given a hundred schedules of 50 ms
    replicas = [await bus.replica() for _ in range(4)]
    topic = replicas[0].topic()
    await topic.join()
    for number in range(100):
        await put(topic, f"schedule {number}")

    # when four replicas fire whatever is due, all at the same time
    fired = 0
    while fired < 500:
        outcomes = await asyncio.gather(*(fire_due(replica, 50 * MILLISECOND) for replica in replicas))
        fired += sum(outcome is FiringOutcome.FIRED for one in outcomes for outcome in one)

    # then each nominal time has one event, and none is missing in between
    assert await topic.queued() == fired
    records = await topic.engine.list_schedules("", 1_000)
    assert sum(record.runs for record in records) == fired


async def test_replicas_hear_of_a_schedule_that_is_due_sooner(bus: RedisBus) -> None:
    one, other = await bus.replica(), await bus.replica()
    topic = one.topic()
    await other.engine.due_schedules(10)
    later = await put(topic, "later", due_in_us=HOUR)
    await until(lambda: other.recorder.schedule_dues[-1:] == [later.due_us], "the first one")

    sooner = await put(topic, "sooner", due_in_us=MINUTE)
    await put(topic, "between", due_in_us=2 * MINUTE)
    await until(lambda: other.recorder.schedule_dues[-1:] == [sooner.due_us], "the sooner one")
    await put(topic, "at last", due_in_us=SECOND)

    await until(lambda: other.recorder.schedule_dues[-1] < (sooner.due_us or 0), "the soonest one")
    heard = [at_us for at_us in other.recorder.schedule_dues if at_us > other.engine.wall_us()]
    assert len(heard) == 3, "the one in between is not announced"


async def test_a_replica_that_starts_finds_what_is_due(bus: RedisBus) -> None:
    await put((await bus.replica()).topic())

    other = await bus.replica()

    await until(lambda: bool(other.recorder.schedule_dues), "a report")
    assert await fire_due(other) == [FiringOutcome.FIRED]


async def test_what_another_replica_has_put_is_fired_without_its_announcement(
    frozen_bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await frozen_bus.replica(), await frozen_bus.replica()
    await other.engine.due_schedules(10)
    monkeypatch.setattr(other.engine._engine.schedule_times, "announced", lambda *_: None)
    await put(one.topic())

    assert await fire_due(other) == []
    await other.advance(10 * SECOND)
    await other.engine.expire_leases()

    assert other.recorder.schedule_dues[-1] == other.engine.wall_us()
    assert await fire_due(other) == [FiringOutcome.FIRED]


async def test_an_announcement_that_comes_while_redis_is_asked_is_not_forgotten(
    frozen_bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a replica that is asking what is due, and has not got the answer
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await put(topic, due_in_us=HOUR)
    await replica.engine.due_schedules(10)
    runner, times = replica.engine._engine._runner, replica.engine._engine.schedule_times
    run = runner.run

    async def announce_meanwhile(*arguments: object, **more: object) -> object:
        answer = await run(*arguments, **more)  # type: ignore[arg-type]
        times.announced(Partition(topic.name), replica.now_us() + SECOND)
        return answer

    times.recheck()
    with monkeypatch.context() as patch:
        patch.setattr(runner, "run", announce_meanwhile)
        await replica.engine.due_schedules(10)

    # then it asks again at the time of the announcement, at the latest
    await replica.advance(SECOND)
    assert times.due() == [Partition(topic.name)]


async def test_an_answer_of_redis_is_bounded_by_bytes(replica: Replica) -> None:
    topic = replica.topic()
    names = [f"schedule {number}" for number in range(5)]
    for name in names:
        record = ScheduleRecord(name, topic.name, "", b"x" * 400_000, next_us=0, due_us=0)
        assert await replica.engine.save_schedule(record, 0, MOST)
    schedules, place = replica.engine._schedules, Partition(topic.name)

    due, next_us = await schedules._due_in(place, 10, 1_000_000)
    read, count = await schedules._read(place, names, 1_000_000)

    assert ([one.name for one in due], next_us) == (names[:3], 0)
    assert (list(read), count) == (names[:3], 3)


# --- partitions -------------------------------------------------------------------------------------------------------


async def test_a_schedule_is_in_the_partition_of_its_key_or_else_its_name(
    bus: RedisBus, partitioned: TopicDriver
) -> None:
    for number in range(10):
        await put(partitioned, f"schedule {number}", key="a key" if number >= 5 else "")
    await partitioned.join()

    assert await fire_due(await bus.replica()) == [FiringOutcome.FIRED] * 10

    partitions = [Partition(partitioned.name, number, COUNT) for number in range(COUNT)]
    held = [{name.decode() for name in bus.raw.hkeys(bus.key(one, "schedules"))} for one in partitions]
    assert sorted(len(names) for names in held if names >= {f"schedule {number}" for number in range(5, 10)}) != []
    assert sum(len(names) > 0 for names in held) > 1
    events = [bus.raw.hlen(bus.key(one, "events")) for one in partitions]
    assert events == [len(names) for names in held]


async def test_the_number_of_partitions_stays_while_a_topic_has_schedules(topic: TopicDriver) -> None:
    await put(topic, due_in_us=None)

    for count in (2, 3):
        with pytest.raises(InvalidArgument, match="has no schedules"):
            await topic.configure(partitions=count)
        await topic.engine.delete_schedule("schedule")
        await topic.configure(partitions=count)
        await put(topic, due_in_us=None)
    assert (await topic.engine.get_schedule("schedule")).topic == topic.name


async def test_a_topic_with_partitions_and_schedules_is_not_deleted(partitioned: TopicDriver) -> None:
    await put(partitioned, due_in_us=None)
    await partitioned.dispatch("event")

    with pytest.raises(TopicHasSchedules):
        await partitioned.delete()

    await partitioned.engine.delete_schedule("schedule")
    assert await partitioned.delete() == 1


async def test_a_key_of_another_partition_is_refused(partitioned: TopicDriver) -> None:
    record = await put(partitioned, key="k0")
    home = partition_number("k0", COUNT)
    other = next(key for key in (f"k{number}" for number in range(99)) if partition_number(key, COUNT) != home)

    with pytest.raises(InvalidArgument, match=r"^schedule\.event\.key: "):
        await partitioned.engine.save_schedule(replace(record, key=other), record.version, MOST)

    assert await partitioned.engine.get_schedule("schedule") == record


# --- what is lost -----------------------------------------------------------------------------------------------------


async def test_a_schedule_is_noted_again_when_it_is_fired(bus: RedisBus, topic: TopicDriver) -> None:
    # given a replica that has fired a schedule
    await put(topic)
    replica = await bus.replica()
    assert await fire_due(replica, SECOND) == [FiringOutcome.FIRED]

    # when Redis loses where it is, and the replica has read that
    bus.raw.delete(f"{bus.namespace}:schedules")
    with pytest.raises(NotFound):
        await topic.engine.get_schedule("schedule")
    replica.engine._engine.schedule_times.recheck()

    # then the next firing notes it again
    fired: list[FiringOutcome] = []
    while not fired:
        fired += await fire_due(replica, SECOND)
    assert (await topic.engine.get_schedule("schedule")).runs == 2


async def test_a_note_without_a_schedule_is_reported_and_removed(bus: RedisBus, topic: TopicDriver) -> None:
    await put(topic, due_in_us=None)
    bus.raw.delete(bus.key(topic.name, "schedules"), bus.key(topic.name, "schedules:due"))

    with capture_logs() as logs:
        assert await topic.engine.list_schedules("", 10) == []

    assert [(one["event"], one["schedule"]) for one in logs] == [("a schedule is gone that was noted", "schedule")]
    assert bus.raw.hlen(f"{bus.namespace}:schedules") == 0


async def test_a_name_that_is_noted_for_nothing_can_be_used_for_any_topic(
    bus: RedisBus, replica: Replica, topic: TopicDriver
) -> None:
    bus.raw.hset(f"{bus.namespace}:schedules", "schedule", replica.topic().name)

    record = await put(topic, due_in_us=None)

    assert record.topic == topic.name


async def test_a_name_that_two_replicas_put_for_two_topics_is_in_one_of_them(bus: RedisBus) -> None:
    """Each found the other's note without a schedule, removed it, and stored its own."""
    replicas = [await bus.replica() for _ in range(2)]
    for number in range(50):
        topics = [replica.topic() for replica in replicas]
        records = [ScheduleRecord(f"schedule {number}", topic.name, "", b"a rule") for topic in topics]

        stored = await asyncio.gather(
            *(replica.engine.save_schedule(record, 0, MOST) for replica, record in zip(replicas, records, strict=True)),
            return_exceptions=True,
        )

        held = [topic.name for topic in topics if bus.raw.hexists(bus.key(topic.name, "schedules"), records[0].name)]
        assert len(held) <= 1
        assert [record.topic for record, is_stored in zip(records, stored, strict=True) if is_stored is True] == held


@pytest.mark.parametrize("verb", ["list", "delete"])
async def test_a_note_that_another_replica_has_changed_meanwhile_is_kept(
    bus: RedisBus, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Whoever removed the note of a schedule that was gone removed that of one with its name in another topic."""
    # given a schedule that is gone from its topic
    one, other = await bus.replica(), await bus.replica()
    topic, elsewhere = one.topic(), other.topic()
    await put(topic, due_in_us=None)
    if verb == "list":
        bus.raw.delete(bus.key(topic.name, "schedules"), bus.key(topic.name, "schedules:due"))
    schedules = one.engine._schedules
    forget = schedules._forget

    # when another replica puts one of its name elsewhere, just before the note is removed
    async def put_meanwhile(name: str, place: Partition) -> None:
        await put(elsewhere, due_in_us=None)
        await forget(name, place)

    monkeypatch.setattr(schedules, "_forget", put_meanwhile)
    if verb == "list":
        assert await one.engine.list_schedules("", 10) == []
    else:
        await one.engine.delete_schedule("schedule")

    # then the note says where that is
    assert (await other.engine.get_schedule("schedule")).topic == elsewhere.name


async def test_the_index_is_restored(bus: RedisBus, topic: TopicDriver) -> None:
    await topic.join()
    for number in range(3):
        await put(topic, f"schedule {number}")
    later = await put(topic, "later", due_in_us=HOUR)
    await put(topic, "paused", due_in_us=None)
    index = bus.key(topic.name, "schedules:due")
    bus.raw.delete(index)

    assert await fire_due(await bus.replica()) == [FiringOutcome.FIRED] * 3

    assert bus.raw.zcard(index) == 5
    assert bus.raw.zscore(index, "later") == later.due_us
    assert bus.raw.zscore(index, "paused") == float("inf")


async def test_a_damaged_schedule_is_reported_and_hinders_no_other(bus: RedisBus, topic: TopicDriver) -> None:
    await put(topic, "damaged")
    await put(topic, "other")
    bus.raw.hset(bus.key(topic.name, "schedules"), "damaged", b"\xc1 nonsense")

    with capture_logs() as logs:
        assert await fire_due(await bus.replica()) == [FiringOutcome.FIRED]

    assert [one["schedule"] for one in logs if one["event"] == "a schedule is damaged: put it again"] == ["damaged"]
    assert [record.name for record in await topic.engine.list_schedules("", 10)] == ["other"]
    assert (await put(topic, "damaged")).body == b"a rule"


async def test_a_topic_that_redis_cant_work_on_hinders_no_other(bus: RedisBus, replica: Replica) -> None:
    bad, good = replica.topic(), replica.topic()
    await put(bad, "bad")
    await put(good, "good")
    bus.raw.set(bus.key(bad.name, "events"), "of another type")

    outcomes = await fire_due(replica)

    assert sorted(outcomes) == [FiringOutcome.CHANGED, FiringOutcome.FIRED]
    assert (await good.engine.get_schedule("good")).runs == 1
    bus.raw.delete(bus.key(bad.name, "events"))
    await until(lambda: bool(replica.engine._engine.schedule_times.due()), "another try")
    assert await fire_due(replica) == [FiringOutcome.FIRED]


# --- clusters ---------------------------------------------------------------------------------------------------------


async def test_scripts_declare_their_keys(bus: RedisBus) -> None:
    replica = await bus.replica()
    check_keys_of(replica.engine)
    topic = replica.topic()
    await topic.join()
    await topic.join("other session", "other")
    record = await put(topic, key="key")
    assert await fire_due(replica) == [FiringOutcome.FIRED]
    await put(topic, "another")
    assert await fire_due(replica) == [FiringOutcome.FIRED]
    await replica.engine.list_schedules("", 10)
    for name in (record.name, "another"):
        await replica.engine.delete_schedule(name)
    await topic.delete()

    assert await undeclared_keys(replica.engine) == set()


async def test_schedules_of_a_cluster(cluster_bus: RedisBus) -> None:
    one, other = await cluster_bus.replica(), await cluster_bus.replica()
    topics = [one.topic() for _ in range(6)]
    await topics[0].configure(partitions=COUNT)
    for number, topic in enumerate(topics):
        await topic.join()
        await put(topic, f"schedule {number}", key="key")
    await put(topics[0], "schedule 7")

    outcomes = [outcome for some in await asyncio.gather(fire_due(one), fire_due(other)) for outcome in some]

    assert outcomes.count(FiringOutcome.FIRED) == 7
    assert len([event for topic in topics for event in await topic.lease_all()]) == 7
    assert [record.runs for record in await other.engine.list_schedules("", 10)] == [1] * 7
    assert ids(await topics[1].lease()) == []
