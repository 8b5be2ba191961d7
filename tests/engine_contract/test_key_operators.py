"""What operators see of keys, and do to events with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.administration import DeadLetterFilter
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument, NotFound
from duebus_server.domain.states import EventState
from duebus_server.domain.views import EXAMINED_AT_ONCE, KeyInfo
from support.builders import new_event
from support.keyed import KEY, keyed, order_of
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.views import EventInfo
    from support.topics import TopicDriver


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


async def test_nothing_is_behind_a_cursor_of_keys_that_is_too_large(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a"))
    page = await joined.keys(cursor="9" * 30)
    assert (page.keys, page.next_cursor) == ([], None)


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
