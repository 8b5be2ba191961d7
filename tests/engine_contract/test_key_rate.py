"""A rate of each key: how many deliveries of it begin in a time."""

from __future__ import annotations

import pytest
from duebus_server.domain.clock import MILLISECOND, MINUTE, SECOND
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.rates import KeyPolicy, Rate
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.keyed import follow, keyed, order_of
from support.topics import TopicDriver, ids

ONE_A_MINUTE = Rate(1, MINUTE)


async def work(topic: TopicDriver) -> int:
    """How many events an autoscaler is told of."""
    (count,) = await topic.engine.work([(topic.name, DEFAULT_GROUP)])
    return count


async def test_each_key_has_the_rate_for_itself(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(rate=ONE_A_MINUTE))
    await joined.dispatch(*keyed("a", "b"), *keyed("x", "y", key="customer-18"), "free")

    assert sorted(await order_of(joined)) == ["a", "free", "x"]
    assert await joined.counts() == {EventState.BLOCKED: 2}
    await joined.harness.advance(MINUTE)
    assert sorted(await order_of(joined)) == ["b", "y"]


async def test_a_closed_key_opens_at_its_time_and_says_when(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(rate=ONE_A_MINUTE))
    await joined.dispatch(*keyed("a", "b"))
    before_us = joined.harness.now_us()
    await joined.ack(await joined.lease_one())

    batch = await joined.lease_batch()

    assert batch.events == []
    assert batch.next_due_us == before_us + MINUTE
    (key,) = (await joined.keys()).keys
    assert (key.blocked, key.opens_at_us) == (1, before_us + MINUTE)
    assert (await joined.group()).throttled_until_us is None
    await joined.harness.advance(MINUTE - 1)
    assert await joined.lease() == []
    await joined.harness.advance(1)
    assert ids(await joined.lease()) == ["b"]


async def test_a_backlog_of_keys_that_wait_for_their_rate_needs_a_worker_30_s_before_they_open(
    joined: TopicDriver,
) -> None:
    await follow(joined, KeyPolicy(rate=ONE_A_MINUTE))
    await joined.dispatch(*keyed("a", "b", "c"), *keyed("x", "y", key="customer-18"))
    leased = await joined.lease()
    assert sorted(ids(leased)) == ["a", "x"]
    assert await work(joined) == 2, "they are being handled"
    await joined.ack(*leased)

    assert await work(joined) == 0
    await joined.harness.advance(30 * SECOND)
    assert await work(joined) == 2, "one of each key can begin"
    await joined.pause()
    assert await work(joined) == 0
    await joined.resume()
    await joined.harness.advance(30 * SECOND)
    assert await work(joined) == 2
    assert await joined.counts() == {EventState.READY: 2, EventState.BLOCKED: 1}


async def test_a_key_without_events_is_still_closed_by_its_rate(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(rate=ONE_A_MINUTE))
    await joined.dispatch(*keyed("a"))
    await joined.ack(await joined.lease_one())
    assert (await joined.keys()).keys == []

    await joined.dispatch(*keyed("b"))

    assert (await joined.hand_over(*keyed("c"))).events == []
    assert await joined.lease() == []
    await joined.harness.advance(MINUTE)
    assert ids(await joined.lease()) == ["b"]


async def test_wake_ups_that_are_late_do_not_slow_the_rate_of_a_key_down(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(rate=Rate(10, SECOND)))
    await joined.dispatch(*keyed(*(str(number) for number in range(120))))
    end_us, taken = joined.harness.now_us() + 10 * SECOND, 0
    while joined.harness.now_us() < end_us:
        while (batch := await joined.lease_batch()).events:
            await joined.ack(*batch.events)
            taken += len(batch.events)
        assert batch.next_due_us is not None
        await joined.harness.advance(batch.next_due_us - joined.harness.now_us() + 20 * MILLISECOND)

    assert taken == 100


async def test_a_release_refunds_the_rate_of_the_key(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(rate=ONE_A_MINUTE))
    await joined.dispatch(*keyed("a", "b"))

    await joined.release(await joined.lease_one())

    assert ids(await joined.lease()) == ["a"]


