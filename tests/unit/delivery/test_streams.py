"""All sessions of an engine: opened, notified, drained, and removed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from duebus_server.delivery.frames import REBALANCE, Closing, ClosingReason, Deliveries
from duebus_server.delivery.session import Stage
from duebus_server.domain.administration import GroupChanges
from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import DispatchRequest, NackAction, NackRef
from duebus_server.domain.rates import Limits
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.workers import settle_down
from unit.delivery.conftest import GROUP, TOPIC

if TYPE_CHECKING:
    import pytest
    from duebus_server.domain.model import SubscriberInfo
    from unit.delivery.conftest import Bench, Subscriber

DRAINING = Closing(ClosingReason.DRAINING, SECOND)


async def draining(bench: Bench, timeout_us: int = 30 * SECOND) -> asyncio.Task[int]:
    """A running drain."""
    drain = asyncio.create_task(bench.streams.drain(timeout_us))
    await settle_down()
    return drain


def closed(subscriber: Subscriber) -> bool:
    """The stream's last frame was Closing, and it is over."""
    return subscriber.frames[-1:] == [DRAINING] and subscriber.ended


# --- nothing is left behind -------------------------------------------------------------------------------------------


async def test_sessions_leave_nothing_behind(bench: Bench) -> None:
    for _ in range(50):
        subscriber = await bench.subscribe()
        await subscriber.vanish()
    assert (bench.streams._sessions, bench.streams._wakers, bench.streams._open_in) == ({}, {}, {})


async def test_each_group_wakes_its_own_sessions(bench: Bench) -> None:
    one, other = await bench.subscribe(group="one"), await bench.subscribe(group="other")
    await bench.dispatch("a")
    assert (one.ids, other.ids) == (["a"], ["a"])
    await one.vanish()
    await bench.dispatch("b")
    assert other.ids == ["a", "b"]
    assert list(bench.streams._wakers["orders"]) == ["other"]


async def test_reports_about_unknown_groups_and_sessions_are_ignored(bench: Bench) -> None:
    bench.streams.due("no such topic", "billing", 0)
    bench.streams.leases_ended("no such session", [1])


# --- drain ------------------------------------------------------------------------------------------------------------


async def test_a_drain_of_idle_streams_ends_at_once(bench: Bench) -> None:
    idle = [await bench.subscribe(), await bench.subscribe(group="other")]
    drain = await draining(bench)
    assert drain.done()
    assert await drain == 0
    assert all(closed(each) for each in idle)


async def test_a_drain_without_streams_ends_at_once(bench: Bench) -> None:
    assert await (await draining(bench)) == 0


