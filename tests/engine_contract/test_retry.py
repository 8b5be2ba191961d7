"""A failed event is retried after a growing backoff, until its retries are used up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.retry import JITTER, RetryPolicy
from duebus_server.domain.states import EventState
from support.builders import new_event, new_events

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver


async def fail_until_dead(topic: TopicDriver, event_id: str) -> int:
    """Nack every delivery of the event. Returns how many there were."""
    deliveries = 0
    while await topic.state(event_id) is not EventState.DEAD:
        await topic.harness.advance(HOUR)
        lease = await topic.lease_one()
        deliveries += 1
        assert lease.attempt == deliveries
        await topic.nack(lease, error=f"failure {deliveries}")
    return deliveries


async def test_a_nacked_event_returns_after_its_delay(harness: Harness, joined: TopicDriver) -> None:
    nacked_us = harness.now_us()
    await joined.dispatch("event")

    await joined.nack(await joined.lease_one(), delay_us=10 * SECOND, error="not yet")

    await harness.advance(10 * SECOND - harness.grain_us)
    assert await joined.lease() == []
    await harness.advance(harness.grain_us)
    again = await joined.lease_one()
    assert again.attempt == 2
    assert again.last_error == "not yet"
    assert harness.near(nacked_us + 10 * SECOND)(again.deliver_at_us)


async def test_a_zero_delay_means_at_once(joined: TopicDriver) -> None:
    await joined.dispatch("event")

    await joined.nack(await joined.lease_one(), delay_us=0)

    assert (await joined.lease_one()).attempt == 2


async def test_a_retry_keeps_the_time_of_dispatch(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    first = await joined.lease_one()

    await joined.nack(first, delay_us=SECOND)
    await harness.advance(SECOND)

    assert (await joined.lease_one()).dispatched_us == first.dispatched_us


# --- count ------------------------------------------------------------------------------------------------------------


async def test_the_default_is_three_retries(joined: TopicDriver) -> None:
    await joined.dispatch("event")

    assert await fail_until_dead(joined, "event") == 4

    assert (await joined.group_info("event")).last_error == "failure 4"


@pytest.mark.topic_config(retry_policy=RetryPolicy(max_retries=1))
async def test_the_topic_can_set_the_number_of_retries(joined: TopicDriver) -> None:
    await joined.dispatch("event")

    assert await fail_until_dead(joined, "event") == 2
    assert (await joined.group_info("event")).max_retries == 1


@pytest.mark.parametrize("max_retries", [0, 1, 5])
async def test_an_event_can_set_its_number_of_retries(joined: TopicDriver, max_retries: int) -> None:
    await joined.dispatch(new_event("event", max_retries=max_retries))

    assert await fail_until_dead(joined, "event") == max_retries + 1
    assert (await joined.group_info("event")).max_retries == max_retries


async def test_an_event_without_retries_left_is_dead_despite_a_delay(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", max_retries=0))

    await joined.nack(await joined.lease_one(), delay_us=MINUTE, error="the end")

    where = await joined.group_info("event")
    assert (where.state, where.last_error) == (EventState.DEAD, "the end")


async def test_two_leases_may_run_out_before_an_expiry_counts_as_a_failure(
    harness: Harness, joined: TopicDriver
) -> None:
    await joined.dispatch(new_event("event", max_retries=1))

    await joined.let_run_out()
    third = await joined.lease_one(lease_us=SECOND)
    assert third.attempt == 3
    assert "lease expired" in third.last_error

    await harness.advance(SECOND)
    await joined.lease_one(lease_us=SECOND)
    await harness.advance(SECOND)
    assert await joined.lease() == []
    where = await joined.group_info("event")
    assert (where.state, where.attempts, where.free_attempts) == (EventState.DEAD, 4, 2)
    assert "lease expired" in where.last_error
    assert await joined.queued() == 0


async def test_nacks_and_expiries_use_up_the_same_retries(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", max_retries=2))

    await joined.let_run_out()
    await joined.nack(await joined.lease_one(), delay_us=0)
    await joined.let_run_out(1)
    await joined.nack(await joined.lease_one(), error="last")

    where = await joined.group_info("event")
    assert (where.state, where.attempts, where.last_error) == (EventState.DEAD, 5, "last")


async def test_only_failures_lengthen_the_backoff(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.let_run_out()
    nacked_us = harness.now_us()

    await joined.nack(await joined.lease_one())

    due_us = (await joined.group_info("event")).deliver_at_us
    assert due_us <= nacked_us + SECOND / 2 * (1 + JITTER) + harness.grain_us


async def test_each_group_counts_its_own_attempts(topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch(new_event("event", max_retries=1))

    await topic.nack(await topic.lease_one("one", "left"), delay_us=0, error="left fails", group="left")
    await topic.nack(await topic.lease_one("one", "left"), delay_us=0, error="left fails", group="left")

    assert await topic.state("event", "left") is EventState.DEAD
    right = await topic.lease_one("two", "right")
    assert (right.attempt, right.last_error) == (1, "")


# --- backoff ----------------------------------------------------------------------------------------------------------

POLICY = RetryPolicy(max_retries=100, backoff_initial_us=20 * MINUTE, backoff_max_us=90 * MINUTE)


async def backoff_after(topic: TopicDriver, attempt: int) -> list[int]:
    """The backoffs of 60 events that all fail their first ``attempt`` attempts."""
    events = new_events(60)
    await topic.dispatch(*events)
    for _ in range(attempt - 1):
        await topic.nack(*await topic.lease(), delay_us=0)
    nacked_us = topic.harness.now_us()
    await topic.nack(*await topic.lease())
    return [(await topic.group_info(event.id)).deliver_at_us - nacked_us for event in events]


@pytest.mark.topic_config(retry_policy=POLICY)
@pytest.mark.parametrize(("attempt", "minutes"), [(1, 20), (2, 40), (3, 80), (4, 90), (5, 90), (70, 90)])
async def test_the_backoff_doubles_to_the_maximum_and_varies_by_a_fifth(
    harness: Harness, joined: TopicDriver, attempt: int, minutes: int
) -> None:
    backoffs = await backoff_after(joined, attempt)

    low_us, high_us = (1 - JITTER) * minutes * MINUTE, (1 + JITTER) * minutes * MINUTE
    assert all(low_us <= backoff <= high_us + harness.grain_us for backoff in backoffs)
    # Random over the whole range: the chance that 60 values all miss an outer quarter is 1 in 30 million.
    assert min(backoffs) < low_us + (high_us - low_us) / 4
    assert max(backoffs) > high_us - (high_us - low_us) / 4


@pytest.mark.topic_config(retry_policy=POLICY)
async def test_an_event_is_not_tried_again_before_its_backoff(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    nacked_us = harness.now_us()
    await joined.nack(await joined.lease_one())
    backoff_us = (await joined.group_info("event")).deliver_at_us - nacked_us

    await harness.advance(backoff_us - 2 * harness.grain_us)
    assert await joined.lease() == []
    await harness.advance(2 * harness.grain_us)
    assert (await joined.lease_one()).attempt == 2


@pytest.mark.topic_config(retry_policy=POLICY)
async def test_a_release_does_not_lengthen_the_backoff(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    for _ in range(4):
        await joined.release(await joined.lease_one())
    nacked_us = harness.now_us()

    await joined.nack(await joined.lease_one())

    assert (await joined.group_info("event")).deliver_at_us - nacked_us <= 20 * MINUTE * (1 + JITTER) + harness.grain_us
