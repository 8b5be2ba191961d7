"""Order by key: of a key's events that are due, one at a time is delivered, the one that was due first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.model import LeaseRequest
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.keyed import KEY, ON_THE_JOURNAL, keyed, order_of, restart
from support.topics import PLENTY, WORKER, DueReports, ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from duebus_server.domain.model import LeasedEvent
    from support.topics import TopicDriver


# --- one at a time ----------------------------------------------------------------------------------------------------


async def test_events_of_a_key_are_delivered_one_at_a_time_in_the_order_of_dispatch(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.dispatch(*keyed("c"))

    for event_id in ("a", "b", "c"):
        leased = await joined.lease_one()
        assert leased.event_id == event_id
        assert await joined.lease() == []
        assert await joined.ack(leased) == [None]
    assert await joined.counts() == {}


async def test_events_of_a_key_are_delivered_in_the_order_of_their_due_times(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("later", delay_us=2 * SECOND), *keyed("sooner", delay_us=SECOND))
    await joined.harness.advance(3 * SECOND)
    await joined.dispatch(*keyed("now"))

    assert await order_of(joined) == ["sooner", "later", "now"]


async def test_other_keys_and_events_without_one_are_not_held_up(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"), *keyed("other", "next", key="order-18"), "free", "freer")

    assert sorted(ids(await joined.lease())) == ["a", "free", "freer", "other"]


async def test_each_group_has_its_own_order(topic: TopicDriver) -> None:
    await topic.join(group="fast")
    await topic.join(group="slow")
    await topic.dispatch(*keyed("a", "b"))
    await topic.lease_one(group="slow")

    await topic.ack(await topic.lease_one(group="fast"), group="fast")

    assert (await topic.lease_one(group="fast")).event_id == "b"
    assert await topic.lease(group="slow") == []


async def test_an_ephemeral_group_has_its_own_order(topic: TopicDriver) -> None:
    await topic.join(group="tail", ephemeral_us=SECOND)
    await topic.join()
    await topic.dispatch(*keyed("a", "b"))

    assert (await topic.lease_one(group="tail")).event_id == "a"
    assert await topic.lease(group="tail") == []


async def test_the_blocked_event_that_comes_next_is_reported_as_due(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    leased = await joined.lease_one()
    assert await joined.next_due() == leased.lease_expires_us

    await joined.ack(leased)

    due_us = await joined.next_due()
    assert due_us is not None
    assert due_us <= joined.harness.now_us()


@pytest.mark.parametrize("settle", ["ack", "dead_letter"])
async def test_a_settle_that_brings_in_the_next_event_reports_it(joined: TopicDriver, settle: str) -> None:
    await joined.dispatch(*keyed("a", "b"))
    head = await joined.lease_one(lease_us=HOUR)
    reports = DueReports(joined)

    await getattr(joined, settle)(head)

    await reports.until_due_now()


@pytest.mark.parametrize("change", ["cancel", "reschedule"])
async def test_an_operator_who_brings_in_the_next_event_has_it_reported(joined: TopicDriver, change: str) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.nack(await joined.lease_one(), delay_us=HOUR)
    reports = DueReports(joined)

    await (joined.cancel("a") if change == "cancel" else joined.reschedule("a", delay_us=2 * HOUR))

    await reports.until_due_now()


async def test_a_fencing_token_grows_along_the_key(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"), *keyed("c"))
    tokens: list[int] = []
    for action in (joined.ack, joined.dead_letter, joined.release, joined.ack):
        (leased,) = await joined.lease()
        tokens.append(leased.fencing_token)
        await action(leased)

    assert tokens == sorted(set(tokens))


async def test_a_suspect_holds_up_its_key(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.let_run_out()

    assert (await joined.lease_batch(with_suspect=False)).events == []
    assert (await joined.lease_one()).event_id == "a"


# --- which event is first ---------------------------------------------------------------------------------------------


async def test_a_scheduled_event_holds_up_nobody_before_it_is_due(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("scheduled", delay_us=MINUTE))
    await joined.dispatch(*keyed("a", "b"))

    assert await order_of(joined) == ["a", "b"]
    assert await joined.state("scheduled") is EventState.SCHEDULED


async def test_one_that_becomes_due_earlier_than_the_waiting_head_goes_first(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("earlier", delay_us=SECOND))
    await joined.harness.advance(2 * SECOND)
    await joined.dispatch(*keyed("head"))

    assert await joined.state("earlier") is EventState.READY
    assert await joined.state("head") is EventState.BLOCKED
    assert await order_of(joined) == ["earlier", "head"]


async def leased(_topic: TopicDriver, _head: LeasedEvent) -> None:
    """Nothing happens to the head: it is leased."""


async def backs_off(topic: TopicDriver, head: LeasedEvent) -> None:
    await topic.nack(head, delay_us=HOUR)


async def is_released(topic: TopicDriver, head: LeasedEvent) -> None:
    await topic.release(head)


async def runs_out(topic: TopicDriver, _head: LeasedEvent) -> None:
    await topic.harness.advance(MINUTE)


async def loses_its_worker(topic: TopicDriver, _head: LeasedEvent) -> None:
    await topic.shorten(SECOND)
    await topic.leave()
    await topic.harness.advance(SECOND)
    await topic.join()


async def moves_to_another_worker(topic: TopicDriver, head: LeasedEvent) -> None:
    await topic.join("other")
    await topic.adopt("other", head, lease_us=HOUR)


STAYS = [leased, backs_off, is_released, runs_out, loses_its_worker, moves_to_another_worker]
READY_AGAIN = [is_released, runs_out, loses_its_worker]


async def a_head_that_was_leased(topic: TopicDriver) -> LeasedEvent:
    """Lease the head, of which one that was due later has been dispatched before, and another is behind."""
    await topic.dispatch(*keyed("earlier", delay_us=SECOND))
    await topic.dispatch(*keyed("head"))
    head = await topic.lease_one(lease_us=40 * SECOND)
    await topic.harness.advance(2 * SECOND)
    await topic.dispatch(*keyed("behind"))
    return head


async def assert_it_is_still_head(topic: TopicDriver) -> None:
    assert await topic.state("earlier") is EventState.BLOCKED
    assert await topic.state("behind") is EventState.BLOCKED
    assert (await topic.group_info("behind")).waits_for == "head"
    await topic.harness.advance(HOUR)
    assert await order_of(topic) == ["head", "earlier", "behind"]


@pytest.mark.parametrize("happens", STAYS)
async def test_once_leased_the_head_stays_head_when_it(
    joined: TopicDriver, happens: Callable[[TopicDriver, LeasedEvent], Awaitable[None]]
) -> None:
    await happens(joined, await a_head_that_was_leased(joined))

    await assert_it_is_still_head(joined)


@ON_THE_JOURNAL
@pytest.mark.parametrize("happens", STAYS)
async def test_once_leased_the_head_stays_head_over_a_restart_when_it(
    joined: TopicDriver, happens: Callable[[TopicDriver, LeasedEvent], Awaitable[None]]
) -> None:
    await happens(joined, await a_head_that_was_leased(joined))

    await restart(joined)

    await assert_it_is_still_head(joined)


@pytest.mark.parametrize("happens", READY_AGAIN)
async def test_a_head_that_is_ready_again_is_the_only_one_delivered(
    joined: TopicDriver, happens: Callable[[TopicDriver, LeasedEvent], Awaitable[None]]
) -> None:
    await joined.dispatch(*keyed("head", "behind"))
    await happens(joined, await joined.lease_one())

    assert (await joined.lease_one()).event_id == "head"


@ON_THE_JOURNAL
async def test_the_order_is_kept_over_a_restart(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("scheduled", delay_us=HOUR), *keyed("a", "b"), *keyed("c", key="other"))

    await restart(joined)

    assert await joined.counts() == {EventState.SCHEDULED: 1, EventState.READY: 2, EventState.BLOCKED: 1}
    assert await joined.state("b") is EventState.BLOCKED
    await joined.harness.advance(HOUR)
    assert [one for one in await order_of(joined) if one != "c"] == ["a", "b", "scheduled"]


# --- hand-over --------------------------------------------------------------------------------------------------------


async def test_hand_over_gives_one_event_of_each_key(joined: TopicDriver) -> None:
    batch = await joined.hand_over(*keyed("a", "b"), *keyed("x", "y", key="other"), new_event("free"))

    assert sorted(ids(batch.events)) == ["a", "free", "x"]
    assert await joined.counts() == {EventState.LEASED: 3, EventState.BLOCKED: 2}
    await joined.ack(*batch.events)
    assert sorted(ids(await joined.lease())) == ["b", "y"]


async def test_hand_over_gives_nothing_of_a_key_that_is_taken(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a"))
    head = await joined.lease_one()

    batch = await joined.hand_over(*keyed("b"))

    assert batch.events == []
    await joined.ack(head)
    assert (await joined.lease_one()).event_id == "b"


async def test_hand_over_gives_nothing_of_a_key_whose_retry_waits(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a"))
    await joined.nack(await joined.lease_one(), delay_us=MINUTE)

    batch = await joined.hand_over(*keyed("b"))

    assert batch.events == []
    assert await joined.state("b") is EventState.BLOCKED


async def test_an_event_that_was_handed_over_is_the_head(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("earlier", delay_us=SECOND))
    batch = await joined.hand_over(*keyed("head"))
    await joined.harness.advance(2 * SECOND)

    await joined.release(*batch.events)

    assert await order_of(joined) == ["head", "earlier"]


async def test_what_does_not_fit_a_hand_over_waits_in_order(joined: TopicDriver) -> None:
    batch = await joined.hand_over(*keyed("a"), *keyed("x", "y", key="other"), room=LeaseRequest(1, PLENTY))

    await joined.ack(*batch.events)

    assert await order_of(joined) == ["x", "y"]


# --- groups that come later -------------------------------------------------------------------------------------------


async def test_the_unclaimed_events_of_a_topic_are_in_order_for_its_first_group(topic: TopicDriver) -> None:
    await topic.dispatch(*keyed("scheduled", delay_us=SECOND), *keyed("a", "b"))
    assert await topic.counts("") == {EventState.SCHEDULED: 1, EventState.READY: 1, EventState.BLOCKED: 1}

    await topic.join()

    assert await topic.counts() == {EventState.SCHEDULED: 1, EventState.READY: 1, EventState.BLOCKED: 1}
    await topic.harness.advance(2 * SECOND)
    assert await order_of(topic) == ["a", "b", "scheduled"]


async def test_a_group_that_is_made_later_has_an_order_of_what_comes_later(topic: TopicDriver) -> None:
    await topic.join()
    await topic.dispatch(*keyed("a", "b"))
    await topic.join(group="later")

    await topic.dispatch(*keyed("c", "d"))

    assert (await topic.lease_one(group="later")).event_id == "c"
    assert (await topic.lease_one()).event_id == "a"
    assert await topic.counts("later") == {EventState.LEASED: 1, EventState.BLOCKED: 1}


# --- pause ------------------------------------------------------------------------------------------------------------


async def test_a_pause_keeps_the_order(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("scheduled", delay_us=SECOND), *keyed("a", "b"))
    head = await joined.lease_one()
    await joined.pause()
    await joined.ack(head)
    await joined.harness.advance(2 * SECOND)
    assert await joined.lease() == []

    await joined.resume()

    assert await order_of(joined) == ["b", "scheduled"]


# --- many at once -----------------------------------------------------------------------------------------------------

MANY = 2_500


async def test_many_events_of_a_key_that_come_due_together_hold_up_nobody(joined: TopicDriver) -> None:
    names = [f"e{number:04}" for number in range(MANY)]
    at_us = joined.harness.now_us() + SECOND
    await joined.dispatch(*[new_event(name, key=KEY, deliver_at_us=at_us) for name in names])
    await joined.harness.advance(2 * SECOND)
    await joined.dispatch("free", *keyed("other", key="other"))

    batch = await joined.lease_batch(max_events=10)

    assert sorted(ids(batch.events)) == ["e0000", "free", "other"]
    while (batch.next_due_us or HOUR * MANY) <= joined.harness.now_us():
        batch = await joined.lease_batch(max_events=10)
        assert batch.events == []
    assert await joined.counts() == {EventState.LEASED: 3, EventState.BLOCKED: MANY - 1}


async def test_an_event_that_was_due_first_but_is_not_moved_yet_goes_first(joined: TopicDriver) -> None:
    at_us = joined.harness.now_us() + SECOND
    crowd = [new_event(f"e{number:04}", key="crowd", deliver_at_us=at_us) for number in range(MANY)]
    await joined.dispatch(*crowd, new_event("due first", key=KEY, deliver_at_us=at_us + joined.harness.grain_us))
    await joined.harness.advance(2 * SECOND)
    await joined.dispatch(*keyed("due last"))

    batch = await joined.lease_batch(max_events=10)

    assert "due last" not in ids(batch.events)
    while "due first" not in ids(batch.events):
        assert batch.next_due_us is not None
        assert batch.next_due_us <= joined.harness.now_us()
        batch = await joined.lease_batch(max_events=10)
        assert "due last" not in ids(batch.events)
    assert await joined.state("due last") is EventState.BLOCKED


async def test_a_hand_over_waits_for_what_is_due_and_not_moved_yet(joined: TopicDriver) -> None:
    at_us = joined.harness.now_us() + SECOND
    crowd = [new_event(f"e{number:04}", key="crowd", deliver_at_us=at_us) for number in range(MANY)]
    await joined.dispatch(*crowd, *keyed("due first", delay_us=SECOND))
    await joined.lease()
    await joined.harness.advance(2 * SECOND)

    batch = await joined.hand_over(*keyed("due last"))

    assert batch.events == []


async def test_the_next_event_comes_in_although_it_is_not_moved_yet(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("head"))
    head = await joined.lease_one(lease_us=HOUR)
    at_us = joined.harness.now_us() + SECOND
    await joined.dispatch(*[new_event(f"e{number:04}", key="crowd", deliver_at_us=at_us) for number in range(MANY)])
    await joined.dispatch(*[new_event(one, key=KEY, deliver_at_us=at_us + SECOND) for one in ("next", "last")])
    await joined.harness.advance(3 * SECOND)
    await joined.ack(head)

    batch = await joined.lease_batch(max_events=10)
    while "next" not in ids(batch.events):
        assert "last" not in ids(batch.events)
        assert batch.next_due_us is not None
        assert batch.next_due_us <= joined.harness.now_us()
        batch = await joined.lease_batch(max_events=10)
    assert "last" not in ids(batch.events)


async def test_a_lease_never_looks_at_blocked_events(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed(*[f"e{number:03}" for number in range(900)]))
    head = await joined.lease_one()

    batch = await joined.lease_batch()

    assert batch.events == []
    assert not batch.has_more
    assert batch.next_due_us == head.lease_expires_us
    assert await joined.ack(head) == [None]
    assert (await joined.lease_one(WORKER)).event_id == "e001"
