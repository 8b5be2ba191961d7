"""Order by key: of a key's events that are due, one at a time is delivered, the one that was due first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.administration import DeadLetterFilter
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument, MaxQueuedEventsReached, NotFound
from duebus_server.domain.model import DEFAULT_GROUP, DispatchAnswer, LeasedEvent, LeaseRequest, NewEvent
from duebus_server.domain.retry import FREE_EXPIRIES, RetryPolicy
from duebus_server.domain.states import EventState
from duebus_server.domain.views import EXAMINED_AT_ONCE, KeyInfo
from support.builders import new_event
from support.topics import PLENTY, WORKER, TopicDriver, ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.views import EventInfo

KEY = "order-17"


def keyed(*event_ids: str, key: str = KEY, delay_us: int | None = None) -> list[NewEvent]:
    """Events of one key."""
    return [new_event(event_id, key=key, delay_us=delay_us) for event_id in event_ids]


class Ear:
    """Waits for what is reported to a topic's watcher from now on."""

    def __init__(self, topic: TopicDriver) -> None:
        self._topic = topic
        topic.harness.recorder.forget()

    async def hears_due_now(self) -> None:
        harness = self._topic.harness
        await harness.recorder.until_due(
            self._topic.name, DEFAULT_GROUP, lambda at_us: at_us <= harness.now_us(), "due now"
        )


async def order_of(topic: TopicDriver) -> list[str]:
    """The ids of what is delivered when one event is leased and acked after the other, until nothing is due."""
    found: list[str] = []
    while leased := await topic.lease_all():
        found += ids(leased)
        assert await topic.ack(*leased) == [None] * len(leased)
    return found


async def restart(topic: TopicDriver) -> None:
    """End the engine and start it again, and let the leases of before run out."""
    topic.engine = await topic.harness.restart()
    await topic.harness.advance(MINUTE)
    await topic.join()


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
    ear = Ear(joined)

    await getattr(joined, settle)(head)

    await ear.hears_due_now()


@pytest.mark.parametrize("change", ["cancel", "reschedule"])
async def test_an_operator_who_brings_in_the_next_event_has_it_reported(joined: TopicDriver, change: str) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.nack(await joined.lease_one(), delay_us=HOUR)
    ear = Ear(joined)

    await (joined.cancel("a") if change == "cancel" else joined.reschedule("a", delay_us=2 * HOUR))

    await ear.hears_due_now()


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


ON_THE_JOURNAL = pytest.mark.parametrize("harness", ["journal"], indirect=True)
"""A restart of the engine itself: the journal's is a new process, while Redis outlives the server."""

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


# --- exits ------------------------------------------------------------------------------------------------------------


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


# --- operators --------------------------------------------------------------------------------------------------------


