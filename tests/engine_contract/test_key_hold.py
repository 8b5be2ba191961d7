"""A dead letter holds its key closed until it is redriven or purged, if the policy is to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.administration import DeadLetterFilter, DeadLetterStep
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.rates import DEFAULT_KEY_POLICY, KeyPolicy, OnDead
from duebus_server.domain.retry import FREE_EXPIRIES
from duebus_server.domain.states import EventState
from support.keyed import KEY, follow, keyed, lease_ids, order_of
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from duebus_server.domain.model import LeasedEvent
    from support.topics import TopicDriver

HOLD = KeyPolicy(on_dead=OnDead.HOLD)


async def nacked_dead(topic: TopicDriver, leased: LeasedEvent) -> None:
    await topic.dead_letter(leased)


async def out_of_retries(topic: TopicDriver, leased: LeasedEvent) -> None:
    await topic.nack(leased)


async def run_out(topic: TopicDriver, leased: LeasedEvent) -> None:
    await topic.release(leased)
    await topic.let_run_out(FREE_EXPIRIES + 1)
    await topic.lease()


DEATHS = [nacked_dead, out_of_retries, run_out]


async def held(topic: TopicDriver) -> None:
    """The key is held by the dead letter a; b and c are blocked."""
    await topic.configure(keys=HOLD, max_retries=0)
    await topic.dispatch(*keyed("a", "b", "c"))
    await topic.dead_letter(await topic.lease_one())


@pytest.mark.parametrize("death", DEATHS)
async def test_a_key_is_held_by_a_dead_letter_that_was(
    joined: TopicDriver, death: Callable[[TopicDriver, LeasedEvent], Awaitable[None]]
) -> None:
    await joined.configure(keys=HOLD, max_retries=0)
    await joined.dispatch(*keyed("a", "b"), *keyed("other", key="customer-18"))
    (other,) = [one for one in await joined.lease_all() if one.event_id == "other"]
    await joined.ack(other)
    await joined.engine.expire_leases()
    assert await joined.state("a") is EventState.LEASED
    await joined.shorten(0)
    await joined.harness.advance(1)
    await death(joined, await joined.lease_one())

    assert await joined.state("a") is EventState.DEAD
    assert await joined.lease_all() == []
    assert (await joined.group_info("b")).waits_for == "a"
    (key,) = (await joined.keys()).keys
    assert (key.key, key.blocked, key.held, key.head_event_id) == (KEY, 1, True, "a")
    await joined.dispatch(*keyed("late"), "free")
    assert await lease_ids(joined) == ["free"]
    assert await joined.state("late") is EventState.BLOCKED


async def test_redrive_comes_back_in_front(joined: TopicDriver) -> None:
    await held(joined)
    await joined.harness.advance(HOUR)

    await joined.redrive()

    assert await order_of(joined) == ["a", "b", "c"]
    assert (await joined.keys()).keys == []


async def test_redrive_at_a_rate_comes_back_in_front_when_it_is_due(joined: TopicDriver) -> None:
    await held(joined)
    await joined.redrive(None, DeadLetterStep(10, rate=0.1, moved=1, began_us=joined.harness.now_us()))

    assert await joined.lease_all() == []
    assert await joined.state("b") is EventState.BLOCKED
    await joined.harness.advance(MINUTE)
    assert await order_of(joined) == ["a", "b", "c"]


async def test_redrive_of_another_dead_letter_of_the_key_does_not_open_it(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("earlier"))
    await joined.dead_letter(await joined.lease_one())
    await held(joined)

    await joined.redrive_named("earlier")

    assert await joined.lease_all() == []
    assert await joined.state("earlier") is EventState.BLOCKED
    await joined.redrive_named("a")
    assert (await order_of(joined))[0] == "a"


async def test_purge_opens(joined: TopicDriver) -> None:
    await held(joined)

    await joined.purge(DeadLetterFilter(event_ids=["a"]))

    assert await order_of(joined) == ["b", "c"]


async def test_retention_that_removes_the_dead_letter_opens(joined: TopicDriver) -> None:
    await joined.configure(dead_letter_retention_us=MINUTE)
    await held(joined)
    await joined.harness.advance(2 * MINUTE)

    await joined.engine.expire_leases()

    assert await order_of(joined) == ["b", "c"]


async def test_hold_to_skip_opens(joined: TopicDriver) -> None:
    await held(joined)

    await follow(joined, DEFAULT_KEY_POLICY)

    assert await order_of(joined) == ["b", "c"]
    assert await joined.state("a") is EventState.DEAD


@pytest.mark.parametrize("policy", [DEFAULT_KEY_POLICY, KeyPolicy(max_blocked=7), KeyPolicy(2), KeyPolicy(0)])
async def test_what_held_its_key_under_an_earlier_policy_can_be_redriven(
    joined: TopicDriver, policy: KeyPolicy
) -> None:
    await joined.configure(keys=HOLD)
    await joined.dispatch(*keyed("a"))
    await joined.dead_letter(await joined.lease_one())
    await follow(joined, policy)

    await joined.redrive()

    assert await order_of(joined) == ["a"]
    assert (await joined.keys()).keys == []


@pytest.mark.parametrize("held", ["audit", "billing"])
async def test_a_dead_letter_that_held_its_key_in_another_group_takes_no_slot_away(
    topic: TopicDriver, held: str
) -> None:
    """The same event is dead in one group and leased in the other, which let in one event too many of the key."""
    other = "billing" if held == "audit" else "audit"
    for group in (held, other):
        await topic.join(group=group)
    await topic.configure_group(held, keys=HOLD)
    await topic.dispatch(*keyed("a"))
    await topic.dead_letter(await topic.lease_one(group=held), group=held)
    await topic.lease_one(group=other)
    await topic.configure_group(held, keys=DEFAULT_KEY_POLICY)
    await topic.configure_group(other, keys=KeyPolicy(2))

    for event_id in ("b", "c", "d"):
        await topic.dispatch(*keyed(event_id))

    assert ids(await topic.lease_all(group=other)) == ["b"]
    assert await topic.counts(other) == {EventState.LEASED: 2, EventState.BLOCKED: 2}


async def test_redrive_of_what_held_its_key_under_an_earlier_policy_leaves_a_leased_event_its_slot(
    joined: TopicDriver,
) -> None:
    await follow(joined, KeyPolicy(3))
    await joined.dispatch(*keyed("a", "b"))
    dies, leased = await joined.lease_each("a", "b")
    await follow(joined, HOLD)
    await joined.dead_letter(dies)
    await joined.configure(keys=DEFAULT_KEY_POLICY)

    await joined.redrive()

    assert await joined.lease_all() == []
    await joined.ack(leased)
    assert await order_of(joined) == ["a"]
    assert (await joined.keys()).keys == []


async def test_redrive_as_the_key_opens_delivers_one_event_at_a_time(joined: TopicDriver) -> None:
    """The redrive is the first to see the change of the policy, which lets in what is blocked."""
    await held(joined)
    await joined.configure(keys=DEFAULT_KEY_POLICY)

    await joined.redrive()

    leased = await joined.lease_one()
    assert await joined.lease_all() == []
    await joined.ack(leased)
    assert sorted([leased.event_id, *await order_of(joined)]) == ["a", "b", "c"]


@pytest.mark.parametrize(("before", "dies", "is_acked"), [(3, "a", "b"), (3, "b", "a"), (0, "a", "b")])
async def test_what_was_leased_under_an_earlier_policy_holds_its_key_when_it_dies(
    joined: TopicDriver, before: int, dies: str, is_acked: str
) -> None:
    await follow(joined, KeyPolicy(before))
    await joined.dispatch(*keyed("a", "b"))
    leased = {one.event_id: one for one in await joined.lease_all()}
    await follow(joined, HOLD)

    await joined.dead_letter(leased[dies])
    await joined.dispatch(*keyed("c"))
    await joined.ack(leased[is_acked])

    assert await joined.lease_all() == []
    assert (await joined.group_info("c")).waits_for == dies
    await joined.redrive()
    assert await order_of(joined) == [dies, "c"]
    assert (await joined.keys()).keys == []


@pytest.mark.parametrize("other", ["ready", "released", "run out", "retried"])
@pytest.mark.parametrize("before", [0, 3])
async def test_a_dead_letter_of_an_earlier_policy_closes_its_key_to_the_others(
    joined: TopicDriver, before: int, other: str
) -> None:
    """Only what is LEASED when the key is closed can still be acked."""
    await follow(joined, KeyPolicy(before))
    await joined.dispatch(*keyed("a"))
    held = await joined.lease_one(lease_us=HOUR)
    if other == "ready":
        await follow(joined, HOLD)
        await joined.dispatch(*keyed("b", "c"))
        await joined.dead_letter(held)
    else:
        await joined.dispatch(*keyed("b"))
        leased = await joined.lease_one(lease_us=SECOND)
        await follow(joined, HOLD)
        await joined.dispatch(*keyed("c"))
        if other == "retried":
            await joined.nack(leased, delay_us=MINUTE)
        await joined.dead_letter(held)
        if other == "released":
            await joined.release(leased)
    await joined.harness.advance(2 * MINUTE)

    assert await joined.lease_all() == []
    assert await joined.counts() == {EventState.DEAD: 1, EventState.BLOCKED: 2}
    await joined.redrive()
    assert await order_of(joined) == (["a", "c", "b"] if other == "retried" else ["a", "b", "c"])
    assert await joined.counts() == {}
    assert (await joined.keys()).keys == []


async def test_an_event_that_comes_due_late_does_not_enter_a_closed_key(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(0))
    await joined.dispatch(*keyed("a"), *keyed("early", delay_us=SECOND))
    held = await joined.lease_one(lease_us=HOUR)
    await follow(joined, HOLD)
    await joined.dispatch(*keyed("b"))
    await joined.dead_letter(held)
    await joined.harness.advance(SECOND)

    assert await joined.lease_all() == []
    await joined.redrive()
    assert await order_of(joined) == ["a", "b", "early"]


@pytest.mark.parametrize("policy", [DEFAULT_KEY_POLICY, KeyPolicy(2), KeyPolicy(0)])
async def test_a_key_that_is_no_longer_held_is_not_listed(joined: TopicDriver, policy: KeyPolicy) -> None:
    await joined.configure(keys=HOLD)
    await joined.dispatch(*keyed("a"))
    await joined.dead_letter(await joined.lease_one())
    await follow(joined, policy)

    assert (await joined.keys()).keys == []
    await follow(joined, HOLD)
    (key,) = (await joined.keys()).keys
    assert (key.key, key.held, key.head_event_id) == (KEY, True, "a")
    await joined.purge()
    assert (await joined.keys()).keys == []


@pytest.mark.parametrize("slots", [1, 2])
async def test_a_key_that_has_let_in_an_event_is_not_held_again(joined: TopicDriver, slots: int) -> None:
    await joined.configure(keys=HOLD)
    await joined.dispatch(*keyed("a", "b"))
    await joined.dead_letter(await joined.lease_one())
    await follow(joined, KeyPolicy(slots))

    await follow(joined, HOLD)

    assert await order_of(joined) == ["b"]
    assert (await joined.keys()).keys == []


async def test_skip_to_hold_holds_by_what_dies_from_then_on(joined: TopicDriver) -> None:
    await joined.dispatch(*keyed("a", "b", "c"))
    await joined.dead_letter(await joined.lease_one())
    await follow(joined, HOLD)

    await joined.dead_letter(await joined.lease_one())

    assert await joined.lease_all() == []
    assert (await joined.group_info("c")).waits_for == "b"


async def test_a_held_key_can_be_cancelled_and_leaves_no_trace(joined: TopicDriver) -> None:
    await held(joined)
    await joined.cancel("b", "c")
    await joined.purge()

    assert (await joined.keys()).keys == []
    await joined.dispatch(*keyed("x"))
    assert await order_of(joined) == ["x"]


async def test_deleting_a_group_forgets_what_holds_its_keys(joined: TopicDriver) -> None:
    await held(joined)
    await joined.delete_group()
    await joined.join()
    await joined.dispatch(*keyed("x"))

    assert await order_of(joined) == ["x"]


@pytest.mark.parametrize("harness", ["journal"], indirect=True)
async def test_a_held_key_stays_held_through_a_restart(joined: TopicDriver) -> None:
    await held(joined)
    joined.engine = await joined.harness.restart()
    await joined.join()

    assert await joined.lease_all() == []
    await joined.redrive()
    assert await order_of(joined) == ["a", "b", "c"]
