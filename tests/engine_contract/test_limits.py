"""The limits of a group: how many deliveries are under way at once, and how many begin in a time, over all sessions."""

from __future__ import annotations

import pytest
from duebus_server.domain.clock import HOUR, MILLISECOND, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.model import (
    DEFAULT_GROUP,
    LeasedEvent,
    LeaseRef,
    NackAction,
    NackRef,
    Pause,
    PauseScope,
)
from duebus_server.domain.rates import NO_LIMITS, Limits, Rate
from duebus_server.domain.states import EventState
from support.builders import new_event, new_events
from support.topics import TopicDriver, ids

of_one = pytest.mark.one_partition("§3.10: on a topic of several partitions a group has no limits")
pytestmark = of_one

TEN_A_SECOND = Rate(10, SECOND)


async def limit(topic: TopicDriver, max_in_flight: int = 0, rate: Rate | None = None) -> None:
    await topic.configure(limits=Limits(max_in_flight, rate))


async def hears_due(topic: TopicDriver, no_later_us: int) -> None:
    """Returns once the group was reported as due at this time or earlier."""
    await topic.harness.recorder.until_due(topic.name, DEFAULT_GROUP, lambda at_us: at_us <= no_later_us, "due in time")


async def lease_over_time(topic: TopicDriver, span_us: int, late_us: int = 0) -> list[int]:
    """Lease whenever the engine says that there may be more, as a session does, and so much later. Returns when each
    event was leased.
    """
    end_us, leased_us = topic.harness.now_us() + span_us, list[int]()
    while True:
        batch = await topic.lease_batch()
        leased_us += [topic.harness.now_us()] * len(batch.events)
        assert batch.next_due_us is not None
        now_us = topic.harness.now_us()
        assert batch.next_due_us > now_us, "nobody polls"
        if batch.next_due_us >= end_us:
            return leased_us
        await topic.ack(*batch.events)
        await topic.harness.advance(batch.next_due_us - now_us + late_us)


def most_within(times_us: list[int], span_us: int) -> int:
    return max(sum(start <= one < start + span_us for one in times_us) for start in times_us)


# --- max_in_flight ----------------------------------------------------------------------------------------------------


async def test_a_request_that_uses_up_the_limit_leaves_nothing_to_lease(topic: TopicDriver) -> None:
    """Otherwise a session would ask again at once, for nothing."""
    await limit(topic, 2)
    await topic.join()
    await topic.dispatch("a", "b", "c")

    assert (await topic.lease_batch(max_events=1)).has_more
    assert not (await topic.lease_batch(max_events=1)).has_more


async def test_no_more_are_under_way_than_max_in_flight(joined: TopicDriver) -> None:
    await limit(joined, 3)
    await joined.dispatch(*new_events(5))

    batch = await joined.lease_batch()

    assert len(batch.events) == 3
    assert not batch.has_more
    assert batch.next_due_us == batch.events[0].lease_expires_us
    assert await joined.lease() == []


async def test_max_in_flight_is_shared_by_all_sessions(joined: TopicDriver) -> None:
    await joined.join("other")
    await limit(joined, 3)
    await joined.dispatch(*new_events(5))

    assert len(await joined.lease(max_events=2)) == 2
    assert len(await joined.lease("other")) == 1


@pytest.mark.parametrize("ends", ["ack", "nack", "release", "dead_letter"])
async def test_a_lease_that_ends_makes_room_and_reports_it(joined: TopicDriver, ends: str) -> None:
    await limit(joined, 1)
    await joined.dispatch(*new_events(2))
    leased = await joined.lease_one(lease_us=HOUR)
    joined.harness.recorder.forget()

    await getattr(joined, ends)(leased)

    await hears_due(joined, joined.harness.now_us())
    assert len(await joined.lease()) == 1


async def test_a_limit_of_1_does_not_wait_for_the_lease_of_a_dead_worker(joined: TopicDriver) -> None:
    await joined.join("other")
    await limit(joined, 1)
    await joined.dispatch(*new_events(2))
    await joined.lease_one(lease_us=30 * SECOND)
    joined.harness.recorder.forget()

    await joined.shorten(SECOND)

    await hears_due(joined, joined.harness.now_us() + SECOND)
    assert await joined.lease("other") == []
    await joined.harness.advance(SECOND)
    assert len(await joined.lease("other")) == 1


async def test_what_a_dead_worker_held_counts_until_its_lease_has_run_out(joined: TopicDriver) -> None:
    await joined.join("other")
    await limit(joined, 2)
    await joined.dispatch(*new_events(4))
    await joined.lease(lease_us=10 * SECOND)
    await joined.leave()

    assert await joined.lease("other") == []
    await joined.harness.advance(10 * SECOND)
    assert len(await joined.lease("other")) == 2


