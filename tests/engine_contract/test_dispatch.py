"""Dispatch stores all events of a request or none, at their due times, in every group of the topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import MaxQueuedEventsReached, NoHandlerFound, NotFound
from duebus_server.domain.model import DispatchAnswer, DispatchRequest
from duebus_server.domain.states import EventState
from support.builders import new_event, new_events
from support.topics import TopicDriver, ids

if TYPE_CHECKING:
    from support.engines import Harness


async def test_an_event_is_delivered_as_it_was_dispatched(harness: Harness, joined: TopicDriver) -> None:
    dispatched_us = harness.now_us()
    await joined.dispatch(new_event("order-7", body=b"\x00the \xff body"))
    await harness.advance(3 * SECOND)

    event = await joined.lease_one(lease_us=20 * SECOND)

    assert event.event_id == "order-7"
    assert event.body == b"\x00the \xff body"
    assert event.attempt == 1
    assert event.last_error == ""
    assert harness.near(dispatched_us)(event.dispatched_us)
    assert event.deliver_at_us == event.dispatched_us
    assert harness.near(dispatched_us + 23 * SECOND)(event.lease_expires_us)


async def test_the_answer_has_the_ids_in_request_order(topic: TopicDriver) -> None:
    answer = await topic.dispatch("c", "a", "b")

    assert list(answer.event_ids) == ["c", "a", "b"]
    assert list(answer.duplicate_event_ids) == []


async def test_an_empty_body_is_delivered(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("empty", body=b""))

    assert (await joined.lease_one()).body == b""


# --- due --------------------------------------------------------------------------------------------------------------


async def test_a_delay_counts_from_when_the_event_is_stored(harness: Harness, joined: TopicDriver) -> None:
    stored_us = harness.now_us()
    await joined.dispatch(new_event("late", delay_us=30 * MINUTE))

    await harness.advance(30 * MINUTE - harness.grain_us)
    assert await joined.lease() == []

    await harness.advance(harness.grain_us)
    event = await joined.lease_one()
    assert harness.near(stored_us + 30 * MINUTE)(event.deliver_at_us)


async def test_deliver_at_is_kept_to_the_microsecond(harness: Harness, joined: TopicDriver) -> None:
    deliver_at_us = harness.now_us() + HOUR + 1
    await joined.dispatch(new_event("at", deliver_at_us=deliver_at_us))

    await harness.advance(HOUR + 1 - harness.grain_us)
    assert await joined.lease() == []

    await harness.advance(harness.grain_us)
    assert (await joined.lease_one()).deliver_at_us == deliver_at_us


async def test_each_event_of_a_request_has_its_own_due_time(harness: Harness, joined: TopicDriver) -> None:
    now_us = harness.now_us()
    await joined.dispatch(
        new_event("delayed", delay_us=MINUTE),
        new_event("alike", delay_us=MINUTE),
        new_event("at", deliver_at_us=now_us + HOUR),
        "at once",
        new_event("delayed more", delay_us=HOUR + MINUTE),
    )

    found: dict[str, int] = {}
    for _ in range(3):
        found |= {event.event_id: event.deliver_at_us for event in await joined.lease_all()}
        await harness.advance(HOUR)

    assert found.keys() == {"delayed", "alike", "at", "at once", "delayed more"}
    assert found["at"] == now_us + HOUR
    assert found["delayed"] == found["alike"]
    assert harness.near(now_us)(found["at once"])
    assert harness.near(now_us + MINUTE)(found["delayed"])
    assert harness.near(now_us + HOUR + MINUTE)(found["delayed more"])


@pytest.mark.parametrize("past_us", [1, HOUR])
async def test_a_due_time_in_the_past_means_now(harness: Harness, joined: TopicDriver, past_us: int) -> None:
    now_us = harness.now_us()
    await joined.dispatch(new_event("past", deliver_at_us=now_us - past_us))

    assert harness.near(now_us)((await joined.lease_one()).deliver_at_us)


async def test_a_zero_delay_means_now(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("now", delay_us=0))

    assert (await joined.lease_one()).event_id == "now"


async def test_a_delay_of_ten_years_is_accepted(harness: Harness, joined: TopicDriver) -> None:
    ten_years_us = 10 * 365 * 24 * HOUR
    await joined.dispatch(new_event("patient", delay_us=ten_years_us))

    await harness.advance(ten_years_us - harness.grain_us)
    assert await joined.lease() == []

    await harness.advance(harness.grain_us)
    assert (await joined.lease_one()).event_id == "patient"


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
@pytest.mark.topic_config(max_queued=3)
async def test_each_request_of_a_call_is_stored_or_refused_on_its_own(topic: TopicDriver) -> None:
    """There is room for three events. Only the request that does not fit is refused."""
    requests = [
        DispatchRequest([new_event("a"), new_event("b")]),
        DispatchRequest([new_event("c"), new_event("d"), new_event("e")]),
        DispatchRequest([new_event("f")]),
        DispatchRequest([new_event("g")], require_subscriber=True),
    ]

    first, second, third, fourth = await topic.engine.dispatch(topic.name, requests)

    assert isinstance(first, DispatchAnswer)
    assert isinstance(second, MaxQueuedEventsReached)
    assert isinstance(third, DispatchAnswer)
    assert isinstance(fourth, NoHandlerFound)
    await topic.join()
    assert ids(await topic.lease()) == ["a", "b", "f"]


async def test_a_dispatch_that_requires_a_subscriber_fails_without_one(topic: TopicDriver) -> None:
    answer = await topic.try_dispatch("unwanted", require_subscriber=True)

    assert isinstance(answer, NoHandlerFound)
    assert answer.metadata["topic"] == topic.name
    await topic.join()
    assert await topic.lease() == []


async def test_a_required_subscriber_may_be_in_any_group(topic: TopicDriver) -> None:
    await topic.join("auditor", "audit")

    answer = await topic.try_dispatch("wanted", require_subscriber=True)

    assert isinstance(answer, DispatchAnswer)


async def test_a_group_without_sessions_is_not_a_subscriber(topic: TopicDriver) -> None:
    await topic.join("one")
    await topic.join("two")
    await topic.leave("one")
    assert isinstance(await topic.try_dispatch("first", require_subscriber=True), DispatchAnswer)

    await topic.leave("two")

    assert isinstance(await topic.try_dispatch("second", require_subscriber=True), NoHandlerFound)
    assert await topic.counts() == {EventState.READY: 1}


@pytest.mark.one_partition("§3.4: a topic with several partitions exists before anything is in it")
async def test_a_refused_dispatch_creates_no_topic(topic: TopicDriver) -> None:
    await topic.try_dispatch("unwanted", require_subscriber=True)

    with pytest.raises(NotFound):
        await topic.engine.get_topic(topic.name)
    assert await topic.engine.list_topics("", 10) == []


# --- the limit --------------------------------------------------------------------------------------------------------


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
@pytest.mark.topic_config(max_queued=4)
async def test_over_the_limit_nothing_of_a_request_is_stored(joined: TopicDriver) -> None:
    await joined.dispatch("a", "b")

    answer = await joined.try_dispatch("c", "d", "e")

    assert isinstance(answer, MaxQueuedEventsReached)
    assert answer.metadata["topic"] == joined.name
    assert answer.retry_after_us is not None
    assert answer.retry_after_us > 0
    assert await joined.queued() == 2
    assert ids(await joined.lease()) == ["a", "b"]


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
@pytest.mark.topic_config(max_queued=4)
async def test_a_topic_can_be_filled_to_its_limit(topic: TopicDriver) -> None:
    await topic.dispatch("a", "b")
    await topic.dispatch("c", "d")

    assert await topic.queued() == 4
    assert isinstance(await topic.try_dispatch("e"), MaxQueuedEventsReached)


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
@pytest.mark.topic_config(max_queued=2)
async def test_duplicates_do_not_count_towards_the_limit(topic: TopicDriver) -> None:
    await topic.dispatch("a")

    answer = await topic.dispatch("a", "b", "b", "a")

    assert list(answer.event_ids) == ["a", "b", "b", "a"]
    assert sorted(answer.duplicate_event_ids) == ["a", "a", "b"]
    assert await topic.queued() == 2


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
@pytest.mark.topic_config(max_queued=3)
async def test_scheduled_ready_and_leased_events_count_towards_the_limit(joined: TopicDriver) -> None:
    await joined.dispatch("leased", "dead", "done")
    leased, dead, done = await joined.lease()
    assert isinstance(await joined.try_dispatch("x"), MaxQueuedEventsReached)

    await joined.dead_letter(dead)
    await joined.dispatch(new_event("scheduled", delay_us=MINUTE))
    assert isinstance(await joined.try_dispatch("x"), MaxQueuedEventsReached)

    await joined.ack(done)
    await joined.dispatch("ready")
    assert isinstance(await joined.try_dispatch("x"), MaxQueuedEventsReached)

    assert await joined.queued() == 3
    assert await joined.ack(leased) == [None]
    assert await joined.queued() == 2


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
@pytest.mark.topic_config(max_queued=2)
async def test_an_event_counts_once_regardless_of_the_number_of_groups(topic: TopicDriver) -> None:
    """With two groups, an event makes room once neither waits for it."""
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("a", "b")
    assert await topic.queued() == 2

    (left, _) = await topic.lease("one", "left")
    await topic.dead_letter(left, group="left")
    assert isinstance(await topic.try_dispatch("c"), MaxQueuedEventsReached)

    (right, _) = await topic.lease("two", "right")
    await topic.ack(right, group="right")
    assert await topic.queued() == 1
    await topic.dispatch("c")


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
@pytest.mark.topic_config(max_queued=1)
async def test_each_topic_has_its_own_limit(harness: Harness, topic: TopicDriver) -> None:
    other = TopicDriver(harness)

    await topic.dispatch("a")
    await other.dispatch("a")

    assert isinstance(await topic.try_dispatch("b"), MaxQueuedEventsReached)
    assert await harness.engine.queued() == 2


@pytest.mark.topic_config(max_queued=0)
async def test_a_limit_of_zero_means_unlimited(topic: TopicDriver) -> None:
    await topic.dispatch(*new_events(1_000))
    await topic.dispatch(*new_events(1_000))

    assert await topic.queued() == 2_000
