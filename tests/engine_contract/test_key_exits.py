"""When the first event of a key leaves, the next one comes in, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.retry import FREE_EXPIRIES, RetryPolicy
from duebus_server.domain.states import EventState
from duebus_server.domain.views import KeyInfo
from support.keyed import KEY, ON_THE_JOURNAL, keyed, order_of, restart
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.topics import TopicDriver


async def is_acked(topic: TopicDriver) -> None:
    await topic.ack(await topic.lease_one())


async def is_nacked_as_dead(topic: TopicDriver) -> None:
    await topic.dead_letter(await topic.lease_one())


async def has_no_retries_left(topic: TopicDriver) -> None:
    await topic.nack(await topic.lease_one())


async def runs_out_for_the_last_time(topic: TopicDriver) -> None:
    await topic.let_run_out(FREE_EXPIRIES + 1)


async def is_cancelled(topic: TopicDriver) -> None:
    await topic.cancel("head")


async def is_cancelled_in_its_backoff(topic: TopicDriver) -> None:
    await topic.configure(max_retries=3)
    await topic.nack(await topic.lease_one(), delay_us=HOUR)
    await topic.cancel("head")


async def is_cancelled_after_a_release(topic: TopicDriver) -> None:
    await topic.release(await topic.lease_one())
    await topic.cancel("head")


async def is_rescheduled(topic: TopicDriver) -> None:
    await topic.reschedule("head", delay_us=HOUR)


async def is_rescheduled_by_the_clock(topic: TopicDriver) -> None:
    await topic.reschedule("head", deliver_at_us=topic.harness.now_us() + HOUR)


async def is_rescheduled_in_its_backoff(topic: TopicDriver) -> None:
    await topic.configure(max_retries=3)
    await topic.nack(await topic.lease_one(), delay_us=HOUR)
    await topic.reschedule("head", delay_us=2 * HOUR)


EXITS = [
    is_acked,
    is_nacked_as_dead,
    has_no_retries_left,
    runs_out_for_the_last_time,
    is_cancelled,
    is_cancelled_in_its_backoff,
    is_cancelled_after_a_release,
    is_rescheduled,
    is_rescheduled_by_the_clock,
    is_rescheduled_in_its_backoff,
]


@pytest.mark.topic_config(retry_policy=RetryPolicy(max_retries=0))
@pytest.mark.parametrize("leaves", EXITS)
async def test_the_next_event_comes_in_once_when_the_head(
    joined: TopicDriver, leaves: Callable[[TopicDriver], Awaitable[None]]
) -> None:
    await joined.dispatch(*keyed("head", "next", "last"))

    await leaves(joined)

    assert (await joined.keys()).keys == [KeyInfo(KEY, 1, 0, "next")]
    leased = await joined.lease_one()
    assert leased.event_id == "next"
    await joined.ack(leased)
    assert (await joined.lease_one()).event_id == "last"


@ON_THE_JOURNAL
@pytest.mark.topic_config(retry_policy=RetryPolicy(max_retries=0))
@pytest.mark.parametrize("leaves", EXITS)
async def test_a_restart_knows_the_next_event_when_the_head(
    joined: TopicDriver, leaves: Callable[[TopicDriver], Awaitable[None]]
) -> None:
    await joined.dispatch(*keyed("head", "next", "last"))
    await leaves(joined)

    await restart(joined)

    assert (await joined.keys()).keys == [KeyInfo(KEY, 1, 0, "next")]
    assert await order_of(joined) == ["next", "last"]


async def test_the_first_of_several_exits_in_one_batch_brings_in_one_event(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b", "c"), *keyed("x", "y", key="other"))
    first = await joined.lease_each("a", "x")

    await joined.ack(*first)

    second = await joined.lease_each("b", "y")
    assert await joined.cancel("c") is not None
    await joined.ack(*second)
    assert await joined.counts() == {}


async def test_an_event_that_is_rescheduled_to_now_is_behind_those_that_were_due_before(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.harness.advance(SECOND)

    await joined.reschedule("a", delay_us=0)

    assert await order_of(joined) == ["b", "a"]


async def test_a_deleted_group_leaves_no_order_behind(topic: TopicDriver) -> None:
    await topic.join()
    await topic.join(group="other")
    await topic.dispatch(*keyed("a", "b"))
    await topic.lease_one()

    await topic.delete_group()

    await topic.join()
    await topic.dispatch(*keyed("c"))
    assert ids(await topic.lease()) == ["c"]
    assert ids(await topic.lease(group="other")) == ["a"]


async def test_a_redriven_event_has_the_place_of_its_new_due_time(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("dead", "b"))
    await joined.dead_letter(await joined.lease_one())
    await joined.harness.advance(SECOND)

    await joined.redrive()

    assert await joined.state("dead") is EventState.BLOCKED
    assert await order_of(joined) == ["b", "dead"]


async def test_a_redriven_event_of_a_free_key_is_ready(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("dead"))
    await joined.dead_letter(await joined.lease_one())

    await joined.redrive()

    assert await joined.state("dead") is EventState.READY


@pytest.mark.topic_config(dead_letter_retention_us=MINUTE)
async def test_dead_letters_that_are_purged_or_expire_change_no_order(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("purged", "expires", "a", "b"))
    for _ in range(2):
        await joined.dead_letter(await joined.lease_one())
    await joined.purge_named("purged")
    held = await joined.lease_one(lease_us=HOUR)

    await joined.harness.advance(2 * MINUTE)
    await joined.engine.expire_leases()

    assert await joined.counts() == {EventState.LEASED: 1, EventState.BLOCKED: 1}
    assert held.event_id == "a"
    assert await joined.lease() == []
