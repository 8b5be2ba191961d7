"""Scheduled and ready events can be rescheduled: all of a request, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import ConcurrentModification, NotFound
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.topics import ids

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver


async def test_a_scheduled_event_can_be_moved_earlier(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", delay_us=HOUR))
    start_us = harness.now_us()

    assert await joined.reschedule("event", delay_us=MINUTE) == 1

    assert harness.near(start_us + MINUTE)((await joined.group_info("event")).deliver_at_us)
    assert harness.near(start_us + MINUTE)(await joined.next_due())
    await harness.advance(MINUTE - harness.grain_us)
    assert await joined.lease() == []
    await harness.advance(harness.grain_us)
    assert ids(await joined.lease()) == ["event"]


async def test_a_ready_event_can_be_moved_later(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")

    await joined.reschedule("event", delay_us=MINUTE)

    assert await joined.counts() == {EventState.SCHEDULED: 1}
    assert await joined.lease() == []
    await harness.advance(MINUTE)
    assert ids(await joined.lease()) == ["event"]


async def test_rescheduling_to_a_given_time(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", delay_us=HOUR))
    at_us = harness.now_us() + 2 * HOUR

    await joined.reschedule("event", deliver_at_us=at_us)

    assert (await joined.group_info("event")).deliver_at_us == at_us


@pytest.mark.parametrize(("delay_us", "deliver_at_us"), [(0, None), (None, 1)], ids=["no delay", "a time long passed"])
async def test_rescheduling_to_now(
    harness: Harness, joined: TopicDriver, delay_us: int | None, deliver_at_us: int | None
) -> None:
    await joined.dispatch(new_event("event", delay_us=HOUR))
    start_us = harness.now_us()
    harness.recorder.forget()

    await joined.reschedule("event", delay_us=delay_us, deliver_at_us=deliver_at_us)

    await harness.recorder.until_due(joined.name, DEFAULT_GROUP, lambda at_us: at_us <= harness.now_us(), "due now")
    lease = await joined.lease_one()
    assert harness.near(start_us)(lease.deliver_at_us)


async def test_waiting_sessions_are_told_of_an_event_that_is_due_sooner(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", delay_us=HOUR))
    harness.recorder.forget()
    near = harness.near(harness.now_us() + SECOND)

    await joined.reschedule("event", delay_us=SECOND)

    await harness.recorder.until_due(joined.name, DEFAULT_GROUP, near, "due in a second")


async def test_an_event_in_its_backoff_keeps_its_attempts(joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.nack(await joined.lease_one(), delay_us=HOUR, error="boom")

    await joined.reschedule("event", delay_us=0)

    lease = await joined.lease_one()
    assert (lease.attempt, lease.last_error) == (2, "boom")


async def test_no_event_is_moved_if_one_is_leased(joined: TopicDriver) -> None:
    await joined.dispatch("leased")
    await joined.lease_one()
    await joined.dispatch("ready", new_event("scheduled", delay_us=MINUTE))
    before = [await joined.group_info(event_id) for event_id in ("ready", "scheduled")]

    with pytest.raises(ConcurrentModification) as raised:
        await joined.reschedule("ready", "leased", "scheduled", delay_us=HOUR)

    assert raised.value.metadata == {
        "event": "leased",
        "topic": joined.name,
        "group": DEFAULT_GROUP,
        "state": EventState.LEASED,
    }
    assert [await joined.group_info(event_id) for event_id in ("ready", "scheduled")] == before
    assert ids(await joined.lease()) == ["ready"]


async def test_no_event_is_moved_if_one_is_dead(joined: TopicDriver) -> None:
    await joined.make_dead("dead")
    await joined.dispatch("ready")

    with pytest.raises(ConcurrentModification) as raised:
        await joined.reschedule("ready", "dead", delay_us=HOUR)

    assert raised.value.metadata["state"] == EventState.DEAD
    assert ids(await joined.lease()) == ["ready"]


async def test_no_event_is_moved_if_one_is_missing(joined: TopicDriver) -> None:
    await joined.dispatch("ready")

    with pytest.raises(NotFound) as raised:
        await joined.reschedule("ready", "missing", delay_us=HOUR)

    assert raised.value.metadata == {"topic": joined.name, "event": "missing"}
    assert ids(await joined.lease()) == ["ready"]


async def test_rescheduling_in_every_group_or_in_one(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("everywhere", "on the left")

    assert await topic.reschedule("everywhere", delay_us=MINUTE) == 1
    assert await topic.reschedule("on the left", delay_us=MINUTE, group="left") == 1

    assert await topic.lease("one", "left") == []
    assert ids(await topic.lease("two", "right")) == ["on the left"]
    await harness.advance(MINUTE)
    assert sorted(ids(await topic.lease("one", "left"))) == ["everywhere", "on the left"]


async def test_a_copy_leased_in_another_group_does_not_matter(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("event")
    await topic.lease_one("one", "left")

    with pytest.raises(ConcurrentModification):
        await topic.reschedule("event", delay_us=MINUTE)
    assert await topic.reschedule("event", delay_us=MINUTE, group="right") == 1


async def test_unclaimed_events_can_be_rescheduled(harness: Harness, topic: TopicDriver) -> None:
    await topic.dispatch("event")

    await topic.reschedule("event", delay_us=MINUTE)

    await topic.join()
    assert await topic.lease() == []
    await harness.advance(MINUTE)
    assert ids(await topic.lease()) == ["event"]


async def test_an_unknown_topic_or_group_is_not_found(topic: TopicDriver) -> None:
    with pytest.raises(NotFound) as raised:
        await topic.reschedule("event", delay_us=0)
    assert raised.value.metadata["topic"] == topic.name

    await topic.join()
    await topic.dispatch("event")
    with pytest.raises(NotFound) as raised:
        await topic.reschedule("event", delay_us=0, group="nobody")
    assert raised.value.metadata == {"topic": topic.name, "group": "nobody"}
