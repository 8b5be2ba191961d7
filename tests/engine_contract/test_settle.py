"""Ack, nack, release: only the holder settles; for others it fails and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.model import LeaseFailureReason, LeaseRef, NackAction, NackRef
from duebus_server.domain.states import EventState
from support.builders import new_event, new_events
from support.topics import TopicDriver, ids, ref

if TYPE_CHECKING:
    from duebus_server.domain.model import LeasedEvent
    from support.engines import Harness
    from support.topics import Failures

EXPIRED = LeaseFailureReason.EXPIRED
SETTLED = LeaseFailureReason.SETTLED

VERBS = ["ack", "nack", "release", "dead_letter", "extend"]


async def settle(topic: TopicDriver, verb: str, *leases: LeasedEvent | LeaseRef) -> Failures:
    failures: Failures = await getattr(topic, verb)(*leases)
    return failures


# --- effects on the event ---------------------------------------------------------------------------------------------


async def test_an_acked_event_is_gone(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one()

    assert await joined.ack(lease) == [None]

    await harness.advance(MINUTE)
    assert await joined.state("event") is None
    assert await joined.lease() == []
    assert await joined.queued() == 0


async def test_a_released_event_is_ready_at_once_and_the_attempt_is_not_counted(joined: TopicDriver) -> None:
    await joined.dispatch("event")
    first = await joined.lease_one()

    assert await joined.release(first) == [None]

    assert (await joined.group_info("event")).attempts == 0
    again = await joined.lease_one()
    assert again.attempt == first.attempt == 1
    assert again.deliver_at_us == first.deliver_at_us
    assert again.last_error == ""


async def test_endless_releases_do_not_use_up_the_retries(joined: TopicDriver) -> None:
    await joined.dispatch(new_event("event", max_retries=0))

    for _ in range(5):
        await joined.release(await joined.lease_one())

    assert await joined.state("event") is EventState.READY


async def test_a_release_keeps_the_last_error(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.nack(await joined.lease_one(), delay_us=0, error="boom")
    second = await joined.lease_one()

    await joined.release(second)

    third = await joined.lease_one()
    assert third.attempt == second.attempt == 2
    assert third.last_error == "boom"


async def test_a_dead_letter_stays_and_is_not_delivered(harness: Harness, joined: TopicDriver) -> None:
    died_us = harness.now_us()
    await joined.dispatch("event")

    assert await joined.dead_letter(await joined.lease_one(), error="hopeless") == [None]

    await harness.advance(24 * 60 * MINUTE)
    await harness.engine.expire_leases()
    assert await joined.lease() == []
    where = await joined.group_info("event")
    assert where.state is EventState.DEAD
    assert where.last_error == "hopeless"
    assert where.attempts == 1
    assert harness.near(died_us)(where.dead_us)
    assert await joined.queued() == 0


@pytest.mark.topic_config(dead_letter_retention_us=MINUTE)
async def test_a_dead_letter_is_purged_when_its_retention_has_passed(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.dead_letter(await joined.lease_one())

    await harness.advance(MINUTE - harness.grain_us)
    await harness.engine.expire_leases()
    assert await joined.state("event") is EventState.DEAD

    await harness.advance(harness.grain_us)
    await harness.engine.expire_leases()
    assert await joined.state("event") is None


# --- leases that are not held -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
async def test_an_expired_lease_settles_nothing(harness: Harness, joined: TopicDriver, verb: str) -> None:
    """With or without a sweep."""
    await joined.dispatch("event")
    lease = await joined.lease_one(lease_us=SECOND)

    await harness.advance(SECOND)

    assert await settle(joined, verb, lease) == [EXPIRED]
    assert await joined.state("event") is EventState.READY
    assert (await joined.lease_one()).attempt == 2


@pytest.mark.parametrize("verb", VERBS)
async def test_a_lease_settles_until_it_runs_out(harness: Harness, joined: TopicDriver, verb: str) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one(lease_us=SECOND + harness.grain_us)

    await harness.advance(SECOND)

    assert await settle(joined, verb, lease) == [None]


@pytest.mark.parametrize("verb", VERBS)
async def test_an_earlier_lease_settles_nothing(harness: Harness, topic: TopicDriver, verb: str) -> None:
    await topic.join("one")
    await topic.join("two")
    await topic.dispatch("event")
    stale = await topic.lease_one("one", lease_us=SECOND)
    await harness.advance(SECOND)
    held = await topic.lease_one("two", lease_us=MINUTE)

    assert await settle(topic, verb, stale) == [EXPIRED]

    where = await topic.group_info("event")
    assert where.state is EventState.LEASED
    assert where.lease_expires_us == held.lease_expires_us
    assert where.last_error == held.last_error
    assert await topic.ack(held) == [None]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("wrong_by", [-1, 1, 1_000])
async def test_a_made_up_lease_settles_nothing(joined: TopicDriver, verb: str, wrong_by: int) -> None:
    await joined.dispatch("event")
    held = await joined.lease_one()

    wrong = held.fencing_token + wrong_by * joined.harness.partitions  # a token contains its partition
    assert await settle(joined, verb, LeaseRef("event", wrong)) == [EXPIRED]

    assert await joined.ack(held) == [None]


@pytest.mark.within_a_partition("a token contains its partition")
@pytest.mark.parametrize("verb", VERBS)
async def test_a_lease_of_an_event_that_is_not_leased_settles_nothing(joined: TopicDriver, verb: str) -> None:
    await joined.dispatch("ready", new_event("scheduled", delay_us=MINUTE))
    token = 2 * joined.harness.partitions - 1

    assert await settle(joined, verb, LeaseRef("ready", token), LeaseRef("scheduled", token)) == [EXPIRED, EXPIRED]

    assert await joined.counts() == {EventState.READY: 1, EventState.SCHEDULED: 1}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("end", ["ack", "dead_letter"])
async def test_the_lease_of_a_done_or_dead_event_is_reported_as_settled(
    joined: TopicDriver, verb: str, end: str
) -> None:
    await joined.dispatch("event")
    lease = await joined.lease_one()
    await settle(joined, end, lease)
    before = await joined.state("event")

    assert await settle(joined, verb, lease) == [SETTLED]

    assert await joined.state("event") is before


@pytest.mark.parametrize("verb", VERBS)
async def test_a_lease_of_an_unknown_event_is_reported_as_settled(joined: TopicDriver, verb: str) -> None:
    assert await settle(joined, verb, LeaseRef("never", 1)) == [SETTLED]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_lease_of_an_unknown_topic_or_group_is_reported_as_settled(
    joined: TopicDriver, topic: TopicDriver, verb: str
) -> None:
    unknown = TopicDriver(topic.harness)
    assert await settle(unknown, verb, LeaseRef("event", 1)) == [SETTLED]

    await joined.dispatch("event")
    lease = await joined.lease_one()
    assert await getattr(joined, verb)(lease, group="unknown") == [SETTLED]
    assert await joined.state("event") is EventState.LEASED


@pytest.mark.parametrize("verb", VERBS)
async def test_a_lease_is_valid_only_in_its_group(topic: TopicDriver, verb: str) -> None:
    """The event is ready in another group, where the lease settles nothing."""
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("event")
    lease = await topic.lease_one("one", "left")

    assert await getattr(topic, verb)(lease, group="right") == [EXPIRED]

    assert await topic.state("event", "left") is EventState.LEASED
    assert await topic.state("event", "right") is EventState.READY


# --- batches ----------------------------------------------------------------------------------------------------------


async def test_the_other_leases_of_a_call_are_settled(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("a", "b", "c", "d")
    a, b, c, d = await joined.lease_each("a", "b", "c", "d")
    await joined.ack(b)
    await joined.release(d)

    failures = await joined.ack(a, b, LeaseRef("never", 99), c, d)

    assert failures == [None, SETTLED, SETTLED, None, EXPIRED]
    assert ids(await joined.lease()) == ["d"]


async def test_the_same_lease_twice_in_one_call_is_settled_once(joined: TopicDriver) -> None:
    await joined.dispatch("acked", "nacked", "released", "dead", "extended")
    acked, nacked, released, dead, extended = await joined.lease_each("acked", "nacked", "released", "dead", "extended")

    assert await joined.ack(acked, acked) == [None, SETTLED]
    assert await joined.nack(nacked, nacked, delay_us=MINUTE) == [None, EXPIRED]
    assert await joined.release(released, released) == [None, EXPIRED]
    assert await joined.dead_letter(dead, dead) == [None, SETTLED]
    assert await joined.extend(extended, extended) == [None, None]

    where = await joined.group_info("nacked")
    assert where.attempts == 1
    assert await joined.queued() == 3


async def test_each_nack_of_a_call_has_its_own_action(harness: Harness, joined: TopicDriver) -> None:
    names = ("dead", "released", "delayed", "retried")
    await joined.dispatch(*names)
    dead, released, delayed, retried = map(ref, await joined.lease_each(*names))
    nacks = [
        NackRef(dead, NackAction.DEAD_LETTER, error="why"),
        NackRef(released, NackAction.RELEASE),
        NackRef(delayed, NackAction.RETRY, delay_us=MINUTE),
        NackRef(retried),
    ]

    assert await joined.engine.nack(joined.name, "default", nacks) == [None] * 4

    states = [await joined.state(name) for name in names]
    assert states == [EventState.DEAD, EventState.READY, EventState.SCHEDULED, EventState.SCHEDULED]


async def test_a_call_without_leases_is_harmless(joined: TopicDriver) -> None:
    await joined.dispatch("event")

    for verb in VERBS:
        assert await settle(joined, verb) == []

    assert await joined.counts() == {EventState.READY: 1}


async def test_ten_thousand_events_are_nacked_in_one_call(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(10_000))
    leases = await joined.lease_all()

    assert await joined.nack(*leases, delay_us=MINUTE, error="all of them") == [None] * 10_000

    assert await joined.counts() == {EventState.SCHEDULED: 10_000}
    await harness.advance(MINUTE)
    again = await joined.lease_all()
    assert {(lease.attempt, lease.last_error) for lease in again} == {(2, "all of them")}
    assert len(again) == 10_000
