"""Leasing due events: never early, the longest due first, each to one holder, as many as fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MILLISECOND, MINUTE, SECOND
from duebus_server.domain.errors import NotFound
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.states import EventState
from support.builders import new_event, new_events
from support.topics import TopicDriver, ids

if TYPE_CHECKING:
    from duebus_server.domain.model import LeasedEvent
    from support.engines import Harness


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_the_event_due_first_comes_first_in_any_order_of_dispatch(harness: Harness, joined: TopicDriver) -> None:
    delays = {"third": 30, "first": 10, "fourth": 40, "second": 20}
    await joined.dispatch(*(new_event(name, delay_us=delay * SECOND) for name, delay in delays.items()))

    await harness.advance(MINUTE)

    assert ids(await joined.lease()) == ["first", "second", "third", "fourth"]


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_events_due_at_the_same_time_come_in_the_order_of_dispatch(harness: Harness, joined: TopicDriver) -> None:
    deliver_at_us = harness.now_us() + MINUTE
    names = ["z", "a", "m", "10", "9"]
    for name in names:
        await joined.dispatch(new_event(name, deliver_at_us=deliver_at_us))

    await harness.advance(MINUTE)

    assert ids(await joined.lease()) == names


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_a_scheduled_event_comes_before_one_that_is_due_later(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("scheduled", delay_us=SECOND))
    await harness.advance(2 * SECOND)
    await joined.dispatch("at once")

    assert ids(await joined.lease()) == ["scheduled", "at once"]


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_a_released_or_expired_event_keeps_its_place(harness: Harness, joined: TopicDriver) -> None:
    """It keeps its due time."""
    await joined.dispatch("released", "expired")
    released, _ = await joined.lease(lease_us=SECOND)
    await harness.advance(SECOND)
    await joined.dispatch("newer")

    await joined.release(released)

    assert ids(await joined.lease()) == ["released", "expired", "newer"]


async def test_a_batch_has_first_and_later_attempts(harness: Harness, joined: TopicDriver) -> None:
    """Each event of a batch has its own attempt, last error and due time."""
    await joined.dispatch("nacked", "acked", "released", "expired")
    first_us = harness.now_us()
    held = {event.event_id: event for event in await joined.lease(lease_us=SECOND)}
    await joined.nack(held["nacked"], delay_us=0, error="no")
    await joined.ack(held["acked"])
    await joined.release(held["released"])
    await harness.advance(SECOND)
    await joined.dispatch("new")

    batch = {event.event_id: event for event in await joined.lease_all()}

    assert {name: (event.attempt, event.last_error) for name, event in batch.items()} == {
        "nacked": (2, "no"),
        "released": (1, ""),
        "expired": (2, "the lease expired before the delivery was settled"),
        "new": (1, ""),
    }
    assert all(harness.near(first_us)(batch[name].deliver_at_us) for name in ("nacked", "released", "expired"))
    assert harness.near(harness.now_us())(batch["new"].deliver_at_us)
    assert await joined.ack(*batch.values()) == [None] * 4


@pytest.mark.parametrize("how_many", [1, 31, 32, 33, 64, 65, 200])
@pytest.mark.parametrize("alike", [1, 3, 32, 50, 200])
async def test_each_event_of_a_batch_has_its_own_due_time(
    harness: Harness, joined: TopicDriver, how_many: int, alike: int
) -> None:
    """However many of its neighbours have the same due time."""
    begin_us = harness.now_us() + HOUR
    dues = [begin_us + index // alike * MILLISECOND for index in range(how_many)]
    events = [new_event(f"event {index}", deliver_at_us=due_us) for index, due_us in enumerate(dues)]
    await joined.dispatch(*events)
    await harness.advance(2 * HOUR)

    found = {event.event_id: event.deliver_at_us for event in await joined.lease_all()}

    assert found == {event.id: due_us for event, due_us in zip(events, dues, strict=True)}


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
@pytest.mark.parametrize("later_us", [0, SECOND])
async def test_a_large_backlog_comes_before_later_dispatches(
    harness: Harness, joined: TopicDriver, later_us: int
) -> None:
    backlog = new_events(2_500, delay_us=SECOND)
    await joined.dispatch(*backlog)
    await harness.advance(SECOND + later_us)
    await joined.dispatch("newest")

    assert ids(await joined.lease_all()) == [event.id for event in backlog] + ["newest"]


# --- one holder -------------------------------------------------------------------------------------------------------


async def test_a_leased_event_is_not_leased_to_anyone_else(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("one")
    await topic.join("two")
    await topic.dispatch("event")
    await topic.lease_one("one", lease_us=MINUTE)

    assert await topic.lease("two") == []
    assert await topic.lease("one") == []
    await harness.advance(MINUTE - harness.grain_us)
    assert await topic.lease("two") == []

    await harness.advance(harness.grain_us)
    assert (await topic.lease_one("two")).event_id == "event"


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_events_are_distributed_among_the_sessions_of_a_group(topic: TopicDriver) -> None:
    await topic.join("one")
    await topic.join("two")
    await topic.dispatch("a", "b", "c")

    assert ids(await topic.lease("one", max_events=1)) == ["a"]
    assert ids(await topic.lease("two", max_events=1)) == ["b"]
    assert ids(await topic.lease("one", max_events=1)) == ["c"]


async def test_fencing_tokens_grow_with_every_lease_of_an_event(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("one")
    await topic.join("two")
    await topic.dispatch("a", "b", "c")
    tokens: dict[str, list[int]] = {"a": [], "b": [], "c": []}

    def given(leases: list[LeasedEvent]) -> list[LeasedEvent]:
        for lease in leases:
            tokens[lease.event_id].append(lease.fencing_token)
        return leases

    await topic.release(*given(await topic.lease("one")))
    await topic.nack(*given(await topic.lease("two", lease_us=SECOND)), delay_us=0)
    given(await topic.lease("one", lease_us=SECOND))
    await harness.advance(SECOND)
    given(await topic.lease("two"))

    assert [len(own) for own in tokens.values()] == [4, 4, 4]
    assert all(own == sorted(set(own)) for own in tokens.values())
    assert len({token for own in tokens.values() for token in own}) == 12, "each names one lease of the group"


async def test_a_fencing_token_is_at_least_the_engines_time(harness: Harness, joined: TopicDriver) -> None:
    for _ in range(3):
        began_us = harness.now_us()
        await joined.dispatch("event")
        event = await joined.lease_one()
        assert event.fencing_token >= began_us
        await joined.release(event)
        await harness.advance(MINUTE)


async def test_fencing_tokens_keep_growing_after_the_group_was_empty(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("a")
    first = await joined.lease_one()
    await joined.ack(first)
    await joined.leave()
    await harness.advance(24 * HOUR)
    await harness.engine.expire_leases()

    await joined.join()
    await joined.dispatch("a")

    assert (await joined.lease_one()).fencing_token > first.fencing_token


# --- the window -------------------------------------------------------------------------------------------------------


async def test_a_lease_has_at_most_the_requested_number_of_events(joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(5))

    assert len(await joined.lease(max_events=3)) == 3
    assert len(await joined.lease(max_events=3)) == 2


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_a_lease_has_at_most_the_requested_bytes(joined: TopicDriver) -> None:
    await joined.dispatch(*(new_event(name, body=b"x" * 40) for name in "abc"))

    batch = await joined.lease_batch(max_bytes=80)

    assert ids(batch.events) == ["a", "b"]


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_the_first_that_does_not_fit_ends_the_batch(joined: TopicDriver) -> None:
    """A small event does not overtake a large one; otherwise the large one might never be delivered."""
    await joined.dispatch(new_event("a", body=b"x"), new_event("large", body=b"x" * 100), new_event("c", body=b"x"))

    batch = await joined.lease_batch(max_bytes=50)

    assert ids(batch.events) == ["a"]


@pytest.mark.parametrize("max_bytes", [10, 0, -5])
async def test_an_event_larger_than_the_window_is_leased_alone_if_requested(
    joined: TopicDriver, max_bytes: int
) -> None:
    await joined.dispatch(new_event("large", body=b"x" * 100), new_event("small", body=b"x"))

    assert (await joined.lease_batch(max_bytes=max_bytes, at_least_one=False)).events == []

    assert ids((await joined.lease_batch(max_bytes=max_bytes, at_least_one=True)).events) == ["large"]


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_a_batch_reports_whether_events_did_not_fit(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("a", body=b"x" * 40), new_event("b", body=b"x" * 40))

    first = await joined.lease_batch(max_events=1)
    second = await joined.lease_batch(max_bytes=10, at_least_one=False)
    third = await joined.lease_batch()

    assert first.has_more
    assert second.has_more
    assert ids(third.events) == ["b"]
    assert not third.has_more


async def test_an_event_that_is_not_due_does_not_count_as_left_out(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("later", delay_us=MINUTE))

    assert not (await joined.lease_batch(max_events=1)).has_more


# --- sessions ---------------------------------------------------------------------------------------------------------


async def test_a_session_that_has_not_joined_gets_nothing(joined: TopicDriver) -> None:
    await joined.dispatch("event")

    with pytest.raises(NotFound):
        await joined.lease("stranger")

    assert await joined.state("event") is EventState.READY


async def test_a_session_that_has_left_gets_nothing(joined: TopicDriver) -> None:
    await joined.leave()

    with pytest.raises(NotFound):
        await joined.lease()


async def test_a_session_leases_from_its_own_group_only(joined: TopicDriver) -> None:
    await joined.join("auditor", "audit")

    with pytest.raises(NotFound):
        await joined.lease("auditor", DEFAULT_GROUP)
    with pytest.raises(NotFound):
        await joined.lease("auditor", "unknown")


async def test_leasing_from_an_unknown_topic_fails(topic: TopicDriver) -> None:
    with pytest.raises(NotFound):
        await topic.lease()


# --- duration ---------------------------------------------------------------------------------------------------------


@pytest.mark.topic_config(lease_us=7 * SECOND)
async def test_the_topics_lease_applies_if_the_request_has_none(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    leased_us = harness.now_us()

    lease = await joined.lease_one()

    assert harness.near(leased_us + 7 * SECOND)(lease.lease_expires_us)
    await harness.advance(7 * SECOND - harness.grain_us)
    assert await joined.lease() == []
    await harness.advance(harness.grain_us)
    assert (await joined.lease_one()).attempt == 2


# --- many events-------------------------------------------------------------------------------------------------------


async def test_ten_thousand_events_are_leased_once_each_and_in_order(joined: TopicDriver) -> None:
    events = new_events(10_000)
    await joined.dispatch(*events)
    assert await joined.queued() == 10_000

    leases = await joined.lease_all()
    assert ids(leases) == [event.id for event in events]
    tokens = [lease.fencing_token for lease in leases]
    assert tokens == sorted(set(tokens))

    assert await joined.ack(*leases) == [None] * 10_000
    assert await joined.queued() == 0
    assert await joined.counts() == {}


async def test_ten_thousand_delayed_events_become_due_at_once(harness: Harness, joined: TopicDriver) -> None:
    events = new_events(10_000, delay_us=MINUTE)
    await joined.dispatch(*events)
    await harness.advance(MINUTE - harness.grain_us)
    assert await joined.lease_all() == []

    await harness.advance(harness.grain_us)

    assert ids(await joined.lease_all()) == [event.id for event in events]


async def test_ten_thousand_leases_run_out_at_once(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("one")
    await topic.join("two")
    events = new_events(10_000)
    await topic.dispatch(*events)
    lost = await topic.lease_all("one")

    await harness.advance(MINUTE)

    regained = await topic.lease_all("two")
    assert sorted(ids(regained)) == sorted(event.id for event in events)
    assert min(lease.fencing_token for lease in regained) > max(lease.fencing_token for lease in lost)
    assert {lease.attempt for lease in regained} == {2}
