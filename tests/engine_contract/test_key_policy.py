"""How a group handles its keys: several of a key at once, or none held up; and changes of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MILLISECOND, MINUTE, SECOND
from duebus_server.domain.errors import MaxQueuedEventsReached
from duebus_server.domain.rates import DEFAULT_KEY_POLICY, KeyPolicy, OnDead, Rate
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.keyed import KEY, follow, keyed, lease_ids, order_of
from support.topics import TopicDriver, ids

if TYPE_CHECKING:
    from duebus_server.domain.model import LeasedEvent

HOLD = KeyPolicy(on_dead=OnDead.HOLD)
ONE_A_MINUTE = Rate(1, MINUTE)


# --- several at once --------------------------------------------------------------------------------------------------


async def test_so_many_of_a_key_are_under_way_at_once(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(3))
    await joined.dispatch(*keyed("a", "b", "c", "d", "e"), *keyed("other", key="customer-18"))

    leased = await joined.lease_all()

    assert sorted(ids(leased)) == ["a", "b", "c", "other"]
    assert await joined.counts() == {EventState.LEASED: 4, EventState.BLOCKED: 2}
    assert (await joined.group()).keys == KeyPolicy(3)
    await joined.ack(next(one for one in leased if one.event_id == "b"))
    assert await lease_ids(joined) == ["d"]


async def test_what_comes_due_together_comes_in_by_due_time_whatever_clock_that_is_by(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2))
    now_us = joined.harness.now_us()
    first, second = [new_event(f"at {n}", key=KEY, deliver_at_us=now_us + n * SECOND) for n in (1, 2)]
    await joined.dispatch(*keyed("after 3", delay_us=3 * SECOND), *keyed("after 4", delay_us=4 * SECOND), first, second)
    await joined.harness.advance(5 * SECOND)

    assert await lease_ids(joined) == ["at 1", "at 2"]


async def test_an_event_in_backoff_takes_no_slot_where_there_is_no_order(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2))
    await joined.dispatch(*keyed("a", "b", "c"))
    leased = {one.event_id: one for one in await joined.lease_all()}

    await joined.nack(leased["a"], delay_us=MINUTE)

    assert await lease_ids(joined) == ["c"]
    await joined.harness.advance(MINUTE)
    assert await joined.state("a") in (EventState.BLOCKED, EventState.READY)


@pytest.mark.parametrize("ends", ["release", "run out"])
async def test_an_event_that_comes_back_is_in_front_of_what_is_blocked(joined: TopicDriver, ends: str) -> None:
    await follow(joined, KeyPolicy(2))
    await joined.dispatch(*keyed("a", "b", "c"))
    leased = {one.event_id: one for one in await joined.lease(lease_us=SECOND)}

    if ends == "release":
        await joined.release(leased["a"])
        assert await lease_ids(joined) == ["a"]
    else:
        await joined.harness.advance(SECOND)
        assert await lease_ids(joined) == ["a", "b"]


async def test_keys_that_are_ignored_hold_up_nothing(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(0))
    await joined.dispatch(*keyed("a", "b", "c"))

    assert await lease_ids(joined) == ["a", "b", "c"]
    assert await joined.counts() == {EventState.LEASED: 3}


async def test_a_key_that_is_ignored_from_now_on_lets_its_events_in_by_steps(joined: TopicDriver) -> None:
    await joined.configure(max_queued=0)
    for batch in range(6):
        await joined.dispatch(*keyed(*[f"{batch}-{number}" for number in range(1000)]))
    leased = await joined.lease_one()
    await joined.configure(keys=KeyPolicy(0))

    await joined.ack(leased)

    assert (await joined.counts())[EventState.READY] <= 4000
    for _ in range(6):
        counts = await joined.counts()
    assert counts == {EventState.READY: 5999}


async def test_a_hand_over_obeys_the_key_policy(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2))

    batch = await joined.hand_over(*keyed("a", "b", "c"))

    assert ids(batch.events) == ["a", "b"]


async def test_an_ack_refills_with_the_next_of_the_key(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2))
    await joined.dispatch(*keyed("a", "b", "c", "d"))
    leased = await joined.lease_all()

    assert ids((await joined.ack_and_lease(*leased)).events) == ["c", "d"]


async def test_cancel_and_reschedule_of_blocked_and_ready_events_where_several_are_at_once(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2))
    await joined.dispatch(*keyed("a", "b", "c", "d", "e"))

    await joined.cancel("a", "d")
    await joined.reschedule("b", delay_us=HOUR)

    assert await lease_ids(joined) == ["c", "e"]
    assert await joined.counts() == {EventState.LEASED: 2, EventState.SCHEDULED: 1}


async def test_listing_and_keys_show_several_at_once(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2))
    await joined.dispatch(*keyed("a", "b", "c", "d"))
    (leased,) = await joined.lease(max_events=1)

    (key,) = (await joined.keys()).keys
    assert (key.key, key.blocked, key.in_flight, key.held, key.opens_at_us) == (KEY, 2, 1, False, None)
    assert key.head_event_id in ("a", "b", "")
    assert ids((await joined.page(EventState.LEASED, 10, key=KEY)).events) == [leased.event_id]
    assert len((await joined.page(EventState.READY, 10, key=KEY)).events) == 1
    assert ids((await joined.page(EventState.BLOCKED, 10, key=KEY)).events) == ["c", "d"]


async def test_max_blocked_counts_from_what_comes_in(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2, max_blocked=1))
    await joined.dispatch(*keyed("a", "b", "c"))

    refused = await joined.try_dispatch(*keyed("d"))

    assert isinstance(refused, MaxQueuedEventsReached)
    assert refused.metadata["key"] == KEY
    assert refused.metadata["max_blocked"] == "1"
    await joined.dispatch("free", *keyed("other", key="customer-18"))


async def test_max_blocked_of_a_group_of_its_own_is_kept(joined: TopicDriver) -> None:
    await joined.configure_group(keys=KeyPolicy(max_blocked=1))
    await joined.dispatch(*keyed("a", "b"))

    assert isinstance(await joined.try_dispatch(*keyed("c")), MaxQueuedEventsReached)


async def test_each_group_has_its_own_key_policy(topic: TopicDriver) -> None:
    await topic.join(group="many")
    await topic.join(group="one")
    await topic.configure_group("many", keys=KeyPolicy(0))
    await topic.dispatch(*keyed("a", "b"))

    assert sorted(ids(await topic.lease_all(group="many"))) == ["a", "b"]
    assert ids(await topic.lease_all(group="one")) == ["a"]


async def test_the_unclaimed_events_follow_the_topics_policy(topic: TopicDriver) -> None:
    await topic.configure(keys=KeyPolicy(2))
    await topic.dispatch(*keyed("a", "b", "c"))
    await topic.join()

    assert await lease_ids(topic) == ["a", "b"]


async def test_an_empty_policy_of_a_group_follows_the_topic(joined: TopicDriver) -> None:
    await joined.configure(keys=KeyPolicy(2))
    assert (await joined.configure_group(keys=KeyPolicy(3))).keys == KeyPolicy(3)
    assert (await joined.configure_group(max_retries=1)).keys == KeyPolicy(3)
    assert (await joined.configure_group(keys=DEFAULT_KEY_POLICY)).keys == KeyPolicy(2)


# --- changes while keys are taken -------------------------------------------------------------------------------------


async def taken(topic: TopicDriver) -> list[LeasedEvent]:
    """Events a to f of a key, as many as possible leased."""
    await topic.dispatch(*keyed("a", "b", "c", "d", "e", "f"))
    return await topic.lease_all()


async def test_1_to_3_lets_in_two_more(joined: TopicDriver) -> None:
    await taken(joined)

    await follow(joined, KeyPolicy(3))

    assert await lease_ids(joined) == ["b", "c"]


async def test_1_to_3_while_the_head_is_in_backoff(joined: TopicDriver) -> None:
    await joined.nack(*await taken(joined), delay_us=HOUR)

    await follow(joined, KeyPolicy(3))

    assert await lease_ids(joined) == ["b", "c"]
    await joined.harness.advance(HOUR)
    await joined.ack(*[one for one in await joined.lease_all() if one.event_id == "a"])


async def test_3_to_1_is_in_order_once_those_under_way_are_done(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(3))
    leased = await taken(joined)

    await follow(joined, DEFAULT_KEY_POLICY)

    await joined.ack(*leased[:2])
    assert await joined.lease_all() == []
    await joined.ack(leased[2])
    assert await order_of(joined) == ["d", "e", "f"]


async def test_3_to_1_with_events_in_backoff_and_released(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(3))
    leased = {one.event_id: one for one in await taken(joined)}
    await joined.nack(leased["a"], delay_us=MINUTE)
    await joined.release(leased["b"])

    await follow(joined, DEFAULT_KEY_POLICY)

    await joined.ack(leased["c"])
    found = await order_of(joined)
    await joined.harness.advance(MINUTE)
    found += await order_of(joined)
    assert sorted(found) == ["a", "b", "d", "e", "f"]
    assert await joined.counts() == {}
    await joined.dispatch(*keyed("x", "y"))
    assert await order_of(joined) == ["x", "y"]


async def test_2_to_1_an_event_that_comes_back_keeps_its_slot(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2))
    await joined.dispatch(*keyed("a", "b", "c"))
    (first,) = await joined.lease(max_events=1)
    await follow(joined, DEFAULT_KEY_POLICY)

    await joined.release(first)

    assert await joined.state("a") is EventState.READY
    assert await lease_ids(joined) == ["a", "b"]


@pytest.mark.parametrize("before", [DEFAULT_KEY_POLICY, KeyPolicy(3), HOLD, KeyPolicy(rate=ONE_A_MINUTE)])
async def test_to_0_lets_in_everything(joined: TopicDriver, before: KeyPolicy) -> None:
    await follow(joined, before)
    leased = await taken(joined)

    await follow(joined, KeyPolicy(0))

    assert sorted([*ids(leased), *await lease_ids(joined)]) == ["a", "b", "c", "d", "e", "f"]
    assert await joined.counts() == {EventState.LEASED: 6}


async def test_0_to_1_is_in_order_for_what_comes(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(0))
    leased = await taken(joined)
    await follow(joined, DEFAULT_KEY_POLICY)
    await joined.ack(*leased[:3])
    await joined.release(*leased[3:5])
    await joined.nack(leased[5], delay_us=SECOND)
    await joined.dispatch(*keyed("x", "y"))

    found = await order_of(joined)
    await joined.harness.advance(SECOND)
    found += await order_of(joined)

    assert sorted(found) == ["d", "e", "f", "x", "y"]
    assert found.index("x") < found.index("y")
    assert await joined.counts() == {}
    await joined.dispatch(*keyed("p", "q"))
    assert await order_of(joined) == ["p", "q"]


async def test_a_change_lets_in_many_keys_in_steps(joined: TopicDriver) -> None:
    for part in range(3):
        events = [
            new_event(f"{number}-{turn}", key=f"k{number}")
            for number in range(part * 400, part * 400 + 400)
            for turn in range(2)
        ]
        await joined.dispatch(*events)
    first = await joined.lease_all()
    assert len(first) == 1200
    await joined.configure(keys=KeyPolicy(0))

    assert len(await joined.lease_all()) == 1200
    assert await joined.counts() == {EventState.LEASED: 2400}


@pytest.mark.parametrize("ends", ["release", "run out"])
@pytest.mark.parametrize("policy", [DEFAULT_KEY_POLICY, HOLD])
async def test_0_to_1_an_event_that_comes_back_goes_before_what_was_due_later(
    joined: TopicDriver, policy: KeyPolicy, ends: str
) -> None:
    await follow(joined, KeyPolicy(0))
    await joined.dispatch(*keyed("a"))
    leased = await joined.lease_one(lease_us=SECOND)
    await follow(joined, policy)
    await joined.harness.advance(MILLISECOND)
    await joined.dispatch(*keyed("b", "c"), *keyed("with the end of the lease", delay_us=SECOND - MILLISECOND))

    if ends == "release":
        await joined.release(leased)
    await joined.harness.advance(SECOND)

    assert await order_of(joined) == ["a", "b", "c", "with the end of the lease"]
    assert (await joined.keys()).keys == []


@pytest.mark.parametrize("policy", [DEFAULT_KEY_POLICY, HOLD])
async def test_a_policy_that_is_in_force_already_lets_nobody_look_again(joined: TopicDriver, policy: KeyPolicy) -> None:
    await follow(joined, policy)
    await joined.dispatch(*keyed("a", "b"))
    held = await joined.lease_one(lease_us=HOUR)

    await joined.configure(keys=policy)
    await joined.configure_group(keys=policy)

    assert joined.harness.near(held.lease_expires_us)(await joined.next_due())


async def test_a_change_of_the_policy_is_reported(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b"))
    await joined.lease_one(lease_us=HOUR)
    joined.harness.recorder.forget()

    await joined.configure(keys=KeyPolicy(2))

    harness = joined.harness
    await harness.recorder.until_due(joined.name, "default", lambda at_us: at_us <= harness.now_us(), "due now")
