"""The events of a group in one state, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument, NotFound
from duebus_server.domain.states import EventState
from support.builders import new_event, new_events
from support.topics import TopicDriver, ids

if TYPE_CHECKING:
    from duebus_server.domain.views import EventInfo
    from support.engines import Harness


async def all_pages(
    topic: TopicDriver, state: EventState, limit: int, *, newest_first: bool = False
) -> list[EventInfo]:
    """Every page, one after the other; all but the last are full."""
    found: list[EventInfo] = []
    cursor = None
    while True:
        page = await topic.page(state, limit, cursor, newest_first=newest_first)
        found += page.events
        if page.next_cursor is None:
            return found
        assert len(page.events) == limit
        cursor = page.next_cursor


async def five_in(topic: TopicDriver, state: EventState) -> list[str]:
    """Five events in a state, named in the order of that state's time, which is not the order of dispatch."""
    start_us = topic.harness.now_us()
    names = ["c", "a", "e", "b", "d"]
    if state is EventState.SCHEDULED:
        await topic.dispatch(*(new_event(name, deliver_at_us=start_us + HOUR + ord(name)) for name in names))
        return sorted(names)
    grain_us, key = topic.harness.grain_us, "key" if state is EventState.BLOCKED else ""
    if key:
        await topic.dispatch(new_event("first", key=key))
    await topic.dispatch(*(new_event(name, deliver_at_us=start_us + grain_us * ord(name), key=key) for name in names))
    await topic.harness.advance(grain_us * 200)
    if state is EventState.LEASED:
        leases = await topic.lease_each(*sorted(names, reverse=True), lease_us=HOUR)
        for nth, lease in enumerate(leases, 1):
            await topic.extend(lease, lease_us=HOUR + nth * grain_us)
        return sorted(names, reverse=True)
    if state is EventState.DEAD:
        for lease in await topic.lease_each(*sorted(names, reverse=True)):
            await topic.dead_letter(lease)
            await topic.harness.advance(grain_us)
        return sorted(names, reverse=True)
    return sorted(names)


@pytest.mark.parametrize("state", EventState)
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_are_in_the_order_of_the_states_time_and_have_each_event_once(
    joined: TopicDriver, state: EventState, limit: int, newest_first: bool
) -> None:
    names = await five_in(joined, state)

    found = await all_pages(joined, state, limit, newest_first=newest_first)

    assert ids(found) == (names[::-1] if newest_first else names)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_equal_times_are_in_the_order_of_dispatch(joined: TopicDriver, newest_first: bool) -> None:
    events = new_events(1_200, deliver_at_us=joined.harness.now_us() + HOUR)
    await joined.dispatch(*events)

    found = await all_pages(joined, EventState.SCHEDULED, 100, newest_first=newest_first)

    names = [event.id for event in events]
    assert ids(found) == (names[::-1] if newest_first else names)


async def test_the_last_page_has_no_next_cursor(joined: TopicDriver) -> None:
    await joined.dispatch("a", "b")

    assert (await joined.page(EventState.READY, 2)).next_cursor is None
    assert (await joined.page(EventState.READY, 1)).next_cursor is not None


async def test_listing_an_empty_state(joined: TopicDriver) -> None:
    for state in EventState:
        page = await joined.page(state, 10)
        assert list(page.events) == []
        assert page.next_cursor is None


async def test_a_page_has_at_most_the_requested_bytes_but_at_least_one_event(joined: TopicDriver) -> None:
    await joined.dispatch(*(new_event(name, body=b"x" * 40) for name in "abc"))

    two = await joined.page(EventState.READY, 10, max_bytes=80)
    assert ids(list(two.events)) == ["a", "b"]

    one = await joined.page(EventState.READY, 10, two.next_cursor, max_bytes=1)
    assert ids(list(one.events)) == ["c"]
    assert one.next_cursor is None


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_cursor_remains_valid_after_its_event_is_gone(joined: TopicDriver, newest_first: bool) -> None:
    await joined.dispatch("a", "b", "c", "d", "e")
    first = await joined.page(EventState.READY, 2, newest_first=newest_first)
    await joined.ack(*await joined.lease())
    await joined.dispatch("f")

    rest = await joined.page(EventState.READY, 10, first.next_cursor, newest_first=newest_first)

    assert ids(list(rest.events)) == ([] if newest_first else ["f"])


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_cursor_skips_events_that_changed_their_state(joined: TopicDriver, newest_first: bool) -> None:
    start_us = joined.harness.now_us()
    await joined.dispatch(*(new_event(name, deliver_at_us=start_us + HOUR + ord(name)) for name in "abcde"))
    first = await joined.page(EventState.SCHEDULED, 2, newest_first=newest_first)

    await joined.dispatch(new_event("c2", deliver_at_us=start_us + HOUR + ord("c")))
    rest = await joined.page(EventState.SCHEDULED, 10, first.next_cursor, newest_first=newest_first)

    assert ids(list(rest.events)) == (["c2", "c", "b", "a"] if newest_first else ["c", "c2", "d", "e"])


@pytest.mark.parametrize("cursor", ["", "nonsense", "1", "1.2.3", "a.b", "1.5e3", "'; DROP", "\x00", "-"])
async def test_an_invalid_cursor_is_refused(joined: TopicDriver, cursor: str) -> None:
    await joined.dispatch("event")

    with pytest.raises(InvalidArgument) as raised:
        await joined.page(EventState.READY, 10, cursor)

    assert raised.value.violation.field == "page_token"


async def test_a_listed_event_has_its_state_in_that_group(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("one", "left", consumer="worker of the left")
    await topic.join("two", "right")
    start_us = harness.now_us()
    await topic.dispatch(new_event("event", body=b"body"))
    await topic.lease_one("one", "left", lease_us=MINUTE)

    (event,) = (await topic.page(EventState.LEASED, 10, group="left")).events
    assert (event.event_id, event.body) == ("event", b"body")
    assert harness.near(start_us)(event.dispatched_us)
    (where,) = event.groups
    assert (where.group, where.state, where.attempts) == ("left", EventState.LEASED, 1)
    assert where.consumer == "worker of the left"
    assert harness.near(start_us + MINUTE)(where.lease_expires_us)
    assert where.dead_us is None

    (event,) = (await topic.page(EventState.READY, 10, group="right")).events
    (where,) = event.groups
    assert (where.group, where.state, where.attempts) == ("right", EventState.READY, 0)
    assert (where.consumer, where.lease_expires_us, where.last_error) == ("", None, "")


async def test_unclaimed_events_are_listed_without_a_group(topic: TopicDriver) -> None:
    await topic.dispatch("event")

    (event,) = (await topic.page(EventState.READY, 10, group="")).events

    assert [info.group for info in event.groups] == [""]


async def test_an_empty_group_means_the_default_group_once_it_exists(joined: TopicDriver) -> None:
    await joined.dispatch("event")

    assert ids(list((await joined.page(EventState.READY, 10, group="")).events)) == ["event"]


async def test_lists_are_up_to_date_without_a_sweep(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("scheduled", delay_us=SECOND), "leased")
    await joined.lease_one(lease_us=SECOND)

    await harness.advance(SECOND)

    assert ids(list((await joined.page(EventState.READY, 10)).events)) == ["leased", "scheduled"]


@pytest.mark.parametrize("group", ["unknown", ""])
async def test_an_unknown_topic_or_group_is_not_found(topic: TopicDriver, group: str) -> None:
    with pytest.raises(NotFound):
        await topic.page(EventState.READY, 10)

    await topic.join("one", "other")
    with pytest.raises(NotFound):
        await topic.page(EventState.READY, 10, group=group)