async def test_adopted_leases_count_once(joined: TopicDriver) -> None:
    await joined.join("other")
    await limit(joined, 2)
    await joined.dispatch(*new_events(4))
    leased = await joined.lease(max_events=2)

    await joined.adopt("other", *leased)

    assert await joined.lease("other") == []
    await joined.ack(leased[0])
    assert len(await joined.lease("other")) == 1


async def test_a_hand_over_obeys_max_in_flight(joined: TopicDriver) -> None:
    await limit(joined, 2)

    batch = await joined.hand_over(*new_events(3))

    assert len(batch.events) == 2
    assert await joined.counts() == {EventState.LEASED: 2, EventState.READY: 1}
    assert (await joined.hand_over("late")).events == []


async def test_an_ack_refills_what_it_frees(joined: TopicDriver) -> None:
    await limit(joined, 2)
    await joined.dispatch(*new_events(5))
    leased = await joined.lease()

    assert len((await joined.ack_and_lease(*leased)).events) == 2


async def test_each_group_has_the_limits_of_its_topic_for_itself(topic: TopicDriver) -> None:
    await topic.join(group="a")
    await topic.join(group="b")
    await limit(topic, 1)
    await topic.dispatch(*new_events(2))

    assert len(await topic.lease(group="a")) == 1
    assert len(await topic.lease(group="b")) == 1


async def test_an_ephemeral_group_has_the_limits_of_its_topic(topic: TopicDriver) -> None:
    await limit(topic, 1)
    await topic.join(group="tail", ephemeral_us=SECOND)
    await topic.dispatch(*new_events(2))

    assert len(await topic.lease(group="tail")) == 1


async def test_a_group_that_is_made_later_has_the_limits_of_its_topic(topic: TopicDriver) -> None:
    await topic.dispatch(*new_events(3))
    await limit(topic, 1)
    assert await topic.join()

    assert len(await topic.lease()) == 1


async def test_the_limits_of_a_group_come_before_those_of_its_topic(joined: TopicDriver) -> None:
    await limit(joined, 1)
    config = await joined.configure_group(limits=Limits(2))
    assert config.limits == Limits(2)
    assert (await joined.group()).limits == Limits(2)
    await joined.dispatch(*new_events(4))
    assert len(await joined.lease()) == 2

    config = await joined.configure_group(limits=NO_LIMITS)

    assert config.limits == Limits(1)
    assert (await joined.group()).limits == Limits(1)


async def test_limits_replace_those_before_as_a_whole_and_can_be_removed(joined: TopicDriver) -> None:
    await limit(joined, 1, TEN_A_SECOND)
    assert (await joined.configure(limits=Limits(5))).limits == Limits(5)
    assert (await joined.configure(max_queued=0)).limits == Limits(5), "what is not set stays"
    assert (await joined.configure(limits=NO_LIMITS)).limits == NO_LIMITS
    await joined.dispatch(*new_events(3))
    assert len(await joined.lease()) == 3


async def test_a_raised_limit_is_reported(joined: TopicDriver) -> None:
    await limit(joined, 1)
    await joined.dispatch(*new_events(3))
    await joined.lease_one(lease_us=HOUR)
    joined.harness.recorder.forget()

    await limit(joined, 2)

    await hears_due(joined, joined.harness.now_us())
    assert len(await joined.lease()) == 1


async def test_a_lowered_limit_leaves_what_is_leased(joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(4))
    leased = await joined.lease(max_events=3)
    await limit(joined, 1)

    assert await joined.lease() == []
    await joined.ack(*leased[:2])
    assert await joined.lease() == []
    await joined.ack(leased[2])
    assert len(await joined.lease()) == 1


async def test_join_tells_whether_a_group_is_limited(topic: TopicDriver) -> None:
    assert not await topic.join()
    await topic.configure_group(limits=Limits(1))
    assert await topic.join("other")


# --- rate -------------------------------------------------------------------------------------------------------------


async def test_a_rate_of_10_a_second_gives_10_over_a_minute_and_never_more_than_11_in_a_second(
    joined: TopicDriver,
) -> None:
    await limit(joined, rate=TEN_A_SECOND)
    for _ in range(7):
        await joined.dispatch(*new_events(100))

    times_us = await lease_over_time(joined, MINUTE)

    assert 600 * 0.98 <= len(times_us) <= 600 * 1.02
    assert most_within(times_us, SECOND) <= 11


async def test_wake_ups_that_are_late_do_not_slow_a_rate_down(joined: TopicDriver) -> None:
    await limit(joined, rate=TEN_A_SECOND)
    await joined.dispatch(*new_events(120))

    times_us = await lease_over_time(joined, 10 * SECOND, late_us=20 * MILLISECOND)

    assert len(times_us) == 100
    assert most_within(times_us, SECOND) <= 11


