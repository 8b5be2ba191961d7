"""An engine stores schedules, and fires each nominal time once: dispatch, next time and counters in one step."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument, NotFound, TopicHasSchedules
from duebus_server.domain.schedules import Firing, FiringOutcome, Overlap, fills_answer
from duebus_server.domain.states import EventState
from support.builders import new_event, unique_name
from support.schedules import MOST, ScheduleDriver
from support.topics import TopicDriver, ids

if TYPE_CHECKING:
    from support.engines import Harness


@pytest.fixture
def schedule(topic: TopicDriver) -> ScheduleDriver:
    return ScheduleDriver(topic)


# --- storing ----------------------------------------------------------------------------------------------------------


async def test_a_schedule_is_stored_with_everything(harness: Harness, schedule: ScheduleDriver) -> None:
    record = schedule.new(
        key="a key",
        paused=True,
        due_us=None,
        runs=3,
        skipped=4,
        missed=5,
        last_fired_us=7 * SECOND,
        last_event_ids=("first", "second"),
    )

    stored = await schedule.save(record)

    assert replace(stored, last_event_ids=tuple(stored.last_event_ids)) == replace(record, version=stored.version)
    assert stored.version >= harness.engine.wall_us() - MINUTE


async def test_every_change_has_a_greater_version(schedule: ScheduleDriver) -> None:
    first = await schedule.save()
    second = await schedule.save(replace(first, body=b"another"), first.version)

    assert second.version > first.version
    assert second.body == b"another"


async def test_a_change_of_another_version_changes_nothing(schedule: ScheduleDriver) -> None:
    first = await schedule.save()
    await schedule.save(replace(first, body=b"another"), first.version)

    assert not await schedule.engine.save_schedule(replace(first, body=b"late"), first.version, MOST)
    assert not await schedule.engine.save_schedule(replace(first, body=b"new"), 0, MOST)
    assert (await schedule.read()).body == b"another"


async def test_a_change_of_a_schedule_that_is_gone_does_not_make_it_again(schedule: ScheduleDriver) -> None:
    """BullMQ: repeatable jobs that come back after they were removed."""
    stored = await schedule.save()
    await schedule.engine.delete_schedule(schedule.name)

    assert not await schedule.engine.save_schedule(stored, stored.version, MOST)
    with pytest.raises(NotFound):
        await schedule.read()


async def test_a_schedule_that_is_made_again_has_another_version(schedule: ScheduleDriver) -> None:
    first = await schedule.save()
    await schedule.engine.delete_schedule(schedule.name)
    await asyncio.sleep(0)
    again = await schedule.save()

    assert again.version >= first.version
    assert await schedule.fire(replace(first, version=first.version - 1)) is FiringOutcome.CHANGED


async def test_of_many_that_make_a_schedule_one_does(schedule: ScheduleDriver) -> None:
    """asynq 308 and 371: a scheduler in each of several processes registers everything again."""
    record = schedule.new()
    made = await asyncio.gather(*[schedule.engine.save_schedule(record, 0, MOST) for _ in range(20)])

    assert made.count(True) == 1


async def test_a_schedule_cannot_move_to_another_topic(harness: Harness, schedule: ScheduleDriver) -> None:
    stored = await schedule.save()
    elsewhere = replace(stored, topic=TopicDriver(harness).name)

    with pytest.raises(TopicHasSchedules):
        await schedule.engine.save_schedule(elsewhere, stored.version, MOST)
    assert (await schedule.read()).topic == schedule.topic.name


async def test_an_engine_has_at_most_so_many(topic: TopicDriver) -> None:
    first, second = ScheduleDriver(topic), ScheduleDriver(topic)
    stored = await first.save()
    count = len(await topic.engine.list_schedules("", MOST))

    with pytest.raises(InvalidArgument) as refused:
        await topic.engine.save_schedule(second.new(), 0, count)
    assert refused.value.violation.field == "schedule"
    assert await topic.engine.save_schedule(replace(stored, body=b"another"), stored.version, count)


async def test_schedules_are_listed_by_name_over_all_topics(harness: Harness, topic: TopicDriver) -> None:
    prefix = unique_name("list")
    other = TopicDriver(harness)
    await other.set_partitions()
    for name, home in (("c", topic), ("a", other), ("b", topic)):
        await ScheduleDriver(home, f"{prefix}.{name}").save()

    first = await topic.engine.list_schedules(f"{prefix}.", 2)
    rest = await topic.engine.list_schedules(first[-1].name, 1)

    assert [one.name for one in (*first, *rest)] == [f"{prefix}.{name}" for name in "abc"]


async def test_a_page_is_bounded_by_bytes(harness: Harness, topic: TopicDriver) -> None:
    """A page of schedules with events of 1 MiB was a gigabyte."""
    prefix = unique_name("large")
    other = TopicDriver(harness)
    names = [f"{prefix}.{number}" for number in range(5)]
    for name in names:
        driver = ScheduleDriver(other if name.endswith("3") else topic, name)
        await driver.save(driver.new(body=b"x" * 400_000))

    first = await topic.engine.list_schedules(f"{prefix}.", 10)
    rest = await topic.engine.list_schedules(first[-1].name, 2)

    assert [one.name for one in first] == names[:3]
    assert [one.name for one in rest] == names[3:]
    assert fills_answer(first, 10)
    assert (await topic.engine.list_schedules(names[-1], 10)) == []


async def test_a_deleted_schedule_is_gone(schedule: ScheduleDriver) -> None:
    stored = await schedule.save()
    await schedule.engine.delete_schedule(schedule.name)

    assert await schedule.fire(stored) is FiringOutcome.CHANGED
    assert all(one.name != schedule.name for one in await schedule.engine.list_schedules("", MOST))
    with pytest.raises(NotFound):
        await schedule.engine.delete_schedule(schedule.name)


async def test_a_topic_with_schedules_is_not_deleted(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await schedule.save()
    await joined.dispatch("stays")

    with pytest.raises(TopicHasSchedules):
        await joined.engine.delete_topic(joined.name)
    assert ids(await joined.lease()) == ["stays"]

    await joined.engine.delete_schedule(schedule.name)
    assert await joined.engine.delete_topic(joined.name) == 1


# --- due --------------------------------------------------------------------------------------------------------------


async def test_a_schedule_is_due_by_the_wall_clock(harness: Harness, schedule: ScheduleDriver) -> None:
    stored = await schedule.save()
    await harness.advance(MINUTE - harness.grain_us)
    assert (await schedule.engine.due_schedules(10)).records == []

    await harness.advance(harness.grain_us)
    assert (await schedule.engine.due_schedules(10)).records == [stored]


async def test_when_the_next_is_due_is_told(topic: TopicDriver) -> None:
    early, late = ScheduleDriver(topic), ScheduleDriver(topic)
    soon = await early.save(early.new(-SECOND))
    later = await late.save(late.new(HOUR))

    due = await topic.engine.due_schedules(10)

    assert list(due.records) == [soon]
    assert due.next_due_us == later.due_us


async def test_the_longest_due_come_first(topic: TopicDriver) -> None:
    drivers = [ScheduleDriver(topic) for _ in range(3)]
    for driver, ago_us in zip(drivers, (SECOND, 3 * SECOND, 2 * SECOND), strict=True):
        await driver.save(driver.new(-ago_us))

    due = await topic.engine.due_schedules(2)

    assert [one.name for one in due.records] == [drivers[1].name, drivers[2].name]
    assert due.next_due_us is not None


async def test_what_is_due_is_bounded_by_bytes(topic: TopicDriver) -> None:
    """A firing step of schedules with events of 1 MiB held up everything else."""
    for _ in range(5):
        driver = ScheduleDriver(topic)
        await driver.save(driver.new(-SECOND, body=b"x" * 400_000))

    fired: list[int] = []
    while (due := await topic.engine.due_schedules(10)).records:
        left = 5 - sum(fired) - len(due.records)
        assert left == 0 or (due.next_due_us or 0) <= topic.engine.wall_us()
        later_us = topic.engine.wall_us() + HOUR
        firings = [Firing(one, one.next_us or 0, None, next_us=later_us, due_us=later_us) for one in due.records]
        await topic.engine.fire_schedules(firings)
        fired.append(len(firings))

    assert sum(fired) == 5
    assert max(fired) <= 3


async def test_a_paused_schedule_is_not_due(schedule: ScheduleDriver) -> None:
    stored = await schedule.save(schedule.new(-SECOND))
    await schedule.save(replace(stored, paused=True, due_us=None), stored.version)

    due = await schedule.engine.due_schedules(10)

    assert (due.records, due.next_due_us) == ([], None)
    assert await schedule.fire(stored) is FiringOutcome.CHANGED


async def test_the_watcher_hears_when_the_first_schedule_is_due(harness: Harness, schedule: ScheduleDriver) -> None:
    stored = await schedule.save()
    await harness.recorder.until(lambda: stored.due_us in harness.recorder.schedule_dues, "when it is due")

    await harness.advance(MINUTE)
    harness.recorder.forget()
    await schedule.fire()
    later_us = (stored.next_us or 0) + MINUTE
    await harness.recorder.until(lambda: later_us in harness.recorder.schedule_dues, "when it is due again")


async def test_a_sweep_reports_when_the_first_schedule_is_due(harness: Harness, schedule: ScheduleDriver) -> None:
    """The safety net for a report that was lost, and for a host's clock that is set."""
    stored = await schedule.save()
    harness.recorder.forget()

    await schedule.engine.expire_leases()

    await harness.recorder.until(lambda: stored.due_us in harness.recorder.schedule_dues, "when it is due")


