"""How leases are kept while events wait, are handled and are settled, and what follows when one is lost."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from duebus._core.delivery import Delivery
from duebus._core.enums import LeaseFailureReason
from duebus.errors import PermissionDenied, Unavailable
from duebus.v1 import event_bus_pb2
from duebus.worker.deadlines import Deadlines
from duebus.worker.freshness import Freshness, now
from duebus.worker.held import Cause, Held, Stage
from support.fake_bus import FakeBus, deliveries, delivery, failure
from support.workers import HandlerByHand, serving, settle_down, worker_on


def tokens(*many: Delivery) -> list[str]:
    return [each.lease_token for each in many]


async def test_all_leases_are_extended_together_every_third_of_a_lease(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=1, lease=30), HandlerByHand()
    worker.add("orders", handler)
    bus.acks.by_hand = True
    async with serving(worker):
        settling, running, *waiting = many = deliveries(4)
        (await bus.stream()).deliver(*many)
        handler.returns(await handler.begins())
        await bus.acks.next()
        assert await handler.begins() == running
        for moment in (10, 20, 30):
            call = await bus.extensions.next()
            assert call.tokens == tokens(settling, running, *waiting)
            assert call.lease == timedelta(seconds=30)
            assert call.at == pytest.approx(moment)
        bus.acks.made[0].answer()


async def test_nothing_is_extended_after_everything_is_settled(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        handler.returns(await handler.begins())
        await bus.acks.next()
        await asyncio.sleep(100)
        assert not bus.extensions.made


async def test_a_failed_extension_is_retried_within_a_second(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, lease=30), HandlerByHand()
    worker.add("orders", handler)
    bus.extensions.by_hand = True
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        (await bus.extensions.next()).fail(Unavailable("no connection"))
        again = await bus.extensions.next()
        assert again.at == pytest.approx(11)
        again.answer()
        assert (await bus.extensions.next()).at == pytest.approx(21)
        assert not handler.cancelled


async def test_an_extension_without_an_answer_is_abandoned_and_retried(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, lease=3), HandlerByHand()
    worker.add("orders", handler)
    bus.extensions.by_hand = True
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        await bus.extensions.next()
        assert (await bus.extensions.next()).at == pytest.approx(1 + 3 + 1)


@pytest.mark.parametrize(
    "reason", [LeaseFailureReason.EXPIRED, LeaseFailureReason.SETTLED, LeaseFailureReason.MALFORMED]
)
async def test_a_lost_lease_cancels_its_handler_and_nothing_is_settled(
    bus: FakeBus, reason: LeaseFailureReason
) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    bus.extensions.by_hand = True
    async with serving(worker):
        lost, kept = deliveries(2)
        (await bus.stream()).deliver(lost, kept)
        await handler.begins()
        (await bus.extensions.next()).answer(failure(lost, reason))
        await settle_down()
        assert handler.cancelled == [lost]
        handler.returns(kept)
        assert (await bus.acks.next()).tokens == tokens(kept)
        await settle_down()
    assert len(bus.acks.made) == 1
    assert not bus.nacks.made


async def test_a_waiting_delivery_whose_lease_is_lost_is_never_started(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=1), HandlerByHand()
    worker.add("orders", handler)
    bus.extensions.by_hand = True
    async with serving(worker):
        first, lost, last = deliveries(3)
        (await bus.stream()).deliver(first, lost, last)
        (await bus.extensions.next()).answer(failure(lost, LeaseFailureReason.EXPIRED))
        await settle_down()
        handler.returns(first)
        await handler.begins()
        assert await handler.begins() == last
    assert handler.begun == [first, last]


async def test_a_waiting_delivery_whose_lease_is_lost_is_not_released(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=1), HandlerByHand()
    worker.add("orders", handler)
    bus.extensions.by_hand = True
    async with serving(worker):
        stream, (running, lost, waiting) = await bus.stream(), deliveries(3)
        stream.deliver(running, lost, waiting)
        (await bus.extensions.next()).answer(failure(lost, LeaseFailureReason.EXPIRED))
        await settle_down()
        worker.request_stop()
        assert (await bus.nacks.next()).tokens == tokens(waiting)
        handler.returns(running)


async def test_handlers_that_ended_in_time_have_no_deadline() -> None:
    deadlines, registration = Deadlines(allowance=5), worker_on(FakeBus()).add("orders", HandlerByHand())
    ended, running = Held(delivery()), Held(delivery())
    for each in (ended, running):
        each.stage = Stage.RUNNING
        deadlines.watch(each, registration)
    deadlines.forget(ended, registration)
    await asyncio.sleep(5)
    assert running.cause is Cause.TIMEOUT
    assert ended.cause is None


async def test_a_stopped_engine_does_not_mean_that_the_lease_is_lost(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    bus.extensions.by_hand = True
    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        (await bus.extensions.next()).answer(failure(event, LeaseFailureReason.ENGINE_STOPPED))
        await settle_down()
        assert not handler.cancelled
        assert (await bus.extensions.next()).tokens == tokens(event)


async def test_a_settle_that_overtook_an_extension_is_not_a_loss(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    bus.extensions.by_hand = bus.acks.by_hand = True
    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        extension = await bus.extensions.next()
        handler.returns(event)
        ack = await bus.acks.next()
        extension.answer(failure(event, LeaseFailureReason.SETTLED))
        await settle_down()
        ack.answer()
        await settle_down()
    assert "lost" not in caplog.text
    assert len(bus.acks.made) == 1


async def test_an_extension_that_is_not_permitted_stops_the_worker(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    bus.extensions.by_hand = True
    async with serving(worker) as task:
        (await bus.stream()).deliver(delivery())
        (await bus.extensions.next()).fail(PermissionDenied("not yours"))
        with pytest.raises(PermissionDenied, match="not yours"):
            await task


async def test_a_handler_that_runs_for_too_long_is_cancelled_and_nacked_with_the_reason(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, max_execution=50), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        first, second = deliveries(2)
        stream = await bus.stream()
        stream.deliver(first)
        await handler.begins()
        await asyncio.sleep(20)
        stream.deliver(second)
        for event, moment in ((first, 50), (second, 70)):
            nack = await bus.nacks.next()
            assert nack.tokens == tokens(event)
            assert nack.at == pytest.approx(moment)
            assert nack.nacks[0].error == "cancelled: the handler ran for longer than 50 s"
            assert nack.nacks[0].dead_letter is False
    assert handler.cancelled == [first, second]


async def test_a_timeout_counts_as_a_failure_of_the_attempt(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, max_execution=1), HandlerByHand()
    worker.add("orders", handler, max_retries=2)
    async with serving(worker):
        (await bus.stream()).deliver(delivery(attempt=3))
        assert (await bus.nacks.next()).nacks[0].dead_letter


async def test_only_the_slow_one_of_several_handlers_is_cancelled(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, max_execution=1), HandlerByHand()
    ran = []

    async def quick(each: Delivery) -> None:
        ran.append(each)

    worker.add("orders", quick)
    worker.add("orders", handler)
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        nack = (await bus.nacks.next()).nacks[0]
    assert nack.error == "HandlerByHand: cancelled: the handler ran for longer than 1 s"
    assert len(ran) == 1


async def test_a_cancelled_handler_cleans_up_before_the_nack_and_its_lease_is_not_extended(bus: FakeBus) -> None:
    worker = worker_on(bus, max_execution=5, lease=30)
    cleaned = asyncio.Event()

    @worker.on("orders")
    async def slow_to_clean(_: Delivery) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(100)
            cleaned.set()

    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        nack = await bus.nacks.next()
        assert cleaned.is_set()
        assert nack.at == pytest.approx(105)
        assert not bus.extensions.made


async def test_a_handler_that_ignores_its_cancellation_is_still_nacked(bus: FakeBus) -> None:
    worker = worker_on(bus, max_execution=5)

    @worker.on("orders")
    async def stubborn(_: Delivery) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(1)

    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        assert (await bus.nacks.next()).nacks[0].error.startswith("cancelled")
    assert not bus.acks.made


async def stale_delivery(bus: FakeBus, outcome: LeaseFailureReason | None) -> tuple[list[str], list[str]]:
    """Blocks the loop for longer than the lease while a second delivery waits.

    Returns:
        The events that were begun, and the tokens of the extension that was made then.
    """
    worker = worker_on(bus, concurrency=1, lease=0.1)
    begun: list[str] = []

    @worker.on("orders")
    async def block_once(each: Delivery) -> None:
        begun.append(each.event_id)
        if each.event_id == "first":
            time.sleep(0.3)  # noqa: ASYNC251 - that is the point

    bus.extensions.by_hand = True
    async with serving(worker):
        first, second = delivery("first"), delivery("second")
        stream = await bus.stream()
        stream.deliver(first, second)
        extension = await bus.extensions.next()
        before = list(begun)
        extension.answer(*([failure(second, outcome)] if outcome else []))
        bus.extensions.by_hand = False
        stream.deliver(delivery("third"))
        await bus.acks.next()
        while "third" not in begun:
            await bus.acks.next()
        assert before == ["first"]
        return begun, extension.tokens


@pytest.mark.real_time
async def test_a_delivery_whose_lease_has_passed_is_not_started(bus: FakeBus) -> None:
    begun, _ = await stale_delivery(bus, LeaseFailureReason.EXPIRED)
    assert begun == ["first", "third"]


@pytest.mark.real_time
async def test_a_delivery_whose_lease_may_have_passed_is_started_once_it_is_extended(bus: FakeBus) -> None:
    begun, _ = await stale_delivery(bus, None)
    assert sorted(begun) == ["first", "second", "third"]


@pytest.mark.real_time
async def test_a_stopping_worker_releases_doubtful_deliveries(bus: FakeBus) -> None:
    worker = worker_on(bus, concurrency=1, lease=0.1)

    @worker.on("orders")
    async def block(each: Delivery) -> None:
        time.sleep(0.3)  # noqa: ASYNC251 - that is the point

    bus.extensions.by_hand = True
    async with serving(worker):
        first, second = deliveries(2)
        (await bus.stream()).deliver(first, second)
        await bus.extensions.next()
        worker.request_stop()
        call = await bus.nacks.next()
        assert (call.tokens, call.nacks[0].release) == ([second.lease_token], True)


def aged(seconds_ago: float, lease: float) -> Delivery:
    """A delivery that was leased so long ago, by an engine whose clock is an hour ahead."""
    expires = time.time() + 3600 - seconds_ago + lease
    message = event_bus_pb2.Delivery(lease_token="a")
    message.lease_expires_at.FromNanoseconds(int(expires * 1e9))
    return Delivery(message)


def test_a_delivery_slower_than_the_fastest_counts_as_late_by_the_difference() -> None:
    freshness, lease = Freshness(), timedelta(seconds=5)
    assert freshness.until(aged(0, 5), lease) - now() == pytest.approx(5, abs=0.5)
    assert freshness.until(aged(8, 5), lease) - now() == pytest.approx(-3, abs=0.5)
    freshness.reset()
    assert freshness.until(aged(8, 5), lease) - now() == pytest.approx(5, abs=0.5)


def test_clocks_are_assumed_to_agree_until_that_proves_wrong() -> None:
    message = event_bus_pb2.Delivery(lease_token="a")
    message.lease_expires_at.FromSeconds(int(time.time()) - 60)
    freshness, lease = Freshness(), timedelta(seconds=5)
    assert freshness.until(Delivery(message), lease) - now() == pytest.approx(-60, abs=2)
    freshness.misjudged()
    assert freshness.until(Delivery(message), lease) - now() == pytest.approx(5, abs=2)
