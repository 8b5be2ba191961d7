"""A dispatch leases what is due to a session that has reserved room, in the step that stores it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.errors import MaxQueuedEventsReached, NoHandlerFound
from duebus_server.domain.model import (
    DEFAULT_GROUP,
    DispatchAnswer,
    DispatchRequest,
    LeaseFailureReason,
    LeaseRequest,
    Reservation,
)
from duebus_server.domain.states import EventState
from duebus_server.domain.views import AttemptOutcome
from support.builders import new_event, new_events
from support.topics import PLENTY, WORKER, ids, ref

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver

ALL = LeaseRequest(1_000, PLENTY)


def room(max_events: int = 1_000, max_bytes: int = PLENTY, **more: bool) -> LeaseRequest:
    """What a session can take."""
    return LeaseRequest(max_events, max_bytes, **more)


# --- what is handed over ----------------------------------------------------------------------------------------------


async def test_due_events_are_leased_as_by_a_lease(joined: TopicDriver, harness: Harness) -> None:
    before_us = harness.now_us()
    batch = await joined.hand_over(new_event("event", body=b"body"))
    (event,) = batch.events
    assert (event.event_id, event.body, event.attempt, event.last_error) == ("event", b"body", 1, "")
    assert harness.near(before_us)(event.deliver_at_us)
    assert event.dispatched_us == event.deliver_at_us
    assert harness.near(before_us + 30 * SECOND)(event.lease_expires_us)
    assert event.fencing_token >= before_us
    assert not event.is_suspect
    assert await joined.counts() == {EventState.LEASED: 1}
    assert await joined.lease() == []
    group = await joined.group()
    assert [one.in_flight for one in group.subscribers] == [1]
    assert await joined.ack(event) == [None]
    assert await joined.state("event") is None


async def test_the_order_is_that_of_the_requests(topic: TopicDriver) -> None:
    await topic.join()
    requests = [DispatchRequest(new_events(3)) for _ in range(4)]
    await topic.engine.dispatch(topic.name, requests, [Reservation(DEFAULT_GROUP, WORKER, ALL)])
    delivered = ids(topic.harness.recorder.handed_over(WORKER))
    for request in requests:  # those of a request are in one partition
        positions = [delivered.index(event.id) for event in request.events]
        assert positions == sorted(positions)
    if topic.harness.partitions == 1:
        assert delivered == [event.id for request in requests for event in request.events]


async def test_tokens_are_unique_and_grow(joined: TopicDriver) -> None:
    first = (await joined.hand_over("a", "b", "c", "d", "e")).events
    await joined.release(*first)
    second = await joined.lease_each("a", "b", "c", "d", "e")
    last = {event.event_id: event.fencing_token for event in first}
    assert len({*last.values(), *(event.fencing_token for event in second)}) == 10
    assert all(event.fencing_token > last[event.event_id] for event in second)
    third = (await joined.hand_over("f")).events[0]
    assert third.fencing_token not in last.values()


async def test_an_event_that_was_handed_over_is_in_a_history_like_any_other(joined: TopicDriver) -> None:
    (event,) = (await joined.hand_over("event")).events
    await joined.nack(event, error="failed", delay_us=0)
    (again,) = await joined.lease()
    assert (again.attempt, again.last_error) == (2, "failed")
    first, second = (await joined.group_info("event")).history
    assert (first.error, first.outcome) == ("failed", AttemptOutcome.NACKED)
    assert second.ended_us is None


async def test_the_lease_is_the_topics_or_the_sessions_own(joined: TopicDriver, harness: Harness) -> None:
    await joined.configure(lease_us=MINUTE)
    (by_default,) = (await joined.hand_over("a")).events
    assert harness.near(harness.now_us() - harness.grain_us + 1 + MINUTE)(by_default.lease_expires_us) or (
        by_default.lease_expires_us - by_default.dispatched_us == MINUTE
    )
    (own,) = (await joined.hand_over("b", room=LeaseRequest(1, PLENTY, lease_us=SECOND))).events
    assert own.lease_expires_us - own.dispatched_us == SECOND
    await harness.advance(SECOND)
    assert ids(await joined.lease()) == ["b"]


async def test_an_event_for_later_waits(joined: TopicDriver, harness: Harness) -> None:
    later = new_event("later", delay_us=SECOND)
    batch = await joined.hand_over("now", later, new_event("at", deliver_at_us=harness.now_us() + MINUTE))
    assert ids(batch.events) == ["now"]
    assert await joined.counts() == {EventState.LEASED: 1, EventState.SCHEDULED: 2}
    if harness.partitions == 1:
        assert harness.near(harness.now_us() + SECOND)(batch.next_due_us)
    await harness.advance(SECOND)
    assert ids(await joined.lease()) == ["later"]


async def test_a_time_that_has_passed_is_due(joined: TopicDriver, harness: Harness) -> None:
    batch = await joined.hand_over(new_event("past", deliver_at_us=harness.now_us() - MINUTE))
    assert ids(batch.events) == ["past"]
    assert batch.events[0].deliver_at_us == batch.events[0].dispatched_us


async def test_when_all_are_handed_over_the_next_is_due_when_their_leases_run_out(
    joined: TopicDriver, harness: Harness
) -> None:
    await joined.lease()
    batch = await joined.hand_over("event")
    assert not batch.has_more
    assert batch.next_due_us == batch.events[0].lease_expires_us
    await harness.advance(30 * SECOND)
    assert ids(await joined.lease()) == ["event"]


# --- room -------------------------------------------------------------------------------------------------------------


@pytest.mark.within_a_partition("the order of delivery")
@pytest.mark.parametrize(
    ("has", "fits"),
    [
        (room(2), ["a", "b"]),
        (room(0), []),
        (room(max_bytes=20), ["a", "b"]),
        (room(max_bytes=19), ["a"]),
        (room(max_bytes=5), ["a"]),
        (room(max_bytes=5, at_least_one=False), []),
    ],
)
async def test_events_that_do_not_fit_wait_in_order(joined: TopicDriver, has: LeaseRequest, fits: list[str]) -> None:
    names = ["a", "b", "c"]
    batch = await joined.hand_over(*[new_event(name, body=b"x" * 10) for name in names], room=has)
    assert ids(batch.events) == fits
    assert batch.has_more
    assert batch.next_due_us is not None
    assert batch.next_due_us <= joined.harness.now_us()
    assert ids(await joined.lease()) == names[len(fits) :]


@pytest.mark.within_a_partition("the order of delivery")
async def test_nothing_overtakes_an_event_that_does_not_fit(joined: TopicDriver) -> None:
    sizes = {"a": 5, "large": 50, "small": 1}
    events = [new_event(name, body=b"x" * size) for name, size in sizes.items()]
    requests = [DispatchRequest([event]) for event in events]
    await joined.engine.dispatch(joined.name, requests, [Reservation(DEFAULT_GROUP, WORKER, room(max_bytes=10))])
    assert ids(joined.harness.recorder.handed_over(WORKER)) == ["a"]
    assert ids(await joined.lease()) == ["large", "small"]


@pytest.mark.parametrize("max_events", [1, 7, 40])
async def test_no_more_than_fit_are_handed_over_by_all_partitions_together(
    joined: TopicDriver, max_events: int
) -> None:
    batch = await joined.hand_over(*[f"event {number}" for number in range(20)], room=room(max_events))
    assert len(batch.events) == min(max_events, 20)
    assert (await joined.counts())[EventState.LEASED] == len(batch.events)


@pytest.mark.parametrize("max_bytes", [0, 35, 1_000])
async def test_no_more_bytes_than_fit_are_handed_over_by_all_partitions_together(
    joined: TopicDriver, max_bytes: int
) -> None:
    events = [new_event(f"event {number}", body=b"x" * 10) for number in range(20)]
    batch = await joined.hand_over(*events, room=room(max_bytes=max_bytes))
    assert len(batch.events) == {0: 1, 35: 3, 1_000: 20}[max_bytes]


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.within_a_partition("the order of delivery")
async def test_an_older_event_goes_first(joined: TopicDriver) -> None:
    await joined.dispatch("old")
    batch = await joined.hand_over("new")
    assert batch.events == []
    assert batch.next_due_us is not None
    assert batch.next_due_us <= joined.harness.now_us()
    assert ids(await joined.lease()) == ["old", "new"]


@pytest.mark.within_a_partition("the order of delivery")
async def test_a_scheduled_event_that_is_due_goes_first(joined: TopicDriver, harness: Harness) -> None:
    await joined.dispatch(new_event("scheduled", delay_us=SECOND))
    await harness.advance(SECOND)
    assert (await joined.hand_over("new")).events == []
    assert ids(await joined.lease()) == ["scheduled", "new"]


@pytest.mark.within_a_partition("the order of delivery")
async def test_an_event_whose_lease_has_run_out_goes_first(joined: TopicDriver, harness: Harness) -> None:
    await joined.dispatch("first")
    await joined.lease(lease_us=SECOND)
    await harness.advance(SECOND)
    assert (await joined.hand_over("new")).events == []
    assert ids(await joined.lease()) == ["first", "new"]


async def test_an_event_that_is_due_later_does_not_delay_a_hand_over(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("later", delay_us=MINUTE))
    await joined.dispatch("held")
    await joined.lease()
    assert ids((await joined.hand_over("new")).events) == ["new"]


async def test_a_paused_group_hands_over_nothing(joined: TopicDriver) -> None:
    await joined.pause()
    batch = await joined.hand_over("event")
    assert (batch.events, batch.is_paused, batch.next_due_us) == ([], True, None)
    await joined.resume()
    assert ids(await joined.lease()) == ["event"]


@pytest.mark.within_a_partition("the order of delivery")
async def test_a_suspect_goes_first_unless_the_session_has_one(joined: TopicDriver, harness: Harness) -> None:
    await joined.dispatch("suspect")
    await joined.let_run_out()
    await harness.engine.expire_leases()
    with_one = await joined.hand_over("a", room=room(with_suspect=False))
    assert ids(with_one.events) == ["a"]
    assert with_one.suspect_due_us is not None
    assert with_one.suspect_due_us <= harness.now_us()
    assert (await joined.hand_over("b")).events == []
    assert ids(await joined.lease()) == ["suspect", "b"]


async def test_a_lease_of_a_stalled_session_uses_up_no_retry(joined: TopicDriver, harness: Harness) -> None:
    event = new_event("event", max_retries=0)
    await joined.hand_over(event, room=LeaseRequest(1, PLENTY, lease_us=SECOND, stalled=True))
    for _ in range(5):
        await harness.advance(SECOND)
        assert (await joined.lease_batch(lease_us=SECOND, stalled=True)).events
    assert await joined.state("event") is EventState.LEASED


# --- groups and sessions ----------------------------------------------------------------------------------------------


async def test_each_group_hands_over_as_many_as_its_session_has_room_for(topic: TopicDriver) -> None:
    for group in ("one", "two", "three", "ephemeral"):
        await topic.join(f"of {group}", group, ephemeral_us=SECOND if group == "ephemeral" else None)
    reservations = [
        Reservation("one", "of one", ALL),
        Reservation("two", "of two", room(0)),
        Reservation("ephemeral", "of ephemeral", ALL),
    ]
    await topic.engine.dispatch(topic.name, [DispatchRequest([new_event("event")])], reservations)
    recorder = topic.harness.recorder
    assert ids(recorder.handed_over("of one")) == ids(recorder.handed_over("of ephemeral")) == ["event"]
    assert recorder.handed_over("of two") == []
    assert {one: await topic.counts(one) for one in ("one", "two", "three", "ephemeral")} == {
        "one": {EventState.LEASED: 1},
        "two": {EventState.READY: 1},
        "three": {EventState.READY: 1},
        "ephemeral": {EventState.LEASED: 1},
    }
    assert await topic.queued() == 1
    for group in ("one", "ephemeral"):
        assert await topic.ack(recorder.handed_over(f"of {group}")[0], group=group) == [None]
    assert ids(await topic.lease("of two", "two")) == ids(await topic.lease("of three", "three")) == ["event"]


async def test_only_groups_without_a_hand_over_are_told_that_something_is_due(
    topic: TopicDriver, harness: Harness
) -> None:
    for group in ("one", "other"):
        await topic.join(f"of {group}", group)
        await topic.lease(f"of {group}", group)
    harness.recorder.forget()
    await topic.hand_over("event", session="of one", group="one")
    await harness.recorder.until_due(topic.name, "other", lambda at_us: at_us <= harness.now_us())
    assert not [due for due in harness.recorder.dues if due.group == "one"]


async def test_the_reservation_of_a_session_that_has_not_joined_is_ignored(
    joined: TopicDriver, harness: Harness
) -> None:
    await joined.leave()
    for reservation in (Reservation(DEFAULT_GROUP, WORKER, ALL), Reservation("no such group", WORKER, ALL)):
        await joined.engine.dispatch(joined.name, [DispatchRequest(new_events(2))], [reservation])
    assert harness.recorder.batches[WORKER] == []
    assert await joined.counts() == {EventState.READY: 4}


async def test_a_topic_without_groups_keeps_its_events(topic: TopicDriver, harness: Harness) -> None:
    await topic.engine.dispatch(
        topic.name, [DispatchRequest([new_event("event")])], [Reservation(DEFAULT_GROUP, WORKER, ALL)]
    )
    assert harness.recorder.batches[WORKER] == []
    await topic.join()
    assert ids(await topic.lease()) == ["event"]


async def test_leases_of_a_hand_over_end_like_any_other(pair: TopicDriver, harness: Harness) -> None:
    await pair.ack(*await pair.lease("old"))
    (first, second, third) = (await pair.hand_over("a", "b", "c", session="old")).events
    assert [not isinstance(one, LeaseFailureReason) for one in await pair.adopt("new", first)] == [True]
    await harness.recorder.until_ended("old", first.fencing_token)
    assert await pair.release(second) == [None]
    await harness.recorder.until_ended("old", second.fencing_token)
    await pair.shorten(SECOND, "old")
    await harness.advance(SECOND)
    assert sorted(ids(await pair.lease("new"))) == ["b", "c"]
    await harness.recorder.until(
        lambda: third.fencing_token in harness.recorder.ran_out["old"], "that its lease ran out"
    )


# --- what a dispatch promises -----------------------------------------------------------------------------------------


async def test_duplicates_are_not_handed_over_again(joined: TopicDriver) -> None:
    await joined.hand_over("held")
    batch = await joined.hand_over("new", "held", "new")
    assert ids(batch.events) == ["new"]
    assert await joined.counts() == {EventState.LEASED: 2}


async def test_a_repeated_request_hands_over_nothing(joined: TopicDriver) -> None:
    request = DispatchRequest([new_event("event")], "request")
    reservation = Reservation(DEFAULT_GROUP, WORKER, ALL)
    answers = [
        await joined.engine.dispatch(joined.name, [request, request], [reservation]),
        await joined.engine.dispatch(joined.name, [request], [reservation]),
    ]
    assert all(isinstance(one, DispatchAnswer) and one.event_ids == ["event"] for given in answers for one in given)
    assert ids(joined.harness.recorder.handed_over(WORKER)) == ["event"]


@pytest.mark.topic_config(max_queued=2)
@pytest.mark.within_a_partition("max_queued")
async def test_what_is_handed_over_counts_for_max_queued(joined: TopicDriver) -> None:
    batch = await joined.hand_over("a", "b")
    refused = await joined.try_dispatch("c")
    assert isinstance(refused, MaxQueuedEventsReached)
    requests = [DispatchRequest([new_event(name)]) for name in ("d", "e")]
    await joined.ack(batch.events[0])
    joined.harness.recorder.forget()
    stored, full = await joined.engine.dispatch(joined.name, requests, [Reservation(DEFAULT_GROUP, WORKER, ALL)])
    assert isinstance(stored, DispatchAnswer)
    assert isinstance(full, MaxQueuedEventsReached)
    assert ids(joined.harness.recorder.handed_over(WORKER)) == ["d"]


async def test_a_request_that_is_refused_hands_over_nothing(topic: TopicDriver) -> None:
    await topic.join()
    await topic.leave()
    request = DispatchRequest([new_event("event")], require_subscriber=True)
    (answer,) = await topic.engine.dispatch(topic.name, [request], [Reservation(DEFAULT_GROUP, WORKER, ALL)])
    assert isinstance(answer, NoHandlerFound)
    assert topic.harness.recorder.handed_over(WORKER) == []


async def test_figures_count_what_was_handed_over(joined: TopicDriver) -> None:
    await joined.hand_over("a", "b", "c")
    rates = (await joined.group()).rates
    assert rates.dispatched == rates.delivered > 0


async def test_a_settle_of_what_was_handed_over_is_refused_once_it_is_gone(joined: TopicDriver) -> None:
    (event,) = (await joined.hand_over("event")).events
    assert await joined.ack(ref(event)) == [None]
    assert await joined.ack(ref(event)) == [LeaseFailureReason.SETTLED]
