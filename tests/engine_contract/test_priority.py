"""Priority: an event counts as due earlier by so many seconds, among those that are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.model import LeaseRequest, NewEvent
from duebus_server.domain.states import EventState
from duebus_server.domain.views import EventQuery
from support.builders import new_event
from support.keyed import keyed
from support.topics import PLENTY, TopicDriver, ids

if TYPE_CHECKING:
    from duebus_server.domain.model import LeasedEvent

within = pytest.mark.within_a_partition("each partition delivers in its own order")


def ranked(event_id: str, priority: int, delay_us: int | None = None, key: str = "") -> NewEvent:
    """An event with a priority."""
    return new_event(event_id, priority=priority, delay_us=delay_us, key=key)


async def lease_in_turn(topic: TopicDriver) -> list[LeasedEvent]:
    """Lease one event after the other, until nothing is due."""
    found: list[LeasedEvent] = []
    while leased := await topic.lease(max_events=1):
        found += leased
    return found


async def order_of(topic: TopicDriver) -> list[str]:
    """The order in which single events are leased."""
    return ids(await lease_in_turn(topic))


@within
async def test_an_event_with_a_priority_is_delivered_before_older_ones(joined: TopicDriver) -> None:
    await joined.dispatch("first", "second", ranked("low", -5), ranked("high", 5), ranked("higher", 6))

    assert await order_of(joined) == ["higher", "high", "first", "second", "low"]


@within
async def test_one_lease_takes_events_by_priority(joined: TopicDriver) -> None:
    await joined.dispatch("first", ranked("low", -5), "second", ranked("high", 5))

    assert ids(await joined.lease()) == ["high", "first", "second", "low"]


@within
async def test_a_small_lease_leaves_what_has_less_priority(joined: TopicDriver) -> None:
    await joined.dispatch("first", ranked("low", -5), "second", ranked("high", 5))

    batch = await joined.lease_batch(max_events=3)

    assert ids(batch.events) == ["high", "first", "second"]
    assert batch.has_more
    assert await order_of(joined) == ["low"]


async def test_an_event_with_a_priority_is_never_early(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("later", 86_400, delay_us=MINUTE))

    assert await joined.lease() == []
    next_due_us = await joined.next_due()
    assert next_due_us is not None
    assert next_due_us > joined.harness.now_us()

    await joined.harness.advance(MINUTE)
    assert ids(await joined.lease()) == ["later"]


async def test_an_event_with_a_negative_priority_is_not_late_when_nothing_else_is_due(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("patient", -86_400))

    assert await joined.next_due() is not None
    assert ids(await joined.lease()) == ["patient"]


@within
async def test_an_event_of_minus_3600_that_is_an_hour_old_ranks_as_one_that_is_due_now(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("patient", -3600))
    await joined.harness.advance(3600 * SECOND - SECOND)
    await joined.dispatch("before")
    await joined.harness.advance(2 * SECOND)
    await joined.dispatch("after")

    assert await order_of(joined) == ["before", "patient", "after"]


@within
async def test_a_flood_of_high_ones_does_not_starve_the_others_beyond_their_head_start(joined: TopicDriver) -> None:
    await joined.dispatch("plain")
    served: list[str] = []
    for second in range(25):
        await joined.dispatch(ranked(f"high-{second}a", 10), ranked(f"high-{second}b", 10))
        served += ids(await joined.lease(max_events=1))
        await joined.harness.advance(SECOND)

    before_it = served[: served.index("plain")]
    assert before_it == [f"high-{second}{letter}" for second in range(10) for letter in "ab"]


@within
async def test_a_priority_is_kept_through_retry_release_expiry_redrive_and_reschedule(joined: TopicDriver) -> None:
    for event_id in ("retried", "released", "expired", "redriven", "moved"):
        await joined.dispatch(ranked(event_id, 60))
    leased = {event.event_id: event for event in await joined.lease(lease_us=SECOND)}
    await joined.nack(leased["retried"], delay_us=0)
    await joined.release(leased["released"])
    await joined.dead_letter(leased["redriven"])
    await joined.redrive()
    await joined.release(leased["moved"])
    await joined.reschedule("moved", delay_us=SECOND)
    await joined.dispatch("plain")
    await joined.harness.advance(2 * SECOND)

    order = await order_of(joined)

    assert sorted(order[:-1]) == ["expired", "moved", "redriven", "released", "retried"]
    assert order[-1] == "plain"


@within
async def test_a_retry_ranks_by_its_new_due_time(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("retried", 5))
    await joined.nack(await joined.lease_one(), delay_us=10 * SECOND)
    await joined.harness.advance(SECOND)
    await joined.dispatch("plain")
    await joined.harness.advance(10 * SECOND)

    assert await order_of(joined) == ["plain", "retried"]


@within
async def test_scheduled_events_rank_by_priority_once_they_are_due(joined: TopicDriver) -> None:
    await joined.dispatch(
        ranked("a", 0, SECOND), ranked("b", 1, SECOND), ranked("c", 2, SECOND), ranked("d", -1, SECOND)
    )
    await joined.harness.advance(MINUTE)

    assert await order_of(joined) == ["c", "b", "a", "d"]


@pytest.mark.parametrize("delay_us", [0, SECOND])
async def test_the_first_event_of_a_topic_with_a_priority_may_have_a_key(joined: TopicDriver, delay_us: int) -> None:
    await joined.dispatch(*keyed("before", key="one"))
    await joined.dispatch(ranked("a", 5, delay_us, key="one"))
    await joined.ack(*await joined.lease(max_events=1))
    await joined.harness.advance(delay_us)

    assert ids(await joined.lease()) == ["a"]


async def test_it_does_not_overtake_within_a_key(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("a", -60, key="order"), ranked("b", 60, key="order"))

    assert ids(await joined.lease()) == ["a"]


@within
async def test_the_head_of_a_key_ranks_by_its_own_priority(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("low", -60, key="one"), ranked("high", 60, key="two"), "plain")
    await joined.dispatch(ranked("behind", 600, key="one"))

    assert await order_of(joined) == ["high", "plain", "low"]


@pytest.mark.one_partition("the room of a session is divided among the partitions")
async def test_a_hand_over_is_by_priority(joined: TopicDriver) -> None:
    batch = await joined.hand_over(
        "plain", ranked("low", -1), ranked("high", 1), "plainer", room=LeaseRequest(2, PLENTY)
    )

    assert ids(batch.events) == ["high", "plain"]
    assert await order_of(joined) == ["plainer", "low"]


@within
async def test_nothing_is_handed_over_while_something_with_a_priority_is_ready(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("low", -60))

    batch = await joined.hand_over("plain")

    assert batch.events == []
    assert await order_of(joined) == ["plain", "low"]


@within
async def test_an_ack_that_refills_leases_by_priority(joined: TopicDriver) -> None:
    await joined.dispatch("first")
    leased = await joined.lease_one()
    await joined.dispatch("second", ranked("high", 5))

    assert ids((await joined.ack_and_lease(leased)).events) == ["high"]


async def test_a_suspect_has_no_head_start_and_one_at_a_time_is_delivered(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("a", 60), ranked("b", 60))
    await joined.let_run_out()
    await joined.dispatch("plain")

    leased = await joined.lease()

    assert "plain" in ids(leased)
    assert len([event for event in leased if event.is_suspect]) == 1


async def test_priority_changes_neither_the_counts_nor_the_listing_by_due_time(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("a", -60))
    await joined.harness.advance(MINUTE)
    await joined.dispatch(ranked("b", 600), "c", ranked("d", 5, delay_us=MINUTE))

    assert await joined.counts() == {EventState.READY: 3, EventState.SCHEDULED: 1}
    assert (await joined.group()).oldest_ready_age_us == pytest.approx(MINUTE, abs=SECOND)
    for newest_first in (False, True):
        query = EventQuery("", EventState.READY, 10, PLENTY, newest_first=newest_first)
        page = await joined.engine.list_events(joined.name, query)
        listed = ids(page.events)[:: -1 if newest_first else 1]
        assert listed[0] == "a"
        assert sorted(listed[1:]) == ["b", "c"]


async def test_a_page_of_ready_events_goes_on_where_it_ended(joined: TopicDriver) -> None:
    for number in range(6):
        await joined.dispatch(ranked(f"e{number}", number % 3 - 1))
        await joined.harness.advance(SECOND)
    found: list[str] = []
    cursor = None
    while True:
        page = await joined.engine.list_events(joined.name, EventQuery("", EventState.READY, 2, PLENTY, cursor))
        found += ids(page.events)
        cursor = page.next_cursor
        if cursor is None:
            break

    assert found == [f"e{number}" for number in range(6)]


async def test_events_with_a_priority_can_be_cancelled_and_rescheduled(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("a", 5), ranked("b", 5), "c")

    await joined.cancel("a")
    await joined.reschedule("b", delay_us=MINUTE)

    assert ids(await joined.lease()) == ["c"]
    assert await joined.counts() == {EventState.LEASED: 1, EventState.SCHEDULED: 1}


async def test_the_first_group_gets_unclaimed_events_by_priority(topic: TopicDriver) -> None:
    await topic.dispatch("plain", ranked("high", 5))
    await topic.join()

    leased = ids(await topic.lease())
    assert sorted(leased) == ["high", "plain"]
    if topic.harness.partitions == 1:
        assert leased == ["high", "plain"]


async def test_a_deleted_group_leaves_nothing_of_its_priorities(joined: TopicDriver) -> None:
    await joined.dispatch(ranked("a", 5), ranked("b", -5))
    await joined.delete_group()
    await joined.join()
    await joined.dispatch("c")

    assert ids(await joined.lease()) == ["c"]


async def test_more_than_a_step_moves_come_due_with_priorities(joined: TopicDriver) -> None:
    await joined.dispatch(*[ranked(f"r{number}", -1, SECOND) for number in range(900)])
    await joined.dispatch(*[ranked(f"s{number}", -1, SECOND) for number in range(900)])
    await joined.dispatch("plain")
    await joined.harness.advance(2 * SECOND)

    assert "plain" in ids(await joined.lease(max_events=2_000))
    assert len(await joined.lease_all()) + 1 <= 1_801
    assert await joined.counts() == {EventState.LEASED: 1_801}


@pytest.mark.parametrize("harness", ["journal"], indirect=True)
@within
async def test_a_priority_lasts_through_a_restart(joined: TopicDriver) -> None:
    await joined.dispatch("plain", ranked("high", 5), ranked("later", 6, SECOND))
    joined.engine = await joined.harness.restart()
    await joined.harness.advance(MINUTE)
    await joined.join()

    assert await order_of(joined) == ["high", "later", "plain"]