# --- firing -----------------------------------------------------------------------------------------------------------


async def test_a_firing_dispatches_and_moves_on(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    stored = await schedule.save(schedule.new(-SECOND))
    event_id = f"{schedule.name}@{stored.next_us}"

    assert await schedule.fire(missed=2) is FiringOutcome.FIRED

    after = await schedule.read()
    assert ids(await joined.lease()) == [event_id]
    assert after.version > stored.version
    assert (after.next_us, after.due_us) == ((stored.next_us or 0) + MINUTE, (stored.next_us or 0) + MINUTE)
    assert (after.runs, after.skipped, after.missed) == (1, 0, 2)
    assert (after.last_fired_us, list(after.last_event_ids)) == (stored.next_us, [event_id])
    assert (after.body, after.topic, after.key, after.paused) == (stored.body, stored.topic, stored.key, False)


async def test_of_many_that_fire_a_nominal_time_one_does(joined: TopicDriver) -> None:
    """asynq 395 and 842: each scheduler enqueues the task, so it runs several times."""
    schedule = ScheduleDriver(joined)
    stored = await schedule.save(schedule.new(-SECOND))

    outcomes = await asyncio.gather(*[schedule.fire(stored) for _ in range(10)])

    assert sorted(outcomes) == [FiringOutcome.CHANGED] * 9 + [FiringOutcome.FIRED]
    assert len(await joined.lease()) == 1
    assert (await schedule.read()).runs == 1


async def test_nothing_fires_early(harness: Harness, joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    stored = await schedule.save()

    assert await schedule.fire() is FiringOutcome.EARLY

    assert await schedule.read() == stored
    assert await joined.lease() == []


async def test_several_schedules_of_several_topics_fire_in_one_call(harness: Harness, joined: TopicDriver) -> None:
    other = TopicDriver(harness)
    await other.set_partitions()
    await other.join()
    drivers = [ScheduleDriver(joined), ScheduleDriver(other), ScheduleDriver(joined)]
    records = [await one.save(one.new(-SECOND)) for one in drivers]
    firings = [Firing(one, one.next_us or 0, new_event(f"{one.name}@1")) for one in records]
    stale = replace(records[1], version=records[1].version - 1)

    outcomes = await joined.engine.fire_schedules([firings[0], replace(firings[1], record=stale), firings[2]])

    assert outcomes == [FiringOutcome.FIRED, FiringOutcome.CHANGED, FiringOutcome.FIRED]
    assert len(await joined.lease()) == 2
    assert await other.lease() == []


@pytest.mark.within_a_partition("ids are unique within a partition")
async def test_an_event_that_the_topic_knows_adds_nothing(joined: TopicDriver) -> None:
    """The schedule is restored from a backup, or its clock was set back: the nominal time has its event already."""
    schedule = ScheduleDriver(joined)
    stored = await schedule.save(schedule.new(-SECOND))
    await joined.dispatch(f"{schedule.name}@{stored.next_us}")

    assert await schedule.fire() is FiringOutcome.FIRED

    assert len(await joined.lease()) == 1
    assert (await schedule.read()).runs == 1


async def test_a_firing_without_an_event_only_moves_on(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await schedule.save(schedule.new(-SECOND))

    assert await schedule.fire(event=None, missed=7, next_us=None, due_us=None) is FiringOutcome.MISSED

    after = await schedule.read()
    assert (after.missed, after.runs, after.next_us, after.due_us) == (7, 0, None, None)
    assert await joined.lease() == []


async def test_the_last_run_ends_it(schedule: ScheduleDriver) -> None:
    await schedule.save(schedule.new(-SECOND))

    assert await schedule.fire(ends=True) is FiringOutcome.FIRED

    after = await schedule.read()
    assert (after.next_us, after.due_us, after.runs) == (None, None, 1)
    assert (await schedule.engine.due_schedules(1)).next_due_us is None


async def test_without_a_group_the_events_wait_for_the_first(topic: TopicDriver) -> None:
    schedule = ScheduleDriver(topic)
    await schedule.save(schedule.new(-SECOND))
    assert await schedule.fire() is FiringOutcome.FIRED

    await topic.join()
    assert len(await topic.lease()) == 1


async def test_a_firing_wakes_the_topics_sessions(harness: Harness, joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await joined.lease()
    await schedule.save(schedule.new(-SECOND))
    harness.recorder.forget()

    await schedule.fire()

    await harness.recorder.until(lambda: any(due.topic == joined.name for due in harness.recorder.dues), "a due event")


@pytest.mark.topic_config(max_queued=1)
@pytest.mark.within_a_partition("a full topic")
async def test_a_full_topic_changes_nothing(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    stored = await schedule.save(schedule.new(-SECOND, key="the key"))
    await joined.dispatch(new_event("fills it", key="the key"))

    assert await schedule.fire(missed=1) is FiringOutcome.FULL
    assert await schedule.read() == stored

    await joined.ack(*await joined.lease())
    assert await schedule.fire() is FiringOutcome.FIRED


# --- overlap ----------------------------------------------------------------------------------------------------------


async def test_allow_does_not_ask(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await schedule.save(schedule.new(-HOUR))

    assert [await schedule.fire() for _ in range(3)] == [FiringOutcome.FIRED] * 3
    assert len(await joined.lease()) == 3


async def test_skip_waits_for_the_last_event(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await schedule.save(schedule.new(-HOUR))
    assert await schedule.fire(overlap=Overlap.SKIP) is FiringOutcome.FIRED

    assert await schedule.fire(overlap=Overlap.SKIP) is FiringOutcome.SKIPPED
    leased = await joined.lease()
    assert await schedule.fire(overlap=Overlap.SKIP) is FiringOutcome.SKIPPED
    await joined.ack(*leased)
    assert await schedule.fire(overlap=Overlap.SKIP) is FiringOutcome.FIRED

    after = await schedule.read()
    assert (after.runs, after.skipped) == (2, 2)
    assert len(after.last_event_ids) == 2


async def test_a_skipped_firing_keeps_the_last_run(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await schedule.save(schedule.new(-HOUR))
    await schedule.fire()
    before = await schedule.read()

    assert await schedule.fire(overlap=Overlap.SKIP, ends=True) is FiringOutcome.SKIPPED

    after = await schedule.read()
    assert (after.last_fired_us, after.last_event_ids) == (before.last_fired_us, before.last_event_ids)
    assert after.next_us == (before.next_us or 0) + MINUTE


async def test_a_dead_event_is_finished(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await schedule.save(schedule.new(-HOUR))
    await schedule.fire()
    await joined.dead_letter(*await joined.lease())

    assert await schedule.fire(overlap=Overlap.SKIP) is FiringOutcome.FIRED


async def test_every_lasting_group_has_to_finish(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await joined.join("other", "second")
    await schedule.save(schedule.new(-HOUR))
    await schedule.fire()
    await joined.ack(*await joined.lease())

    assert await schedule.fire(overlap=Overlap.SKIP) is FiringOutcome.SKIPPED
    await joined.ack(*await joined.lease(session="other", group="second"), group="second")
    assert await schedule.fire(overlap=Overlap.SKIP) is FiringOutcome.FIRED


async def test_ephemeral_groups_do_not_matter(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await joined.join("watching", "somebody", ephemeral_us=HOUR)
    await schedule.save(schedule.new(-HOUR))
    await schedule.fire()
    await joined.ack(*await joined.lease())

    assert await schedule.fire(overlap=Overlap.SKIP) is FiringOutcome.FIRED


async def test_an_event_that_waits_for_the_first_group_is_unfinished(schedule: ScheduleDriver) -> None:
    await schedule.save(schedule.new(-HOUR))
    await schedule.fire()

    assert await schedule.fire(overlap=Overlap.SKIP) is FiringOutcome.SKIPPED


async def test_buffer_one_has_two_unfinished_at_most(joined: TopicDriver) -> None:
    schedule = ScheduleDriver(joined)
    await schedule.save(schedule.new(-HOUR, key=schedule.name))

    outcomes = [await schedule.fire(overlap=Overlap.BUFFER_ONE) for _ in range(3)]
    assert outcomes == [FiringOutcome.FIRED, FiringOutcome.FIRED, FiringOutcome.SKIPPED]

    (first,) = await joined.lease()
    assert (await joined.counts())[EventState.BLOCKED] == 1
    await joined.ack(first)
    assert await schedule.fire(overlap=Overlap.BUFFER_ONE) is FiringOutcome.FIRED
    assert await schedule.fire(overlap=Overlap.BUFFER_ONE) is FiringOutcome.SKIPPED
