"""Streams that have lasted long enough are asked to come again; on a replica with too many, new ones soon."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from duebus_server.delivery.ages import StreamAges
from duebus_server.delivery.frames import DRAINING, REBALANCE
from duebus_server.delivery.streams import Streams
from duebus_server.domain.clock import SECOND
from duebus_server.domain.states import EventState
from unit.delivery.conftest import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

AGE_US = 100 * SECOND
LONGEST_US = 110 * SECOND
CHECK_US = 5 * SECOND


@asynccontextmanager
async def aging_bench(random: Callable[[], float] = lambda: 0.5) -> AsyncIterator[Bench]:
    """A bench whose streams last for 100 seconds."""
    bench = Bench()
    bench.streams = Streams(bench.engine, bench.clock, max_age_us=AGE_US)
    bench.streams._ages = StreamAges(bench.engine, bench.clock, AGE_US, random)
    await bench.engine.start()
    yield bench
    await bench.close()


@pytest.fixture
async def aging() -> AsyncIterator[Bench]:
    async with aging_bench() as bench:
        yield bench


async def test_a_stream_is_asked_to_come_again_when_it_has_reached_the_age(aging: Bench) -> None:
    subscriber = await aging.subscribe()
    await aging.advance(AGE_US - 1)
    assert not subscriber.ended
    await aging.advance(1)
    assert subscriber.frames[-1] is REBALANCE
    assert subscriber.ended


@pytest.mark.parametrize(("random", "age_us"), [(0.0, 90 * SECOND), (0.75, 105 * SECOND)])
async def test_the_age_varies_by_a_tenth(random: float, age_us: int) -> None:
    async with aging_bench(lambda: random) as bench:
        subscriber = await bench.subscribe()
        await bench.advance(age_us - 1)
        assert not subscriber.ended
        await bench.advance(1)
        assert subscriber.ended


async def test_without_a_greatest_age_a_stream_lasts(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.advance(LONGEST_US)
    assert not subscriber.ended


async def test_the_subscriber_keeps_its_leases_when_it_comes_again_within_five_seconds(aging: Bench) -> None:
    subscriber = await aging.subscribe(grace_us=0, lease_us=200 * SECOND)
    await aging.dispatch("a", "b")
    await aging.advance(AGE_US)
    assert subscriber.ended
    await aging.advance(5 * SECOND - 1)
    again = await aging.subscribe(held=subscriber.leases)
    assert again.lost == []
    await aging.advance(20 * SECOND)
    assert again.ids == [], "nothing is delivered twice"
    await aging.ack(*subscriber.leases)


async def test_leases_of_a_subscriber_that_does_not_come_again_run_out_after_five_seconds(aging: Bench) -> None:
    subscriber, other = await aging.subscribe(1, lease_us=200 * SECOND), await aging.subscribe(1, group="other")
    await aging.dispatch("a")
    await aging.advance(AGE_US)
    assert (subscriber.ended, other.ended) == (True, True)
    await aging.advance(5 * SECOND)
    await aging.engine.expire_leases()
    assert (await aging.group()).counts[EventState.READY] == 1


async def test_a_longer_grace_counts(aging: Bench) -> None:
    await aging.subscribe(grace_us=8 * SECOND, lease_us=200 * SECOND)
    await aging.dispatch("a")
    await aging.advance(AGE_US)
    await aging.advance(8 * SECOND - 1)
    await aging.engine.expire_leases()
    assert (await aging.group()).counts[EventState.LEASED] == 1


async def test_a_drain_that_began_before_counts(aging: Bench) -> None:
    subscriber = await aging.subscribe()
    await aging.streams.drain(0)
    await aging.advance(AGE_US)
    assert subscriber.frames[-1] is DRAINING


async def test_a_replica_with_too_many_streams_ends_those_above_its_share_early(
    aging: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [await aging.subscribe() for _ in range(4)]
    await aging.advance(10 * CHECK_US)
    assert not any(each.ended for each in many)
    monkeypatch.setattr(aging.engine, "fair_share", lambda _: 3)
    await aging.advance(CHECK_US)
    assert sum(each.ended for each in many) == 1
    await aging.advance(CHECK_US)
    assert sum(each.ended for each in many) == 1
    await aging.advance(8 * CHECK_US)
    assert all(each.ended for each in many), "those that stayed have lasted long enough"


async def test_a_stream_that_has_ended_does_not_count_for_the_share(
    aging: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int | None] = []

    def share(streams: int | None) -> int:
        told.append(streams)
        return 1

    monkeypatch.setattr(aging.engine, "fair_share", share)
    first, second = await aging.subscribe(), await aging.subscribe()
    await first.vanish()
    await aging.advance(10 * CHECK_US)
    assert not second.ended
    assert told[:3] == [1, 2, 1]


async def test_streams_that_come_back_to_the_same_replica_are_ended_early_ever_less_often(
    aging: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, ages = 8, 20
    monkeypatch.setattr(aging.engine, "fair_share", lambda count: -(-count // 2))
    subscribers = [await aging.subscribe() for _ in range(streams)]
    ended = 0
    for _ in range(ages * AGE_US // SECOND):
        await aging.advance(SECOND)
        gone = [each for each in subscribers if each.ended]
        ended += len(gone)
        subscribers = [each for each in subscribers if not each.ended] + [await aging.subscribe() for _ in gone]
    assert ended / streams <= 2 * ages


async def test_a_drain_tells_the_engine_that_this_replica_takes_no_streams(
    aging: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int | None] = []

    def share(streams: int | None) -> int:
        told.append(streams)
        return streams or 0

    await aging.subscribe()
    monkeypatch.setattr(aging.engine, "fair_share", share)
    await aging.streams.drain(0)
    await aging.subscribe()
    assert set(told) == {None}