async def test_a_burst_passes_at_once_after_a_pause_and_then_the_rate_holds(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(10, SECOND, burst=5))
    await joined.dispatch(*new_events(30))

    assert len(await joined.lease()) == 5
    assert await joined.lease() == []
    await joined.harness.advance(100 * MILLISECOND)
    assert len(await joined.lease()) == 1
    await joined.harness.advance(10 * SECOND)
    assert len(await joined.lease()) == 5


async def test_without_a_burst_what_passes_in_100_ms_does(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(50, SECOND))
    await joined.dispatch(*new_events(30))

    assert len(await joined.lease()) == 5


async def test_the_answer_says_when_the_rate_lets_more_through(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(1, MINUTE))
    await joined.dispatch(*new_events(2))
    before_us = joined.harness.now_us()

    batch = await joined.lease_batch(lease_us=HOUR)

    assert len(batch.events) == 1
    assert not batch.has_more
    assert batch.next_due_us == before_us + MINUTE
    assert (await joined.group()).throttled_until_us == before_us + MINUTE
    await joined.harness.advance(MINUTE)
    assert (await joined.group()).throttled_until_us is None
    assert len(await joined.lease()) == 1


async def test_a_release_is_refunded(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(1, MINUTE))
    await joined.dispatch(*new_events(2))
    leased = await joined.lease_one(lease_us=HOUR)
    joined.harness.recorder.forget()

    await joined.release(leased)

    await hears_due(joined, joined.harness.now_us())
    assert len(await joined.lease()) == 1


@pytest.mark.parametrize("ends", ["ack", "nack", "dead_letter"])
async def test_every_delivery_counts_and_is_not_refunded_by(joined: TopicDriver, ends: str) -> None:
    await limit(joined, rate=Rate(1, MINUTE))
    await joined.dispatch(*new_events(2))

    await getattr(joined, ends)(await joined.lease_one())

    assert await joined.lease() == []


async def test_a_lease_that_runs_out_is_not_refunded_and_the_next_delivery_counts_too(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(1, MINUTE))
    await joined.dispatch("event")
    await joined.lease_one(lease_us=SECOND)
    await joined.harness.advance(SECOND)

    assert await joined.lease() == []
    await joined.harness.advance(MINUTE)
    assert len(await joined.lease()) == 1


async def test_a_hand_over_and_a_refill_obey_the_rate(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(1, MINUTE))

    handed_over = await joined.hand_over(*new_events(2))

    assert len(handed_over.events) == 1
    assert not handed_over.has_more
    assert (await joined.ack_and_lease(*handed_over.events)).events == []
    await joined.harness.advance(MINUTE)
    assert len(await joined.lease()) == 1


async def test_a_rate_leaves_no_trace_once_it_is_idle(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(10, SECOND, burst=5))
    await joined.dispatch(*new_events(5))
    await joined.ack(*await joined.lease())
    await joined.harness.advance(HOUR)
    await joined.dispatch(*new_events(30))

    assert len(await joined.lease()) == 5, "an hour saves up no more than a burst"


async def test_a_faster_rate_applies_at_once(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(1, HOUR))
    await joined.dispatch(*new_events(9))
    await joined.lease_one(lease_us=12 * HOUR)

    await limit(joined, rate=TEN_A_SECOND)

    await joined.harness.advance(100 * MILLISECOND)
    assert len(await joined.lease()) == 1


async def test_both_limits_hold_together(joined: TopicDriver) -> None:
    await limit(joined, 2, Rate(10, SECOND, burst=3))
    await joined.dispatch(*new_events(9))

    leased = await joined.lease()
    assert len(leased) == 2
    await joined.ack(*leased)
    assert len(await joined.lease()) == 1


async def test_a_paused_group_uses_up_no_rate(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(1, MINUTE))
    await joined.dispatch(*new_events(2))
    await joined.pause()
    assert await joined.lease() == []

    await joined.resume()

    assert len(await joined.lease()) == 1


@pytest.mark.parametrize("harness", ["journal"], indirect=True)
async def test_limits_and_a_used_up_rate_last_through_a_restart(joined: TopicDriver) -> None:
    await joined.configure_group(limits=Limits(5, Rate(2, HOUR, burst=2)))
    await joined.dispatch(*new_events(4))
    await joined.ack(*await joined.lease())
    joined.engine = await joined.harness.restart()
    await joined.join()

    assert (await joined.group()).limits == Limits(5, Rate(2, HOUR, burst=2))
    assert await joined.lease() == []
    await joined.harness.advance(HOUR)
    assert len(await joined.lease()) == 2


@pytest.mark.parametrize("harness", ["journal"], indirect=True)
async def test_a_refund_lasts_through_a_restart(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(1, HOUR))
    await joined.dispatch(*new_events(2))
    await joined.release(await joined.lease_one())
    joined.engine = await joined.harness.restart()
    await joined.join()

    assert len(await joined.lease()) == 1