async def test_a_drain_ends_with_the_last_settle(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch("a", "b")
    drain = await draining(bench)
    assert closed(subscriber)
    await bench.ack(subscriber.leases[0])
    assert not drain.done()
    await bench.nack(NackRef(subscriber.leases[1]))
    assert await drain == 0


async def test_a_drain_releases_unsettled_leases_without_counting_the_attempt(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch("a", "b", "c")
    drain = await draining(bench, 5 * SECOND)
    await bench.ack(subscriber.leases[0])
    await bench.advance(5 * SECOND - 1)
    assert not drain.done()
    await bench.advance(1)
    assert await drain == 2
    group = await bench.group()
    assert (group.counts[EventState.READY], group.counts[EventState.LEASED]) == (2, 0)
    assert (await bench.engine.get_event("orders", "b")).groups[0].attempts == 0


async def test_a_drain_without_a_timeout_releases_all_leases_at_once(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch("a", "b")
    assert await (await draining(bench, 0)) == 2
    assert closed(subscriber)
    assert (await bench.group()).counts[EventState.READY] == 2


async def test_nothing_is_leased_during_a_drain(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_events=1)
    await bench.dispatch("a", "b")
    await draining(bench)
    await bench.ack(subscriber.leases[0])
    assert subscriber.ids == ["a"]
    assert (await bench.group()).counts[EventState.READY] == 1


async def test_events_released_during_a_drain_are_not_leased_again(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch("a")
    drain = await draining(bench)
    await bench.nack(NackRef(subscriber.leases[0], NackAction.RELEASE))
    assert await drain == 0
    assert subscriber.ids == ["a"]


async def test_a_drain_does_not_wait_for_a_lease_that_runs_out(bench: Bench) -> None:
    await bench.subscribe(lease_us=2 * SECOND)
    await bench.dispatch("a")
    drain = await draining(bench, 30 * SECOND)
    await bench.advance(2 * SECOND)
    await bench.engine.expire_leases()
    await settle_down()
    assert await drain == 0


async def test_a_reader_that_stops_reading_does_not_delay_a_drain(bench: Bench) -> None:
    stuck = await bench.subscribe()
    stuck.stop_reading()
    await bench.dispatch("a")
    drain = await draining(bench, 5 * SECOND)
    await bench.advance(5 * SECOND)
    assert await drain == 1
    stuck.resume_reading()
    await settle_down()
    assert [type(frame) for frame in stuck.frames] == [Deliveries, Closing]


async def test_a_stream_opened_during_a_drain_is_closed_with_its_first_frame(bench: Bench) -> None:
    await draining(bench)
    late = await bench.subscribe()
    assert late.frames == [DRAINING]
    assert late.ended


async def test_a_worker_that_continues_after_the_closing_frame_keeps_its_leases_until_the_drain_ends(
    bench: Bench,
) -> None:
    """A worker should end its stream after `closing`, so this does not shorten its leases to the grace."""
    subscriber = await bench.subscribe(grace_us=SECOND)
    await bench.dispatch("a")
    drain = await draining(bench, 30 * SECOND)
    assert subscriber.ended
    await bench.advance(10 * SECOND)
    await bench.ack(subscriber.leases[0])
    assert await drain == 0


async def test_a_drain_waits_for_a_running_lease_call(bench: Bench) -> None:
    """Otherwise its events would reach the worker after the drain, and nobody could settle them."""
    subscriber = await bench.subscribe()
    bench.engine.latency = 50
    await bench.engine.dispatch("orders", [DispatchRequest([new_event("a")])])
    await asyncio.sleep(0)
    assert subscriber.session._stage is Stage.LEASING
    drain = asyncio.create_task(bench.streams.drain(30 * SECOND))
    for _ in range(10):
        await settle_down()
    assert (subscriber.ids, closed(subscriber), drain.done()) == (["a"], True, False)
    await bench.ack(*subscriber.leases)
    assert await drain == 0


async def test_a_broken_group_does_not_keep_a_drain_from_releasing_other_leases(bench: Bench) -> None:
    for group in ("broken", GROUP):
        await bench.subscribe(group=group)
    await bench.dispatch("a")
    bench.engine.broken_groups = ["broken"]
    assert await (await draining(bench, 0)) == 1
    assert (await bench.group()).counts[EventState.READY] == 1


async def test_a_stream_comes_again_when_its_group_gets_its_first_limit(bench: Bench) -> None:
    wide, elsewhere = await bench.subscribe(), await bench.subscribe(group="other")
    await bench.engine.configure_group(TOPIC, GROUP, GroupChanges(limits=Limits(max_in_flight=1)))
    await settle_down()
    assert wide.frames == [REBALANCE]
    assert not elsewhere.ended

    narrow = await bench.subscribe()
    await bench.engine.configure_group(TOPIC, GROUP, GroupChanges(limits=Limits(max_in_flight=2)))
    await settle_down()
    assert not narrow.ended


async def test_a_limit_reported_while_a_stream_joins_closes_it_only_if_it_does_not_know_the_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = bench.engine.join
    is_known = True

    async def join_and_report(topic: str, group: str, info: SubscriberInfo) -> bool:
        await join(topic, group, info)
        bench.streams.limited(topic, group)
        return is_known

    monkeypatch.setattr(bench.engine, "join", join_and_report)
    came_again = await bench.subscribe()
    assert not came_again.ended

    is_known = False
    joined_before = await bench.subscribe(group="other")
    assert joined_before.frames == [REBALANCE]