@pytest.mark.parametrize("ends", ["nack", "run out"])
async def test_an_event_that_comes_back_waits_for_the_rate_and_stays_in_front_when_it(
    joined: TopicDriver, ends: str
) -> None:
    await follow(joined, KeyPolicy(rate=ONE_A_MINUTE))
    await joined.dispatch(*keyed("a", "b"))
    leased = await joined.lease_one(lease_us=SECOND)

    if ends == "nack":
        await joined.nack(leased, delay_us=SECOND)
    await joined.harness.advance(SECOND)

    assert await joined.lease() == []
    await joined.harness.advance(MINUTE)
    assert ids(await joined.lease()) == ["a"]


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("then", ["", "release", "nack", "run out"])
async def test_events_that_had_a_slot_before_the_rate_was_set_use_it_up(
    joined: TopicDriver, then: str, count: int, at_once: int
) -> None:
    events = [str(number) for number in range(count)]
    await follow(joined, KeyPolicy(count))
    await joined.dispatch(*keyed(*events, "next"))
    leased = [one for _ in events for one in await joined.lease(max_events=1, lease_us=SECOND)] if then else []
    await follow(joined, KeyPolicy(rate=ONE_A_MINUTE))
    if then == "release":
        await joined.release(*leased)
    elif then == "nack":
        await joined.nack(*leased, delay_us=0)
    elif then == "run out":
        await joined.harness.advance(SECOND)

    begun = [one for _ in events for one in await joined.lease(max_events=at_once)]

    before_us = joined.harness.now_us()
    assert sorted(ids(begun)) == events
    (key,) = (await joined.keys()).keys
    assert (key.in_flight, key.opens_at_us) == (count, before_us + MINUTE)
    await joined.ack(*begun)
    assert await joined.lease() == []
    await joined.harness.advance(MINUTE)
    assert ids(await joined.lease()) == ["next"]


async def test_a_rate_with_several_at_once(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(2, Rate(3, MINUTE, burst=3)))
    await joined.dispatch(*keyed("a", "b", "c", "d", "e"))

    first = await joined.lease_all()
    assert ids(first) == ["a", "b"]
    await joined.ack(*first)
    third = await joined.lease_all()
    assert ids(third) == ["c"]
    await joined.ack(*third)
    await joined.harness.advance(20 * SECOND)
    assert ids(await joined.lease_all()) == ["d"]


async def test_many_keys_open_together_in_steps(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(rate=ONE_A_MINUTE))
    for part in range(2):
        await joined.dispatch(
            *[
                new_event(f"{number}-{turn}", key=f"k{number}")
                for number in range(part * 500, part * 500 + 500)
                for turn in range(2)
            ]
        )
    await joined.dispatch(
        *[new_event(f"more-{number}-{turn}", key=f"m{number}") for number in range(500) for turn in range(2)]
    )
    while leased := await joined.lease_all():
        await joined.ack(*leased)
    assert await joined.counts() == {EventState.BLOCKED: 1500}

    await joined.harness.advance(MINUTE)

    assert len(await joined.lease_all()) == 1500


async def test_a_first_limit_is_reported_and_other_settings_are_not(topic: TopicDriver) -> None:
    await topic.join()
    await topic.join(group="other")
    await topic.configure(max_retries=1, keys=KeyPolicy(2))
    assert topic.harness.recorder.limits == []

    await topic.configure_group(keys=KeyPolicy(rate=ONE_A_MINUTE))
    await topic.harness.recorder.until(lambda: bool(topic.harness.recorder.limits), "a report")

    assert set(topic.harness.recorder.limits) == {(topic.name, "default")}


async def test_a_rate_of_keys_makes_the_group_limited(topic: TopicDriver) -> None:
    await topic.configure(keys=KeyPolicy(2))
    assert not await topic.join()
    await topic.configure(keys=KeyPolicy(rate=ONE_A_MINUTE))
    assert await topic.join("other")


@pytest.mark.parametrize("harness", ["journal"], indirect=True)
async def test_a_used_up_rate_lasts_through_a_restart(joined: TopicDriver) -> None:
    await follow(joined, KeyPolicy(rate=ONE_A_MINUTE))
    await joined.dispatch(*keyed("a", "b"))
    await joined.ack(await joined.lease_one())
    joined.engine = await joined.harness.restart()
    await joined.join()

    assert (await joined.group()).keys == KeyPolicy(rate=ONE_A_MINUTE)
    assert await joined.lease() == []
    await joined.harness.advance(MINUTE)
    assert ids(await joined.lease()) == ["b"]
