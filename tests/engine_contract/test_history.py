"""The history of one event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.errors import NotFound
from duebus_server.domain.states import EventState
from duebus_server.domain.views import MAX_HISTORY, AttemptOutcome
from support.builders import new_event

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver


async def test_an_unknown_event_is_not_found(topic: TopicDriver) -> None:
    with pytest.raises(NotFound) as raised:
        await topic.engine.get_event(topic.name, "event")
    assert raised.value.metadata["topic"] == topic.name

    await topic.dispatch("another")
    with pytest.raises(NotFound) as raised:
        await topic.engine.get_event(topic.name, "event")
    assert raised.value.metadata == {"topic": topic.name, "event": "event"}


async def test_an_event_that_every_group_is_done_with_is_unknown(joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.ack(await joined.lease_one())

    with pytest.raises(NotFound):
        await joined.engine.get_event(joined.name, "event")


async def test_an_event_has_its_origin_and_its_content(harness: Harness, joined: TopicDriver) -> None:
    start_us = harness.now_us()
    await joined.dispatch(new_event("event", body=b"\x00body", delay_us=MINUTE, max_retries=7), origin="10.0.0.7")

    event = await joined.engine.get_event(joined.name, "event")

    assert (event.event_id, event.body, event.origin) == ("event", b"\x00body", "10.0.0.7")
    assert harness.near(start_us)(event.dispatched_us)
    (where,) = event.groups
    assert (where.state, where.attempts, where.max_retries) == (EventState.SCHEDULED, 0, 7)
    assert where.deliver_at_us == event.dispatched_us + MINUTE
    assert list(where.history) == []


async def test_the_history_of_an_event_has_every_attempt(harness: Harness, topic: TopicDriver) -> None:
    """The event is released, nacked, expired, and dead. Each attempt has its times, its consumer and its reason."""
    await topic.join("one", consumer="first")
    await topic.join("two", consumer="second")
    await topic.dispatch(new_event("event", max_retries=1))
    start_us = harness.now_us()

    async def at(second: int) -> None:
        await harness.advance(start_us + second * SECOND - harness.now_us())

    await topic.release(await topic.lease_one("one"))
    await at(10)
    lease = await topic.lease_one("one")
    await at(11)
    await topic.nack(lease, delay_us=9 * SECOND, error="boom")
    await at(20)
    await topic.lease_one("two", lease_us=5 * SECOND)
    await at(25)
    lease = await topic.lease_one("one")
    assert (await topic.group_info("event")).history[-1].outcome is AttemptOutcome.UNDER_WAY
    await at(27)
    await topic.nack(lease, error="enough")

    where = await topic.group_info("event")
    found = [(one.attempt, one.consumer, one.outcome, one.error) for one in where.history]
    assert found[0] == (1, "first", AttemptOutcome.RELEASED, "")
    assert found[1] == (1, "first", AttemptOutcome.NACKED, "boom")
    assert found[2][:3] == (2, "second", AttemptOutcome.EXPIRED)
    assert "lease expired" in found[2][3]
    assert found[3] == (3, "first", AttemptOutcome.DEAD, "enough")
    assert len(found) == 4
    times = [(one.started_us, one.ended_us) for one in where.history]
    expected = [(0, 0), (10, 11), (20, 25), (25, 27)]
    for (started_us, ended_us), (start, end) in zip(times, expected, strict=True):
        assert harness.near(start_us + start * SECOND)(started_us)
        assert harness.near(start_us + end * SECOND)(ended_us)
    assert where.last_error == "enough"
    assert harness.near(start_us + 27 * SECOND)(where.dead_us)


async def test_a_delivery_under_way_is_part_of_the_history(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    started_us = harness.now_us()
    await joined.lease_one()

    (attempt,) = (await joined.group_info("event")).history

    assert (attempt.attempt, attempt.outcome, attempt.ended_us) == (1, AttemptOutcome.UNDER_WAY, None)
    assert harness.near(started_us)(attempt.started_us)


async def test_an_adopted_delivery_counts_as_one_attempt(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("old", consumer="before")
    await topic.join("new", consumer="after")
    await topic.dispatch("event")
    lease = await topic.lease_one("old")

    await topic.adopt("new", lease)

    (attempt,) = (await topic.group_info("event")).history
    assert (attempt.attempt, attempt.consumer, attempt.outcome) == (1, "after", AttemptOutcome.UNDER_WAY)
    await topic.nack(lease, error="no")
    (attempt,) = (await topic.group_info("event")).history
    assert (attempt.attempt, attempt.consumer, attempt.outcome) == (1, "after", AttemptOutcome.NACKED)


async def test_a_long_history_keeps_the_latest_attempts(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", max_retries=1_000))
    for nth in range(MAX_HISTORY + 10):
        await joined.nack(await joined.lease_one(), delay_us=0, error=f"failure {nth + 1}")
    await joined.lease_one()

    history = (await joined.group_info("event")).history

    assert len(history) == MAX_HISTORY
    assert [attempt.attempt for attempt in history] == list(range(12, 32))
    assert history[-1].outcome is AttemptOutcome.UNDER_WAY
    assert history[-2].error == "failure 30"


async def test_each_group_has_its_own_history(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("event")

    await topic.dead_letter(await topic.lease_one("one", "left"), error="why", group="left")

    left, right = await topic.group_info("event", "left"), await topic.group_info("event", "right")
    assert [attempt.outcome for attempt in left.history] == [AttemptOutcome.DEAD]
    assert list(right.history) == []
