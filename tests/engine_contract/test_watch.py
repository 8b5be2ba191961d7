"""The engine reports when a group has something to lease sooner than reported before, and whose leases ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.model import DEFAULT_GROUP
from support.builders import new_event
from support.recorder import Step
from support.topics import DueReports, TopicDriver

if TYPE_CHECKING:
    from support.engines import Harness


# --- due --------------------------------------------------------------------------------------------------------------


async def test_an_event_due_now_is_reported(joined: TopicDriver) -> None:
    reports = DueReports(joined)

    await joined.dispatch("event")

    await reports.until_due_now()


async def test_an_event_due_later_is_reported(harness: Harness, joined: TopicDriver) -> None:
    reports, start_us = DueReports(joined), harness.now_us()

    await joined.dispatch(new_event(delay_us=MINUTE))

    await reports.until_due_in(MINUTE, start_us)


async def test_an_event_due_sooner_than_all_others_is_reported(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event(delay_us=HOUR))
    reports, start_us = DueReports(joined), harness.now_us()

    await joined.dispatch(new_event(delay_us=MINUTE), new_event(delay_us=SECOND), new_event(delay_us=HOUR))

    await reports.until_due_in(SECOND, start_us)


async def test_each_group_gets_a_report_of_its_copy(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    reports = DueReports(topic)

    await topic.dispatch("event")

    await reports.until_due_now("left")
    await reports.until_due_now("right")


async def test_unclaimed_events_are_not_reported(topic: TopicDriver) -> None:
    reports = DueReports(topic)

    await topic.dispatch("event")
    await topic.engine.get_topic(topic.name)
    await topic.engine.expire_leases()

    await topic.join()
    await topic.dispatch("another")
    await reports.until_due_now()
    assert {due.group for due in topic.harness.recorder.dues} == {DEFAULT_GROUP}


async def test_a_released_event_is_reported(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one()
    reports = DueReports(joined)

    await joined.release(lease)

    await reports.until_due_now()


async def test_a_nacked_event_is_reported(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one(lease_us=HOUR)
    reports, start_us = DueReports(joined), harness.now_us()

    await joined.nack(lease, delay_us=SECOND)

    await reports.until_due_in(SECOND, start_us)


async def test_a_shortened_lease_is_reported(harness: Harness, joined: TopicDriver) -> None:
    """When a subscriber vanishes, its events are due after the grace, and waiting sessions must know."""
    await joined.dispatch("event")
    await joined.lease_one(lease_us=HOUR)
    reports, start_us = DueReports(joined), harness.now_us()

    await joined.shorten(SECOND)

    await reports.until_due_in(SECOND, start_us)


async def test_a_lease_extended_to_an_earlier_expiry_is_reported(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one(lease_us=HOUR)
    reports, start_us = DueReports(joined), harness.now_us()

    await joined.extend(lease, lease_us=MINUTE)

    await reports.until_due_in(MINUTE, start_us)


async def test_a_lease_adopted_with_an_earlier_expiry_is_reported(harness: Harness, joined: TopicDriver) -> None:
    await joined.join("new")
    await joined.dispatch("event")
    lease = await joined.lease_one(lease_us=HOUR)
    reports, start_us = DueReports(joined), harness.now_us()

    await joined.adopt("new", lease, lease_us=MINUTE)

    await reports.until_due_in(MINUTE, start_us)


async def test_a_sweep_reports_events_that_no_session_has_leased(harness: Harness, joined: TopicDriver) -> None:
    """Otherwise a lost report would delay them."""
    await joined.dispatch(new_event("scheduled", delay_us=SECOND), "leased")
    await joined.lease_one(lease_us=SECOND)
    await harness.advance(SECOND)
    reports = DueReports(joined)

    await harness.engine.expire_leases()

    await reports.until_due_now()


# --- ends of leases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["ack", "nack", "release", "dead_letter"])
async def test_a_settled_lease_is_reported_as_ended(joined: TopicDriver, verb: str) -> None:
    await joined.dispatch("a", "b")
    a, b = await joined.lease("worker-1")

    await getattr(joined, verb)(a, b)

    await joined.harness.recorder.until_ended("worker-1", a.fencing_token, b.fencing_token)


async def test_each_session_gets_reports_of_its_own_leases(topic: TopicDriver) -> None:
    """Any replica can settle any delivery: the session that held it is notified."""
    await topic.join("one")
    await topic.join("two")
    await topic.dispatch("a", "b")
    (one,) = await topic.lease("one", max_events=1)
    (two,) = await topic.lease("two", max_events=1)

    await topic.ack(two, one)

    recorder = topic.harness.recorder
    await recorder.until_ended("one", one.fencing_token)
    await recorder.until_ended("two", two.fencing_token)
    assert dict(recorder.ended) == {"one": [one.fencing_token], "two": [two.fencing_token]}


async def test_an_expired_lease_is_reported_when_the_event_is_leased_again(
    harness: Harness, topic: TopicDriver
) -> None:
    await topic.join("one")
    await topic.join("two")
    await topic.dispatch("event")
    lost = await topic.lease_one("one", lease_us=SECOND)
    await harness.advance(SECOND)

    held = await topic.lease_one("two")

    await harness.recorder.until_ended("one", lost.fencing_token)
    await topic.ack(held)
    await harness.recorder.until_ended("two", held.fencing_token)
    assert harness.recorder.ended["one"] == [lost.fencing_token]


async def test_an_expired_lease_is_reported_by_the_sweep(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("retried"), new_event("dies", max_retries=0))
    leases = await joined.lease("worker-1", lease_us=SECOND)
    await harness.advance(SECOND)

    await harness.engine.expire_leases()

    await harness.recorder.until_ended("worker-1", *(lease.fencing_token for lease in leases))


async def test_an_adopted_lease_ends_for_the_old_session_first(topic: TopicDriver) -> None:
    await topic.join("old")
    await topic.join("new")
    await topic.dispatch("event")
    lease = await topic.lease_one("old")
    recorder = topic.harness.recorder

    await topic.adopt("new", lease)
    await recorder.until_ended("old", lease.fencing_token)
    assert recorder.ended["new"] == []

    recorder.forget()
    await topic.ack(lease)
    await recorder.until_ended("new", lease.fencing_token)
    assert recorder.ended["old"] == []


async def test_a_lease_adopted_by_its_own_session_has_not_ended(joined: TopicDriver) -> None:
    await joined.dispatch("event", "another")
    lease, other = await joined.lease("worker-1")
    recorder = joined.harness.recorder

    await joined.adopt("worker-1", lease)

    await joined.ack(other)
    await recorder.until_ended("worker-1", other.fencing_token)
    assert recorder.ended["worker-1"] == [other.fencing_token]
    assert [info.in_flight for info in (await joined.group()).subscribers] == [1]


async def test_a_failed_settle_is_not_reported(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event", "another")
    lease, other = await joined.lease("worker-1")
    await joined.ack(lease)
    recorder = harness.recorder
    recorder.forget()

    await joined.ack(lease)
    await joined.nack(lease)
    await joined.extend(other)

    await joined.ack(other)
    await recorder.until_ended("worker-1", other.fencing_token)
    assert recorder.ended["worker-1"] == [other.fencing_token]


# --- deaths -----------------------------------------------------------------------------------------------------------


async def test_every_death_is_reported_once(harness: Harness, joined: TopicDriver) -> None:
    """Each step makes one report, without retried and released events."""
    names = ("thrown", "failed", "again", "slow")
    await joined.dispatch(new_event("slow", max_retries=0))
    await joined.let_run_out()
    await joined.dispatch(*(new_event(name, max_retries=0) for name in names[:3]), "fine")
    thrown, failed, again, _slow, fine = await joined.lease_each(*names, "fine", lease_us=SECOND)
    recorder = harness.recorder

    await joined.dead_letter(thrown)
    await joined.nack(failed)
    await joined.release(again)
    await joined.nack(fine, delay_us=HOUR)
    await joined.dead_letter(thrown)
    await harness.advance(SECOND)
    await harness.engine.expire_leases()
    await harness.engine.expire_leases()

    group = (joined.name, DEFAULT_GROUP, 1)
    expected = [Step(*group, (event_id,)) for event_id in ("thrown", "failed", "slow")]
    await recorder.until(lambda: len(recorder.deaths) >= len(expected), "three deaths")
    assert recorder.deaths == expected


async def test_many_deaths_in_one_step_are_counted_and_ten_are_named(joined: TopicDriver) -> None:
    names = [f"event-{number:02}" for number in range(25)]
    await joined.dispatch(*names)
    leases = await joined.lease(max_events=25)

    await joined.dead_letter(*leases)

    deaths = joined.harness.recorder.deaths
    assert sum(death.events for death in deaths) == 25
    assert all(len(death.first_ids) == min(death.events, 10) for death in deaths), "each partition reports its own"
    named = [event_id for death in deaths for event_id in death.first_ids]
    assert len(set(named)) == len(named)
    assert set(named) <= set(names)


@pytest.mark.parametrize("verb", ["lease", "backlog", "get_topic"])
async def test_any_verb_that_ends_an_expired_lease_reports_a_death(
    harness: Harness, joined: TopicDriver, verb: str
) -> None:
    await joined.dispatch(new_event("event", max_retries=0))
    await joined.let_run_out()
    await joined.lease_one(lease_us=SECOND)
    await harness.advance(SECOND)

    if verb == "lease":
        assert await joined.lease() == []
    elif verb == "backlog":
        await harness.engine.backlog(joined.name, DEFAULT_GROUP)
    else:
        await harness.engine.get_topic(joined.name)

    await harness.engine.expire_leases()
    assert harness.recorder.deaths == [Step(joined.name, DEFAULT_GROUP, 1, ("event",))]


async def test_reports_may_reach_a_session_that_has_left(joined: TopicDriver) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one()
    await joined.leave()

    assert await joined.ack(lease) == [None]


async def test_an_engine_without_a_watcher_works(harness: Harness) -> None:
    engine = harness.unstarted()
    await engine.start()
    try:
        topic = TopicDriver(harness, engine)
        await topic.join()
        await topic.dispatch("event")
        assert await topic.ack(await topic.lease_one()) == [None]
    finally:
        await engine.stop()
