"""Due times by each clock, when the host's clock is set and when the host is suspended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND, ManualClock
from duebus_server.domain.states import EventState
from duebus_server.domain.views import TopicConfig
from support.builders import new_event
from support.engines import START_US, LocalHarness
from support.topics import TopicDriver, ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def harness() -> AsyncIterator[LocalHarness]:
    harness = LocalHarness(TopicConfig())
    harness.engine.watch(harness.recorder)
    await harness.engine.start()
    yield harness
    await harness.engine.stop()


@pytest.fixture
def clock(harness: LocalHarness) -> ManualClock:
    return harness.clock


@pytest.fixture
async def topic(harness: LocalHarness) -> TopicDriver:
    topic = TopicDriver(harness)
    await topic.join()
    return topic


async def handled(topic: TopicDriver) -> list[str]:
    """Lease what is due, and ack it."""
    leases = await topic.lease()
    await topic.ack(*leases)
    return ids(leases)


async def test_an_event_with_deliver_at_follows_the_hosts_clock_forward(clock: ManualClock, topic: TopicDriver) -> None:
    await topic.dispatch(new_event("at", deliver_at_us=START_US + HOUR), new_event("in", delay_us=HOUR))
    assert await topic.lease() == []
    clock.set_host(HOUR - 1)
    assert await topic.lease() == []
    clock.set_host(1)
    assert await handled(topic) == ["at"]
    clock.advance(HOUR)
    assert await handled(topic) == ["in"]


async def test_an_event_with_deliver_at_waits_when_the_hosts_clock_is_set_back(
    clock: ManualClock, topic: TopicDriver
) -> None:
    await topic.dispatch(new_event("at", deliver_at_us=START_US + HOUR), new_event("in", delay_us=HOUR))
    clock.set_host(-HOUR)
    clock.advance(HOUR)
    assert await handled(topic) == ["in"]
    clock.advance(HOUR - 1)
    assert await topic.lease() == []
    clock.advance(1)
    assert await handled(topic) == ["at"]


async def test_an_event_that_became_due_stays_ready_when_the_hosts_clock_is_set_back(
    clock: ManualClock, topic: TopicDriver
) -> None:
    await topic.dispatch(new_event("at", deliver_at_us=START_US + MINUTE))
    clock.advance(MINUTE)
    (event,) = await topic.lease()
    clock.set_host(-HOUR)
    assert await topic.lease() == []
    await topic.release(event)
    assert ids(await topic.lease()) == ["at"], "what was ready stays ready"


async def test_a_released_event_is_leased_at_once_though_the_hosts_clock_was_set_forward(
    clock: ManualClock, harness: LocalHarness, topic: TopicDriver
) -> None:
    """The host's time is ahead of the engine's clock, and must not be used as its due time."""
    await topic.dispatch(new_event("at", deliver_at_us=START_US + HOUR))
    clock.set_host(HOUR)
    (event,) = await topic.lease()
    harness.recorder.forget()
    await topic.release(event)
    assert [due.at_us for due in harness.recorder.dues] == [clock.now_us()]
    assert ids(await topic.lease()) == ["at"]


@pytest.mark.parametrize("set_by_us", [-HOUR, 0, HOUR])
async def test_the_engine_reports_when_an_event_with_deliver_at_is_due(
    clock: ManualClock, topic: TopicDriver, set_by_us: int
) -> None:
    clock.set_host(set_by_us)
    await topic.dispatch(new_event("at", deliver_at_us=clock.host_us() + MINUTE))
    assert (await topic.lease_batch()).next_due_us == clock.now_us() + MINUTE


async def test_both_kinds_of_scheduled_events_are_listed_and_counted_together(topic: TopicDriver) -> None:
    events = [
        new_event(f"{minute:02}", delay_us=minute * MINUTE)
        if minute % 3
        else new_event(f"{minute:02}", deliver_at_us=START_US + minute * MINUTE)
        for minute in range(1, 31)
    ]
    await topic.dispatch(*events)
    names = [event.id for event in events]
    assert await topic.counts() == {EventState.SCHEDULED: 30}
    for newest_first in (False, True):
        found: list[str] = []
        cursor: str | None = None
        while len(found) < 30:
            page = await topic.page(EventState.SCHEDULED, 7, cursor=cursor, newest_first=newest_first)
            found += ids(page.events)
            cursor = page.next_cursor
        assert (found, cursor) == (names[::-1] if newest_first else names, None)


async def test_an_event_with_deliver_at_can_be_cancelled_and_rescheduled_to_either_clock(
    clock: ManualClock, topic: TopicDriver
) -> None:
    for name in ("cancelled", "sooner", "later"):
        await topic.dispatch(new_event(name, deliver_at_us=START_US + HOUR))
    await topic.cancel("cancelled")
    await topic.reschedule("sooner", delay_us=MINUTE)
    await topic.reschedule("later", deliver_at_us=START_US + 2 * HOUR)
    clock.set_host(3 * HOUR)
    assert await handled(topic) == ["later"]
    clock.advance(MINUTE)
    assert await handled(topic) == ["sooner"]
    assert await topic.queued() == 0


async def test_a_deleted_group_leaves_no_events_of_either_clock(topic: TopicDriver) -> None:
    await topic.dispatch(new_event("at", deliver_at_us=START_US + HOUR), new_event("in", delay_us=HOUR))
    assert await topic.engine.delete_group(topic.name, "default") == 2
    assert await topic.queued() == 0


async def test_fencing_tokens_follow_the_hosts_time_and_never_decrease_within_a_process(
    clock: ManualClock, topic: TopicDriver
) -> None:
    await topic.dispatch("a", "b")
    first, second = await topic.lease()
    assert (first.fencing_token, second.fencing_token) == (START_US, START_US + 1)
    await topic.release(first, second)
    clock.set_host(-HOUR)
    third, fourth = await topic.lease()
    assert (third.fencing_token, fourth.fencing_token) == (START_US + 2, START_US + 3)
    await topic.release(third)
    clock.set_host(2 * HOUR)
    assert (await topic.lease_one()).fencing_token == START_US + HOUR


async def test_fencing_tokens_of_a_new_process_are_greater_than_those_of_the_last(topic: TopicDriver) -> None:
    await topic.dispatch("event")
    before = await topic.lease_one()
    harness = LocalHarness(TopicConfig())
    harness.clock.advance(SECOND)
    await harness.engine.start()
    after = TopicDriver(harness)
    await after.join()
    await after.dispatch("event")
    assert (await after.lease_one()).fencing_token > before.fencing_token
    await harness.engine.stop()