# --- what operators and scalers see -----------------------------------------------------------------------------------


async def work(topic: TopicDriver) -> int:
    (count,) = await topic.engine.work([(topic.name, DEFAULT_GROUP)])
    return count


async def test_work_is_what_the_limits_let_begin_in_30_s(joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(100))
    assert await work(joined) == 100
    await limit(joined, 7)
    assert await work(joined) == 7
    await limit(joined, rate=Rate(1, SECOND))
    assert await work(joined) == 31
    await limit(joined, 10, Rate(1, SECOND))
    leased = await joined.lease()
    assert len(leased) == 1
    assert await work(joined) == 10
    await joined.pause()
    assert await work(joined) == 1


async def test_work_leaves_out_what_is_blocked_and_what_a_pause_holds_up(joined: TopicDriver) -> None:
    await joined.dispatch(*[new_event(f"e{number}", key="one") for number in range(5)], "free")
    assert await work(joined) == 2
    free = next(event for event in await joined.lease() if event.event_id == "free")
    await joined.pause_for(free, for_us=MINUTE)
    assert await work(joined) == 1


async def test_throttled_until_is_set_at_max_in_flight(joined: TopicDriver) -> None:
    await limit(joined, 1)
    await joined.dispatch(*new_events(2))
    assert (await joined.group()).throttled_until_us is None
    leased = await joined.lease_one()
    assert (await joined.group()).throttled_until_us == leased.lease_expires_us
    await joined.ack(leased)
    assert (await joined.group()).throttled_until_us is None


# --- pauses of the group ----------------------------------------------------------------------------------------------


async def test_a_pause_of_the_group_holds_up_all_of_it_and_does_not_count_the_attempt(joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(3))
    first = await joined.lease(max_events=1)

    assert await joined.pause_for(*first, for_us=MINUTE) == [None]

    batch = await joined.lease_batch()
    assert batch.events == []
    assert not batch.has_more
    assert batch.next_due_us == joined.harness.now_us() + MINUTE
    assert (await joined.group()).throttled_until_us == joined.harness.now_us() + MINUTE
    await joined.harness.advance(MINUTE)
    leased = await joined.lease()
    assert len(leased) == 3
    assert {event.attempt for event in leased} == {1}


async def test_a_pause_is_once_for_all_workers_that_hear_of_it(joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(3))
    leased: list[LeasedEvent] = await joined.lease()

    await joined.pause_for(*leased, for_us=MINUTE)
    await joined.harness.advance(MINUTE)

    assert len(await joined.lease()) == 3


async def test_a_shorter_pause_does_not_end_a_longer_one(joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(2))
    first, second = await joined.lease()

    await joined.pause_for(first, for_us=MINUTE)
    await joined.pause_for(second, for_us=SECOND)
    await joined.harness.advance(SECOND)

    assert await joined.lease() == []


async def test_a_pause_holds_back_hand_over_and_refill(joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(2))
    first, second = await joined.lease()
    await joined.pause_for(first, for_us=MINUTE)

    assert (await joined.hand_over("late")).events == []
    assert (await joined.ack_and_lease(second)).events == []


@pytest.mark.parametrize("harness", ["journal"], indirect=True)
async def test_a_pause_lasts_through_a_restart(joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(2))
    await joined.pause_for(*await joined.lease(), for_us=MINUTE)
    joined.engine = await joined.harness.restart()
    await joined.join()

    assert await joined.lease() == []
    await joined.harness.advance(MINUTE)
    assert len(await joined.lease()) == 2


async def test_the_ids_of_what_is_leased_at_a_rate_are_in_order(joined: TopicDriver) -> None:
    await limit(joined, rate=Rate(10, SECOND, burst=2))
    await joined.dispatch("a", "b", "c")

    assert ids(await joined.lease()) == ["a", "b"]
    await joined.harness.advance(SECOND)
    assert ids(await joined.lease()) == ["c"]


async def test_partitions_are_refused_on_a_topic_with_limits(topic: TopicDriver) -> None:
    await limit(topic, 1)

    with pytest.raises(InvalidArgument) as caught:
        await topic.configure(partitions=4)
    assert caught.value.violation.field == "config.partitions"


async def test_a_lease_that_is_named_twice_pauses_nothing_the_second_time(joined: TopicDriver) -> None:
    await joined.dispatch("a")
    (held,) = await joined.lease()
    lease = LeaseRef(held.event_id, held.fencing_token)
    pause = Pause(MINUTE, PauseScope.GROUP)

    first, second = await joined.engine.nack(
        joined.name,
        DEFAULT_GROUP,
        [NackRef(lease, NackAction.RELEASE), NackRef(lease, NackAction.RELEASE, pause=pause)],
    )

    assert first is None
    assert second is not None
    assert ids(await joined.lease()) == ["a"]
