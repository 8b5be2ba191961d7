"""An ack leases what is due to a session that has reserved the room, in the step that settles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import DEFAULT_GROUP, LeaseFailureReason, Refill
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.topics import PLENTY, WORKER, ids, ref

if TYPE_CHECKING:
    from duebus_server.domain.model import LeasedEvent
    from support.engines import Harness
    from support.topics import TopicDriver


async def leased(topic: TopicDriver, count: int) -> list[LeasedEvent]:
    """So many leased events, whose bodies have 10 bytes."""
    await topic.dispatch(*[new_event(f"held-{number}", body=b"x" * 10) for number in range(count)])
    found = await topic.lease_all()
    assert len(found) == count
    return found


async def test_due_events_are_leased_as_by_a_lease(joined: TopicDriver, harness: Harness) -> None:
    held = await leased(joined, 1)
    await harness.advance(harness.grain_us)
    before_us = harness.now_us()
    await joined.dispatch(new_event("event", body=b"body"))
    batch = await joined.ack_and_lease(*held)
    if not batch.events:  # it is in another partition
        batch = await joined.lease_batch()
    (event,) = batch.events
    assert (event.event_id, event.body, event.attempt, event.last_error) == ("event", b"body", 1, "")
    assert harness.near(before_us + 30 * SECOND)(event.lease_expires_us)
    assert event.fencing_token >= before_us
    assert await joined.counts() == {EventState.LEASED: 1}
    assert [one.in_flight for one in (await joined.group()).subscribers] == [1]
    assert await joined.ack(event) == [None]


async def test_one_event_takes_the_place_of_each(joined: TopicDriver, harness: Harness) -> None:
    held = await leased(joined, 8)
    await joined.dispatch(*[new_event(f"next-{number}", body=b"x") for number in range(40)])
    batch = await joined.ack_and_lease(*held)
    if harness.partitions == 1:
        assert ids(batch.events) == [f"next-{number}" for number in range(8)]
        assert batch.has_more
    assert len(batch.events) <= 8
    assert (await joined.counts())[EventState.LEASED] == len(batch.events)
    rest = await joined.lease_all()
    assert {*ids(batch.events), *ids(rest)} == {f"next-{number}" for number in range(40)}


async def test_leases_of_other_sessions_make_no_room(joined: TopicDriver) -> None:
    await joined.join("other")
    await joined.dispatch(*[new_event(body=b"x") for _ in range(40)])
    own = await joined.lease(max_events=2)
    others = await joined.lease("other", max_events=3)
    sizes = {lease.fencing_token: 1 for lease in own}
    joined.harness.recorder.batches[WORKER].clear()
    settled = [ref(lease) for lease in [*own, *others]]
    assert await joined.engine.ack(joined.name, DEFAULT_GROUP, settled, Refill(WORKER, sizes, PLENTY)) == [None] * 5
    assert len(joined.harness.recorder.handed_over(WORKER)) <= len(own)
    assert joined.harness.recorder.handed_over("other") == []


async def test_no_more_bytes_are_leased_than_the_window_has_room_for(joined: TopicDriver, harness: Harness) -> None:
    held = await leased(joined, 8)
    await joined.dispatch(*[new_event(f"next-{number}", body=b"x" * 25) for number in range(40)])
    batch = await joined.ack_and_lease(*held, spare_bytes=40)
    assert sum(len(event.body) for event in batch.events) <= 120
    if harness.partitions == 1:
        assert len(batch.events) == 4


async def test_an_event_that_does_not_fit_holds_back_those_after_it(joined: TopicDriver, harness: Harness) -> None:
    held = await leased(joined, 2)
    await joined.dispatch(new_event("large", body=b"x" * 100), new_event("small", body=b"x"))
    batch = await joined.ack_and_lease(*held, spare_bytes=0)
    if harness.partitions == 1:
        assert (batch.events, batch.has_more) == ([], True)
    assert "large" not in ids(batch.events)


async def test_nothing_is_early(joined: TopicDriver, harness: Harness) -> None:
    held = await leased(joined, 1)
    await joined.dispatch(new_event("later", delay_us=SECOND))
    assert not (await joined.ack_and_lease(*held)).events
    await harness.advance(SECOND)
    assert ids(await joined.lease()) == ["later"]


async def test_a_paused_group_leases_nothing(joined: TopicDriver) -> None:
    held = await leased(joined, 2)
    await joined.dispatch("event")
    await joined.pause()
    batch = await joined.ack_and_lease(*held)
    assert (list(batch.events), batch.is_paused) == ([], True)
    await joined.resume()
    assert ids(await joined.lease()) == ["event"]


@pytest.mark.parametrize("with_suspect", [True, False])
async def test_a_suspect_comes_only_where_the_session_takes_one(
    joined: TopicDriver, harness: Harness, *, with_suspect: bool
) -> None:
    await joined.dispatch("suspect")
    await joined.let_run_out()
    await joined.dispatch(new_event("held", body=b"x" * 10))
    (lease,) = (await joined.lease_batch(with_suspect=False)).events
    batch = await joined.ack_and_lease(lease, with_suspect=with_suspect)
    if harness.partitions == 1:
        assert [event.is_suspect for event in batch.events] == [True] * with_suspect
        assert (batch.suspect_due_us is None) == with_suspect
    if not with_suspect:
        assert not batch.events


async def test_if_a_lease_was_not_settled_nothing_is_leased(joined: TopicDriver) -> None:
    (held,) = await leased(joined, 1)
    await joined.dispatch("event")
    assert await joined.ack(held) == [None]
    joined.harness.recorder.batches[WORKER].clear()
    refill = Refill(WORKER, {held.fencing_token: 10}, PLENTY)
    settled = await joined.engine.ack(joined.name, DEFAULT_GROUP, [ref(held)], refill)
    assert settled == [LeaseFailureReason.SETTLED]
    assert joined.harness.recorder.handed_over(WORKER) == []
    assert ids(await joined.lease()) == ["event"]


async def test_a_session_that_has_not_joined_gets_nothing(joined: TopicDriver) -> None:
    held = await leased(joined, 1)
    await joined.dispatch("event")
    refill = Refill("stranger", {held[0].fencing_token: 10}, PLENTY)
    assert await joined.engine.ack(joined.name, DEFAULT_GROUP, [ref(held[0])], refill) == [None]
    assert joined.harness.recorder.handed_over("stranger") == []
    assert ids(await joined.lease()) == ["event"]


async def test_the_leases_that_it_ends_are_reported_before(
    joined: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    (held,) = await leased(joined, 1)
    recorder = joined.harness.recorder
    ended: list[list[int]] = []
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "leased", lambda *_: ended.append(recorder.ended[WORKER].copy()))
        refill = Refill(WORKER, {held.fencing_token: 10}, PLENTY)
        await joined.engine.ack(joined.name, DEFAULT_GROUP, [ref(held)], refill)
    assert ended == [[held.fencing_token]]
