"""A nack pauses the key of its event."""

from __future__ import annotations

import pytest
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.model import LeaseFailureReason
from duebus_server.domain.rates import DEFAULT_KEY_POLICY, KeyPolicy, Limits
from duebus_server.domain.states import EventState
from support.keyed import KEY, follow, keyed, lease_ids, order_of
from support.topics import TopicDriver, ids


async def test_a_pause_of_the_key_holds_up_the_key_alone_and_does_not_count_the_attempt(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"), *keyed("other", key="customer-18"))
    leased = {one.event_id: one for one in await joined.lease_all()}

    assert await joined.pause_key(leased["a"], for_us=MINUTE) == [None]

    assert await joined.lease_all() == []
    await joined.ack(leased["other"])
    await joined.dispatch(*keyed("next", key="customer-18"))
    assert await order_of(joined) == ["next"]
    (key,) = [one for one in (await joined.keys()).keys if one.key == KEY]
    assert key.opens_at_us == joined.harness.now_us() + MINUTE
    await joined.harness.advance(MINUTE)
    again = await joined.lease_one()
    assert (again.event_id, again.attempt) == ("a", 1)
    await joined.ack(again)
    assert ids(await joined.lease()) == ["b"]


async def test_the_end_of_a_pause_is_when_more_is_due(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.pause_key(await joined.lease_one(), for_us=MINUTE)

    assert (await joined.lease_batch()).next_due_us == joined.harness.now_us() + MINUTE


async def test_a_pause_of_a_key_lasts_though_its_event_is_cancelled_or_dead(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b", "c"))
    await joined.pause_key(await joined.lease_one(), for_us=MINUTE)
    await joined.cancel("a")

    assert await joined.lease() == []
    await joined.dispatch(*keyed("d"))
    assert (await joined.lease_batch()).next_due_us == joined.harness.now_us() + MINUTE
    await joined.harness.advance(MINUTE)
    assert await order_of(joined) == ["b", "c", "d"]


async def test_a_pause_where_several_are_at_once_holds_up_those_that_are_ready(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(3))
    await joined.dispatch(*keyed("a", "b", "c", "d"))
    first, second = await joined.lease(max_events=2)

    await joined.pause_key(first, second, for_us=MINUTE)

    assert await joined.lease() == []
    assert await joined.counts() == {EventState.BLOCKED: 4}
    await joined.harness.advance(MINUTE)
    assert await lease_ids(joined) == ["a", "b", "c"]


async def test_a_pause_keeps_what_was_leased_in_front_where_keys_are_in_order_again(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2))
    await joined.dispatch(*keyed("a", "b", "c"))
    first, second = await joined.lease_all()
    await follow(joined, DEFAULT_KEY_POLICY)
    await joined.release(first)

    await joined.pause_key(second, for_us=MINUTE)

    assert await joined.counts() == {EventState.SCHEDULED: 2, EventState.BLOCKED: 1}
    await joined.harness.advance(MINUTE)
    assert await lease_ids(joined) == ["a", "b"]


async def test_the_longest_of_several_pauses_of_a_key_counts_and_they_do_not_add_up(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(3))
    await joined.dispatch(*keyed("a", "b", "c"))
    first, second, third = await joined.lease_all()

    await joined.pause_key(first, for_us=SECOND)
    await joined.pause_key(second, for_us=MINUTE)
    await joined.pause_key(third, for_us=SECOND)

    await joined.harness.advance(SECOND)
    assert await joined.lease() == []
    await joined.harness.advance(MINUTE - SECOND)
    assert len(await joined.lease_all()) == 3


@pytest.mark.parametrize("has_key", [True, False])
async def test_a_pause_of_no_key_changes_nothing(joined: TopicDriver, has_key: bool) -> None:
    await follow(joined, KeyPolicy(0))
    await joined.dispatch(*keyed("a")) if has_key else await joined.dispatch("a")
    leased = await joined.lease_one()

    assert await joined.pause_key(leased, for_us=MINUTE) == [LeaseFailureReason.NO_KEY]

    assert await joined.state("a") is EventState.LEASED
    assert await joined.ack(leased) == [None]


async def test_a_key_that_was_paused_leaves_no_trace(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a"))
    await joined.pause_key(await joined.lease_one(), for_us=MINUTE)
    await joined.cancel("a")
    await joined.harness.advance(2 * MINUTE)
    await joined.engine.expire_leases()

    assert (await joined.keys()).keys == []
    assert await joined.next_due() is None


@pytest.mark.parametrize("harness", ["journal"], indirect=True)
async def test_a_pause_of_a_key_lasts_through_a_restart(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.pause_key(await joined.lease_one(), for_us=MINUTE)
    await joined.cancel("a")
    joined.engine = await joined.harness.restart()
    await joined.join()

    assert await joined.lease() == []
    await joined.harness.advance(MINUTE)
    assert ids(await joined.lease()) == ["b"]


@pytest.mark.one_partition("§3.10: on a topic of several partitions a group has no limits")
async def test_limits_of_the_group_and_the_policy_of_keys_hold_together(joined: TopicDriver) -> None:
    await joined.configure(keys=KeyPolicy(2), limits=Limits(3))
    await joined.dispatch(*keyed("a", "b", "c"), *keyed("x", "y", "z", key="customer-18"))

    leased = await joined.lease_all()

    assert len(leased) == 3
    await joined.ack(*leased)
    assert len(await joined.lease_all()) == 3
