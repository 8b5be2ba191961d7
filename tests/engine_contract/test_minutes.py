"""Counts by the minute, and the lateness of deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MILLISECOND, MINUTE, SECOND
from duebus_server.domain.minutes import KEPT_MINUTES, LATENESS_MINUTES, Tally
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.schedules import FiringOutcome
from support.builders import new_event, new_events
from support.schedules import ScheduleDriver
from support.topics import WORKER

if TYPE_CHECKING:
    from duebus_server.domain.minutes import MinuteOfTopic
    from duebus_server.domain.views import GroupInfo
    from support.engines import Harness
    from support.topics import TopicDriver

SAVED_US = 5 * SECOND
"""After this long, a sweep has saved what an engine has counted."""


async def saved(harness: Harness) -> None:
    await harness.advance(SAVED_US)
    await harness.engine.expire_leases()


async def next_minute(harness: Harness) -> int:
    """Wait for the beginning of a minute, and return it."""
    start_us = (harness.now_us() // MINUTE + 1) * MINUTE
    await harness.advance(start_us - harness.now_us())
    return start_us


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.delivered, tally.acked, tally.nacked, tally.dead


async def minutes(topic: TopicDriver) -> list[MinuteOfTopic]:
    return await topic.engine.minutes(topic.name)


async def test_what_happens_is_counted_in_its_minute(harness: Harness, topic: TopicDriver) -> None:
    await topic.join(group="one")
    await topic.join(group="other")
    first_us = await next_minute(harness)
    await topic.dispatch(*new_events(10))
    leases = await topic.lease(group="one", max_events=7, lease_us=HOUR)
    await topic.ack(*leases[:4], group="one")
    second_us = await next_minute(harness)
    await topic.nack(leases[4], group="one", delay_us=HOUR)
    await topic.release(leases[5], group="one")
    await topic.dead_letter(leases[6], group="one")
    assert len(await topic.lease(group="other", max_events=2)) == 2

    one, two = await minutes(topic)

    assert (one.start_us, one.dispatched) == (first_us, 10)
    assert {name: counts(tally) for name, tally in one.groups.items()} == {"one": (7, 4, 0, 0)}
    assert (two.start_us, two.dispatched) == (second_us, 0)
    assert {name: counts(tally) for name, tally in two.groups.items()} == {"one": (0, 0, 3, 1), "other": (2, 0, 0, 0)}


async def test_duplicates_and_refused_settles_do_not_count(joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.dispatch("event")
    lease = await joined.lease_one()
    await joined.ack(lease)
    await joined.ack(lease)
    await joined.nack(lease)

    (minute,) = await minutes(joined)

    assert minute.dispatched == 1
    assert counts(minute.groups[DEFAULT_GROUP]) == (1, 1, 0, 0)


async def test_hand_overs_and_refills_count_as_deliveries(joined: TopicDriver) -> None:
    handed = await joined.hand_over("handed over")
    assert len(handed.events) == 1
    await joined.dispatch("waits")
    assert len((await joined.ack_and_lease(*handed.events)).events) == 1

    (minute,) = await minutes(joined)

    assert minute.dispatched == 2
    assert counts(minute.groups[DEFAULT_GROUP]) == (2, 1, 0, 0)


async def test_a_firing_counts_as_a_dispatch(harness: Harness, topic: TopicDriver) -> None:
    schedule = ScheduleDriver(topic)
    await schedule.save()
    assert await schedule.fire() is FiringOutcome.EARLY
    await harness.advance(MINUTE)
    assert await schedule.fire() is FiringOutcome.FIRED

    assert [minute.dispatched for minute in await minutes(topic)] == [1]


async def test_an_event_that_runs_out_of_retries_counts_as_dead(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("nacked", max_retries=0))
    await joined.nack(await joined.lease_one())

    (minute,) = await minutes(joined)

    assert counts(minute.groups[DEFAULT_GROUP]) == (1, 0, 1, 1)


async def test_minutes_are_kept_for_an_hour(harness: Harness, joined: TopicDriver) -> None:
    await next_minute(harness)
    await joined.dispatch("first")
    await saved(harness)
    await harness.advance((KEPT_MINUTES - 1) * MINUTE - SAVED_US)
    await joined.dispatch("last")
    assert [minute.dispatched for minute in await minutes(joined)] == [1, 1]

    await harness.advance(MINUTE)
    assert [minute.dispatched for minute in await minutes(joined)] == [1]


async def test_of_a_topic_without_activity_there_are_no_minutes(topic: TopicDriver) -> None:
    assert await minutes(topic) == []
    await topic.join()
    assert await topic.lease() == []
    assert await minutes(topic) == []


async def test_the_minutes_of_a_deleted_topic_are_gone(harness: Harness, topic: TopicDriver) -> None:
    await topic.dispatch("event")
    await saved(harness)
    await topic.dispatch("another")
    await topic.delete()
    await topic.join()

    assert await minutes(topic) == []
    await saved(harness)
    assert await minutes(topic) == []


async def test_the_minutes_of_a_deleted_group_are_gone_and_those_of_the_others_stay(
    harness: Harness, topic: TopicDriver
) -> None:
    for group in ("deleted", "other"):
        await topic.join(group=group)
    for number in range(2):  # one that is saved, and one that is not yet
        await topic.dispatch(f"event {number}")
        for group in ("deleted", "other"):
            await topic.lease(group=group)
        if number == 0:
            await saved(harness)

    await topic.engine.delete_group(topic.name, "deleted")
    await topic.join(group="deleted")

    found = await minutes(topic)
    assert sum(minute.dispatched for minute in found) == 2
    assert sum(minute.groups["other"].delivered for minute in found if "other" in minute.groups) == 2
    assert not any("deleted" in minute.groups for minute in found)


async def test_the_lateness_of_a_group_is_that_of_its_last_deliveries(harness: Harness, topic: TopicDriver) -> None:
    await topic.join(group="late")
    await topic.join(group="punctual")
    await next_minute(harness)
    await topic.dispatch("event")
    await topic.lease(group="punctual")
    await harness.advance(2 * SECOND)
    await topic.lease(group="late")
    await saved(harness)

    late, punctual = (await topic.group("late")).lateness, (await topic.group("punctual")).lateness
    for share in (0.5, 0.99):
        assert SECOND < late.quantile_us(share) < 4 * SECOND
        assert punctual.quantile_us(share) < MILLISECOND
    (minute,) = await minutes(topic)
    assert list(minute.groups["late"].lateness) == list(late.buckets)

    await harness.advance(LATENESS_MINUTES * MINUTE)
    assert not (await topic.group("late")).lateness
    assert not next(info for info in await listed(topic) if info.group == "late").lateness


async def listed(topic: TopicDriver) -> list[GroupInfo]:
    (info,) = [one for one in await topic.engine.list_topics("", 100) if one.topic == topic.name]
    return list(info.groups)


async def test_a_scheduled_event_is_late_from_its_due_time_on(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", delay_us=HOUR))
    await harness.advance(HOUR)
    await joined.lease_one()
    await saved(harness)

    assert (await joined.group()).lateness.quantile_us(0.99) < MILLISECOND


@pytest.mark.parametrize("expires", ["with a sweep", "with a lease"])
async def test_an_event_whose_last_lease_runs_out_counts_as_dead(
    harness: Harness, joined: TopicDriver, expires: str
) -> None:
    await joined.dispatch(new_event("event", max_retries=0))
    await joined.let_run_out()
    await joined.lease_one(lease_us=SECOND)
    await next_minute(harness)
    if expires == "with a sweep":
        await joined.leave(WORKER)
        await harness.engine.expire_leases()
    else:
        assert await joined.lease() == []

    minute = (await minutes(joined))[-1]
    assert counts(minute.groups[DEFAULT_GROUP]) == (0, 0, 0, 1)
