"""A lease is extended, shortened, or runs out; leaving does not end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.model import LeaseFailureReason
from duebus_server.domain.states import EventState
from support.topics import TopicDriver, ids

if TYPE_CHECKING:
    from support.engines import Harness

EXPIRED = LeaseFailureReason.EXPIRED
SETTLED = LeaseFailureReason.SETTLED


# --- extend -----------------------------------------------------------------------------------------------------------


async def test_an_extension_counts_from_now(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    lease = await pair.lease_one("old", lease_us=MINUTE)
    await harness.advance(40 * SECOND)

    assert await pair.extend(lease, lease_us=MINUTE) == [None]

    assert harness.near(start_us + 100 * SECOND)((await pair.group_info("event")).lease_expires_us)
    await pair.assert_held_until(start_us + 100 * SECOND)


@pytest.mark.topic_config(lease_us=11 * SECOND)
async def test_extending_without_a_duration_uses_the_topics_lease(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    lease = await pair.lease_one("old", lease_us=HOUR)

    await pair.extend(lease)

    await pair.assert_held_until(start_us + 11 * SECOND)


async def test_a_lease_can_be_extended_repeatedly(harness: Harness, pair: TopicDriver) -> None:
    lease = await pair.lease_one("old", lease_us=2 * SECOND)

    for _ in range(30):
        await harness.advance(SECOND)
        assert await pair.extend(lease, lease_us=2 * SECOND) == [None]

    assert await pair.lease("new") == []
    assert (await pair.group_info("event")).attempts == 1


async def test_extending_does_not_count_as_an_attempt_or_change_the_token(pair: TopicDriver) -> None:
    lease = await pair.lease_one("old")

    await pair.extend(lease, lease_us=MINUTE)

    assert (await pair.group_info("event")).attempts == 1
    assert await pair.ack(lease) == [None]


# --- shorten ----------------------------------------------------------------------------------------------------------


async def test_shortened_leases_run_out_after_the_grace(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    await pair.lease_one("old", lease_us=HOUR)

    await pair.shorten(SECOND, "old")

    await pair.assert_held_until(start_us + SECOND)
    assert (await pair.lease_one("new")).attempt == 2


async def test_shortening_never_lengthens_a_lease(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    await pair.lease_one("old", lease_us=SECOND)

    await pair.shorten(MINUTE, "old")

    await pair.assert_held_until(start_us + SECOND)


async def test_a_zero_grace_ends_the_leases_at_once(pair: TopicDriver) -> None:
    lease = await pair.lease_one("old", lease_us=HOUR)

    await pair.shorten(0, "old")

    assert await pair.ack(lease) == [EXPIRED]
    assert (await pair.lease_one("new")).event_id == "event"


async def test_a_session_can_settle_within_the_grace(harness: Harness, pair: TopicDriver) -> None:
    lease = await pair.lease_one("old", lease_us=HOUR)
    await pair.shorten(2 * SECOND, "old")
    await pair.leave("old")

    await harness.advance(SECOND)

    assert await pair.ack(lease) == [None]


async def test_shortening_does_not_affect_other_sessions(pair: TopicDriver) -> None:
    await pair.dispatch("other")
    await pair.lease("old", max_events=1, lease_us=HOUR)
    held = await pair.lease_one("new", lease_us=HOUR)

    await pair.shorten(0, "old")

    assert await pair.counts() == {EventState.READY: 1, EventState.LEASED: 1}
    assert await pair.ack(held) == [None]


async def test_shortening_does_not_affect_other_groups(pair: TopicDriver) -> None:
    await pair.join("old", "audit")
    await pair.dispatch("other")
    await pair.lease("old", "audit", lease_us=HOUR)

    await pair.shorten(0, "old")

    assert await pair.counts("audit") == {EventState.LEASED: 1}


async def test_shortening_many_leases_skips_settled_ones(harness: Harness, pair: TopicDriver) -> None:
    await pair.dispatch("acked", "released", "kept")
    _, acked, released, _ = await pair.lease("old", lease_us=HOUR)
    await pair.ack(acked)
    await pair.release(released)

    await pair.shorten(SECOND, "old")

    assert await pair.counts() == {EventState.LEASED: 2, EventState.READY: 1}
    await harness.advance(SECOND)
    assert await pair.counts() == {EventState.READY: 3}


async def test_an_extended_lease_can_be_shortened(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    await pair.extend(await pair.lease_one("old"), lease_us=HOUR)

    await pair.shorten(SECOND, "old")

    await pair.assert_held_until(start_us + SECOND)


async def test_the_leases_of_a_session_that_has_left_can_be_shortened(harness: Harness, pair: TopicDriver) -> None:
    """Leaving does not release leases, so they can still be shortened."""
    start_us = harness.now_us()
    await pair.lease_one("old", lease_us=HOUR)

    await pair.leave("old")
    await pair.shorten(SECOND, "old")

    await pair.assert_held_until(start_us + SECOND)


async def test_shortening_without_leases_is_harmless(pair: TopicDriver) -> None:
    await pair.shorten(0, "old")
    await pair.shorten(0, "stranger")
    await pair.shorten(0, "old", "unknown")
    await TopicDriver(pair.harness).shorten(0)

    assert await pair.counts() == {EventState.READY: 1}


# --- leave ------------------------------------------------------------------------------------------------------------


async def test_leaving_does_not_release_leases(harness: Harness, pair: TopicDriver) -> None:
    start_us = harness.now_us()
    lease = await pair.lease_one("old", lease_us=MINUTE)

    await pair.leave("old")

    assert await pair.lease("new") == []
    assert await pair.extend(lease, lease_us=2 * MINUTE) == [None]
    await pair.assert_held_until(start_us + 2 * MINUTE)


async def test_leaving_twice_or_without_having_joined_is_harmless(pair: TopicDriver) -> None:
    await pair.leave("old")
    await pair.leave("old")
    await pair.leave("stranger")
    await pair.leave("old", "unknown")
    await TopicDriver(pair.harness).leave()

    assert [info.session_id for info in (await pair.group()).subscribers] == ["new"]


async def test_joining_twice_keeps_the_leases(harness: Harness, pair: TopicDriver) -> None:
    """A session joins again if its server does not know whether the first attempt arrived."""
    start_us = harness.now_us()
    lease = await pair.lease_one("old", lease_us=HOUR)

    await pair.join("old")

    assert {info.session_id: info.in_flight for info in (await pair.group()).subscribers} == {"old": 1, "new": 0}
    await pair.shorten(MINUTE, "old")
    assert harness.near(start_us + MINUTE)((await pair.group_info("event")).lease_expires_us)
    assert await pair.ack(lease) == [None]


# --- expire -----------------------------------------------------------------------------------------------------------


async def test_a_sweep_ends_leases_in_every_topic_and_group(harness: Harness, topic: TopicDriver) -> None:
    other = TopicDriver(harness)
    for one in (topic, other):
        for group in ("left", "right"):
            await one.join(f"{one.name} {group}", group)
        await one.dispatch("event")
    leases = {
        (one, group): await one.lease_one(f"{one.name} {group}", group, lease_us=SECOND)
        for one in (topic, other)
        for group in ("left", "right")
    }
    await harness.advance(SECOND)

    await harness.engine.expire_leases()

    for (one, group), lease in leases.items():
        await harness.recorder.until_ended(f"{one.name} {group}", lease.fencing_token)
    for one in (topic, other):
        assert await one.counts("left") == await one.counts("right") == {EventState.READY: 1}


async def test_a_sweep_does_not_end_valid_leases(harness: Harness, pair: TopicDriver) -> None:
    lease = await pair.lease_one("old", lease_us=SECOND)
    await harness.advance(SECOND - harness.grain_us)

    await harness.engine.expire_leases()

    assert await pair.ack(lease) == [None]


async def test_a_sweep_of_an_empty_engine_is_harmless(harness: Harness) -> None:
    await harness.engine.expire_leases()


async def test_leasing_ends_expired_leases_too(harness: Harness, pair: TopicDriver) -> None:
    """The event of a vanished subscriber goes to the next session that leases, without a sweep."""
    await pair.lease_one("old", lease_us=SECOND)

    await harness.advance(SECOND)

    assert ids(await pair.lease("new")) == ["event"]


# --- how long the oldest has lasted -----------------------------------------------------------------------------------


async def oldest_lease_is(age_us: int, topic: TopicDriver) -> bool:
    """Whether the group's oldest lease has this age."""
    found, grain_us = (await topic.group()).oldest_lease_age_us, topic.harness.grain_us
    return found is not None and age_us - grain_us <= found <= age_us + grain_us


async def test_the_age_of_the_oldest_lease_grows_although_it_is_extended(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("slow")
    assert (await joined.group()).oldest_lease_age_us is None
    slow = await joined.lease_one(lease_us=MINUTE)
    await harness.advance(30 * SECOND)
    await joined.extend(slow, lease_us=HOUR)
    await joined.dispatch("quick")
    quick = await joined.lease_one(lease_us=MINUTE)
    await harness.advance(10 * SECOND)

    assert await oldest_lease_is(40 * SECOND, joined)

    await joined.ack(slow)
    assert await oldest_lease_is(10 * SECOND, joined)
    await joined.ack(quick)
    assert (await joined.group()).oldest_lease_age_us is None


async def test_a_lease_that_moves_to_another_session_keeps_its_age(harness: Harness, joined: TopicDriver) -> None:
    await joined.join("next")
    leases = []
    for name in ("first", "second"):
        await joined.dispatch(name)
        leases.append(await joined.lease_one(lease_us=HOUR))
        await harness.advance(10 * SECOND)

    await joined.adopt("next", *reversed(leases), lease_us=HOUR)

    assert await oldest_lease_is(20 * SECOND, joined)
