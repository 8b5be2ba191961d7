"""A worker that reconnects names the leases it still holds, and keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import ANY

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import NotFound
from duebus_server.domain.model import AdoptedLease, LeaseFailureReason, LeaseRef
from duebus_server.domain.states import EventState
from support.topics import ref

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver

EXPIRED = LeaseFailureReason.EXPIRED
SETTLED = LeaseFailureReason.SETTLED


async def test_a_lease_moves_to_another_session_and_is_renewed(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    lease = await pair.lease_one("old", lease_us=MINUTE)
    await harness.advance(30 * SECOND)

    adopted = await pair.adopt("new", lease, lease_us=MINUTE)

    assert adopted == [AdoptedLease(lease.fencing_token, len(b"twelve bytes"))]
    where = await pair.group_info("event")
    assert where.consumer == "new worker"
    assert where.attempts == 1
    assert harness.near(start_us + 90 * SECOND)(where.lease_expires_us)
    assert {info.session_id: info.in_flight for info in (await pair.group()).subscribers} == {"old": 0, "new": 1}


@pytest.mark.topic_config(lease_us=9 * SECOND)
async def test_adopting_without_a_duration_uses_the_topics_lease(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    lease = await pair.lease_one("old", lease_us=HOUR)

    await pair.adopt("new", lease)

    await pair.assert_held_until(start_us + 9 * SECOND)


async def test_an_adopted_lease_can_be_settled(pair: TopicDriver) -> None:
    lease = await pair.lease_one("old")

    await pair.adopt("new", lease)

    assert await pair.ack(lease) == [None]


async def test_the_session_that_lost_a_lease_does_not_shorten_it(harness: Harness, pair: TopicDriver) -> None:
    """A worker reconnects before its broken stream is noticed: the end of the old stream does not affect its leases."""
    start_us = harness.now_us()
    lease = await pair.lease_one("old", lease_us=HOUR)
    await pair.adopt("new", lease, lease_us=HOUR)

    await pair.shorten(0, "old")
    await pair.leave("old")

    await pair.assert_held_until(start_us + HOUR)


async def test_the_session_that_adopted_a_lease_shortens_it(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    lease = await pair.lease_one("old", lease_us=HOUR)
    await pair.adopt("new", lease, lease_us=HOUR)

    await pair.shorten(SECOND, "new")

    await pair.assert_held_until(start_us + SECOND)


async def test_a_worker_that_reconnects_within_the_grace_keeps_its_leases(harness: Harness, pair: TopicDriver) -> None:
    lease = await pair.lease_one("old", lease_us=HOUR)
    await pair.shorten(SECOND, "old")
    await pair.leave("old")
    await harness.advance(SECOND - harness.grain_us)

    assert await pair.adopt("new", lease, lease_us=HOUR) == [AdoptedLease(lease.fencing_token, 12)]

    await harness.advance(MINUTE)
    assert await pair.counts() == {EventState.LEASED: 1}


async def test_a_worker_that_reconnects_too_late_has_lost_them(harness: Harness, pair: TopicDriver) -> None:
    await pair.dispatch("done")
    lease, done = await pair.lease("old", lease_us=SECOND)
    await pair.ack(done)
    await harness.advance(SECOND)

    assert await pair.adopt("new", lease, done, LeaseRef("never", 1)) == [EXPIRED, SETTLED, SETTLED]

    assert await pair.counts() == {EventState.READY: 1}


async def test_a_lease_that_another_session_got_is_not_adopted(harness: Harness, pair: TopicDriver) -> None:
    await pair.join("third")
    stale = await pair.lease_one("old", lease_us=SECOND)
    await harness.advance(SECOND)
    held = await pair.lease_one("third", lease_us=HOUR)

    assert await pair.adopt("new", stale) == [EXPIRED]

    assert await pair.ack(held) == [None]


async def test_the_same_lease_twice_in_one_call_is_adopted_once(pair: TopicDriver) -> None:
    lease = await pair.lease_one("old")

    results = await pair.adopt("new", lease, lease)

    assert results == [AdoptedLease(lease.fencing_token, 12)] * 2
    assert {info.session_id: info.in_flight for info in (await pair.group()).subscribers} == {"old": 0, "new": 1}
    await pair.harness.recorder.until_ended("old", lease.fencing_token)
    assert pair.harness.recorder.ended["new"] == []


@pytest.mark.within_a_partition("a token names its partition")
@pytest.mark.parametrize("is_held", [True, False])
async def test_the_token_of_one_event_named_with_another_ends_no_lease(pair: TopicDriver, *, is_held: bool) -> None:
    await pair.dispatch("other")
    one, two = [ref(event) for event in await pair.lease("new" if is_held else "old")]
    made_up = LeaseRef(two.event_id, one.fencing_token)

    assert await pair.adopt("new", made_up, one, made_up, two) == [EXPIRED, ANY, EXPIRED, ANY]
    assert await pair.adopt("new", made_up) == [EXPIRED]

    await pair.delete_group()
    await pair.harness.recorder.until_ended("new", one.fencing_token, two.fencing_token)


async def test_a_lease_can_be_adopted_repeatedly(harness: Harness, pair: TopicDriver) -> None:
    lease = await pair.lease_one("old", lease_us=MINUTE)

    for session in ("new", "old", "new"):
        await pair.adopt(session, lease, lease_us=MINUTE)

    await pair.shorten(0, "old")
    assert await pair.counts() == {EventState.LEASED: 1}
    await pair.shorten(0, "new")
    assert await pair.counts() == {EventState.READY: 1}


async def test_the_next_token_is_greater_than_that_of_an_adopted_lease(pair: TopicDriver) -> None:
    lease = await pair.lease_one("old")
    await pair.adopt("new", lease)
    await pair.release(lease)

    assert (await pair.lease_one("old")).fencing_token > lease.fencing_token


async def test_only_a_session_that_has_joined_can_adopt(pair: TopicDriver) -> None:
    lease = await pair.lease_one("old", lease_us=HOUR)

    with pytest.raises(NotFound):
        await pair.adopt("stranger", lease)
    with pytest.raises(NotFound):
        await pair.adopt("new", lease, group="unknown")

    assert await pair.ack(lease) == [None]


async def test_a_session_that_has_left_can_not_adopt(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    lease = await pair.lease_one("old", lease_us=MINUTE)
    await pair.leave("new")

    with pytest.raises(NotFound):
        await pair.adopt("new", lease, lease_us=HOUR)

    await pair.assert_held_until(start_us + MINUTE)