async def test_blocked_events_are_seen_with_what_they_wait_for(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.harness.advance(SECOND)
    await joined.dispatch(*keyed("c"), "free")
    await joined.harness.advance(SECOND)

    info = await joined.group()

    assert info.counts[EventState.READY] == 2
    assert info.counts[EventState.BLOCKED] == 2
    assert info.oldest_blocked_age_us is not None
    assert 2 * SECOND - joined.harness.grain_us <= info.oldest_blocked_age_us <= 2 * SECOND + joined.harness.grain_us
    assert {one: (await joined.group_info(one)).waits_for for one in "abc"} == {"a": "", "b": "a", "c": "a"}
    listed = await joined.page(EventState.BLOCKED, 10)
    assert [(one.event_id, one.groups[0].waits_for) for one in listed.events] == [("b", "a"), ("c", "a")]
    assert await joined.queued() == 4
    assert await joined.engine.backlog(joined.name, "default") == 2
    assert await joined.engine.work([(joined.name, "default")]) == [2]


async def test_no_blocked_event_has_no_age(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a"), *keyed("later", delay_us=HOUR))

    assert (await joined.group()).oldest_blocked_age_us is None


async def test_the_age_of_blocked_events_is_not_that_of_ready_ones(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.lease_one(lease_us=HOUR)
    await joined.harness.advance(SECOND)

    info = await joined.group()

    assert info.oldest_ready_age_us is None
    assert info.oldest_blocked_age_us is not None


async def test_keys_are_listed_with_the_most_blocked_events_first(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("x", key="single"))
    await joined.dispatch(*keyed("c1", "c2", "c3", "c4", key="crowded"), *keyed("b1", "b2", key="behind"), "free")
    await joined.dispatch(*keyed("z", key="scheduled", delay_us=HOUR))
    (crowded,) = [one for one in await joined.lease() if one.event_id == "c1"]

    page = await joined.keys(limit=2)

    assert page.keys == [KeyInfo("crowded", 3, 1, "c1"), KeyInfo("behind", 1, 1, "b1")]
    rest = await joined.keys(limit=2, cursor=page.next_cursor)
    assert rest.keys == [KeyInfo("single", 0, 1, "x")]
    assert rest.next_cursor is None
    await joined.ack(crowded)
    assert (await joined.keys(limit=1)).keys == [KeyInfo("crowded", 2, 0, "c2")]


async def test_a_key_is_listed_while_its_retry_waits(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.nack(await joined.lease_one(), delay_us=HOUR)

    assert (await joined.keys()).keys == [KeyInfo(KEY, 1, 0, "a")]


async def test_a_key_without_events_is_not_listed(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    assert await order_of(joined) == ["a", "b"]

    assert (await joined.keys()).keys == []


async def test_keys_of_what_does_not_exist_are_not_found(joined: TopicDriver) -> None:
    with pytest.raises(NotFound):
        await joined.keys(group="nobody")


async def test_a_cursor_of_keys_that_no_page_had_is_refused(joined: TopicDriver) -> None:
    with pytest.raises(InvalidArgument):
        await joined.keys(cursor="x")


async def all_of_key(
    topic: TopicDriver, state: EventState, key: str = KEY, *, newest_first: bool = False
) -> Sequence[EventInfo]:
    """All pages of a key's events in a state, two events at a time."""
    page = await topic.page(state, 2, key=key, newest_first=newest_first)
    found = list(page.events)
    while page.next_cursor is not None:
        page = await topic.page(state, 2, page.next_cursor, key=key, newest_first=newest_first)
        found += page.events
    return found


@pytest.mark.parametrize("newest_first", [False, True])
async def test_events_are_listed_by_key(joined: TopicDriver, newest_first: bool) -> None:
    await joined.dispatch(*keyed("s1", "s2", "s3", delay_us=HOUR), *keyed("os", key="other", delay_us=HOUR))
    await joined.dispatch(*keyed("dead", "head", "b1", "b2", "b3"), *keyed("o1", "o2", key="other"), "free")
    await joined.dead_letter(*[one for one in await joined.lease() if one.event_id == "dead"])

    async def listed(state: EventState) -> list[str]:
        found = ids(list(await all_of_key(joined, state, newest_first=newest_first)))
        return found[::-1] if newest_first else found

    assert await listed(EventState.SCHEDULED) == ["s1", "s2", "s3"]
    assert await listed(EventState.READY) == ["head"]
    assert await listed(EventState.BLOCKED) == ["b1", "b2", "b3"]
    assert await listed(EventState.DEAD) == ["dead"]
    assert await listed(EventState.LEASED) == []
    assert ids(list(await all_of_key(joined, EventState.LEASED, "other"))) == ["o1"]
    assert ids(list(await all_of_key(joined, EventState.READY, "nothing"))) == []


async def test_a_retry_is_listed_by_key(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"), *keyed("s", delay_us=HOUR))
    await joined.nack(await joined.lease_one(), delay_us=MINUTE)

    assert ids(list(await all_of_key(joined, EventState.SCHEDULED))) == ["a", "s"]


async def test_a_page_of_a_key_examines_a_bounded_number_of_events(joined: TopicDriver) -> None:
    many = EXAMINED_AT_ONCE + 10
    await joined.dispatch(*[new_event(f"other-{number}") for number in range(many)])
    await joined.dispatch(*keyed("mine"))
    for one in range(0, many, EXAMINED_AT_ONCE):
        leases = await joined.lease(max_events=EXAMINED_AT_ONCE)
        await joined.dead_letter(*leases)
        assert one >= 0
    await joined.dead_letter(*await joined.lease_all())

    assert ids(list(await all_of_key(joined, EventState.DEAD))) == ["mine"]


async def test_dead_letters_are_redriven_and_purged_by_key(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a"), *keyed("x", key="other"), *keyed("y", key="third"))
    await joined.dead_letter(*await joined.lease())

    assert (await joined.redrive(DeadLetterFilter(key=KEY))).moved == 1
    assert (await joined.purge(DeadLetterFilter(key="other"))).moved == 1

    assert await joined.state("a") is EventState.READY
    assert await joined.state("x") is None
    assert await joined.state("y") is EventState.DEAD


async def test_blocked_events_are_cancelled(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b", "c"))

    answer = await joined.cancel("b")

    assert answer.cancelled == 1
    assert await order_of(joined) == ["a", "c"]


async def test_blocked_events_are_rescheduled(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b", "c"))

    await joined.reschedule("b", delay_us=MINUTE)

    assert await joined.state("b") is EventState.SCHEDULED
    assert await order_of(joined) == ["a", "c"]
    await joined.harness.advance(2 * MINUTE)
    assert await order_of(joined) == ["b"]


async def test_a_scheduled_event_that_is_rescheduled_to_now_is_behind_the_others(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("scheduled", delay_us=HOUR), *keyed("a", "b"))
    await joined.harness.advance(SECOND)

    await joined.reschedule("scheduled", delay_us=0)

    assert await joined.state("scheduled") is EventState.BLOCKED
    assert await order_of(joined) == ["a", "b", "scheduled"]


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.topic_config(max_queued=40)
@pytest.mark.within_a_partition("each partition has its share of max_queued")
async def test_a_key_that_is_held_up_cant_fill_the_topic(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("head", "b1", "b2", "b3"))
    await joined.lease_one()

    refused = await joined.try_dispatch(*keyed("b4", "b5"))

    assert isinstance(refused, MaxQueuedEventsReached)
    assert refused.metadata["key"] == KEY
    assert refused.metadata["max_blocked"] == "4"
    assert await joined.queued() == 4
    assert isinstance(await joined.try_dispatch(*keyed("b4")), DispatchAnswer)
    assert isinstance(await joined.try_dispatch(*keyed("b5")), MaxQueuedEventsReached)
    assert isinstance(await joined.try_dispatch(*keyed("x", key="other")), DispatchAnswer)
    assert isinstance(await joined.try_dispatch("free"), DispatchAnswer)
    assert isinstance(await joined.try_dispatch(*keyed("later", delay_us=HOUR)), DispatchAnswer)


@pytest.mark.topic_config(max_queued=40)
@pytest.mark.within_a_partition("each partition has its share of max_queued")
async def test_a_request_with_too_many_events_of_a_free_key_stores_nothing(topic: TopicDriver) -> None:
    many = [f"e{number}" for number in range(6)]

    refused = await topic.try_dispatch(*keyed(*many), "free")

    assert isinstance(refused, MaxQueuedEventsReached)
    assert isinstance(await topic.try_dispatch(*keyed(*many[:5])), DispatchAnswer)
    assert await topic.queued() == 5


@pytest.mark.topic_config(max_queued=40)
@pytest.mark.within_a_partition("each partition has its share of max_queued")
async def test_a_key_that_is_over_its_limit_by_what_came_due_is_refused(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed(*[f"e{number}" for number in range(7)], delay_us=SECOND))
    await joined.harness.advance(2 * SECOND)
    await joined.lease_one()

    assert isinstance(await joined.try_dispatch(*keyed("later", delay_us=HOUR)), MaxQueuedEventsReached)


@pytest.mark.topic_config(max_queued=40)
@pytest.mark.within_a_partition("each partition has its share of max_queued")
async def test_what_only_an_ephemeral_group_holds_up_refuses_nothing(topic: TopicDriver) -> None:
    await topic.join(group="tail", ephemeral_us=SECOND)
    await topic.join()
    for number in range(8):
        await topic.dispatch(*keyed(f"e{number}"))
        await topic.ack(await topic.lease_one())

    assert (await topic.group("tail")).counts[EventState.BLOCKED] == 7


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
