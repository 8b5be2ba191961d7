"""How acks and nacks are sent: batches, failures, retries."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from duebus._core.enums import LeaseFailureReason
from duebus._core.limits import Pause, PauseScope
from duebus._core.model import Nack
from duebus.errors import InvalidArgument, Unavailable
from duebus.worker import RateLimited
from duebus.worker.held import HeldLeases
from duebus.worker.settler import Settler
from support.fake_bus import FakeBus, deliveries, delivery, failure
from support.workers import HandlerByHand, serving, settle_down, worker_on

if TYPE_CHECKING:
    from duebus._core.delivery import Delivery
    from duebus.worker import Worker


def acking(bus: FakeBus) -> Worker:
    """A worker whose handler returns at once; the test answers its acks."""
    worker = worker_on(bus)
    bus.acks.by_hand = True

    @worker.on("orders")
    async def succeed(_: Delivery) -> None: ...

    return worker


def tokens(*many: Delivery) -> list[str]:
    return [each.lease_token for each in many]


async def test_an_idle_worker_acks_at_once_and_acks_during_a_call_share_the_next_one(bus: FakeBus) -> None:
    worker = acking(bus)
    async with serving(worker):
        stream, (first, *others) = await bus.stream(), deliveries(5)
        stream.deliver(first)
        call = await bus.acks.next()
        assert call.tokens == tokens(first)
        for each in others:
            stream.deliver(each)
            await settle_down()
        assert bus.acks.unseen == 0
        call.answer()
        call = await bus.acks.next()
        assert call.tokens == tokens(*others)
        assert call.at == 0
        call.answer()
        await settle_down()
        assert bus.acks.unseen == 0


async def test_acks_do_not_wait_for_nacks(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    bus.nacks.by_hand = True
    async with serving(worker):
        bad, good = deliveries(2)
        (await bus.stream()).deliver(bad, good)
        await handler.begins()
        handler.raises(bad, ValueError())
        nack = await bus.nacks.next()
        handler.returns(good)
        assert (await bus.acks.next()).tokens == tokens(good)
        nack.answer()


async def test_failed_settles_are_resent_with_newer_ones(bus: FakeBus) -> None:
    worker = acking(bus)
    async with serving(worker):
        stream, (first, second) = await bus.stream(), deliveries(2)
        stream.deliver(first)
        (await bus.acks.next()).fail(Unavailable("no connection"))
        stream.deliver(second)
        again = await bus.acks.next()
        assert again.tokens == tokens(first, second)
        assert 0.08 <= again.at <= 0.12
        again.answer()
        await asyncio.sleep(100)
        assert bus.acks.unseen == 0
        assert not bus.extensions.made


async def test_retries_continue_forever_at_most_a_second_apart(bus: FakeBus) -> None:
    worker = acking(bus)
    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        moments = []
        for _ in range(12):
            call = await bus.acks.next()
            assert call.tokens == tokens(event)
            moments.append(call.at)
            call.fail(Unavailable("no connection"))
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert gaps[0] <= 0.12
        assert all(0.8 <= gap <= 1.2 for gap in gaps[6:])
        (await bus.acks.next()).answer()
        await settle_down()


async def test_the_backoff_starts_over_after_a_success(bus: FakeBus) -> None:
    worker = acking(bus)
    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(delivery())
        for _ in range(8):
            (await bus.acks.next()).fail(Unavailable("no connection"))
        (await bus.acks.next()).answer()
        await settle_down()
        stream.deliver(delivery())
        failed = await bus.acks.next()
        failed.fail(Unavailable("no connection"))
        again = await bus.acks.next()
        assert again.at - failed.at <= 0.12
        again.answer()


async def test_waiting_settles_are_sent_as_soon_as_a_stream_is_open_again(bus: FakeBus) -> None:
    worker = acking(bus)
    async with serving(worker):
        event, stream = delivery(), await bus.stream()
        stream.deliver(event)
        for _ in range(8):
            (await bus.acks.next()).fail(Unavailable("no connection"))
        stream.break_off(Unavailable("no connection"))
        reopened = await bus.stream()
        assert reopened.held == tokens(event)
        call = await bus.acks.next()
        assert call.at == reopened.opened_at
        call.answer()


async def test_a_lease_that_is_lost_meanwhile_is_not_resent(bus: FakeBus) -> None:
    worker = acking(bus)
    async with serving(worker):
        stream, (lost, kept) = await bus.stream(), deliveries(2)
        stream.deliver(lost, kept)
        for _ in range(8):
            (await bus.acks.next()).fail(Unavailable("no connection"))
        bus.lost = (lost.lease_token,)
        stream.break_off(Unavailable("no connection"))
        call = await bus.acks.next()
        assert call.tokens == tokens(kept)
        call.answer()


async def test_a_pause_of_a_key_that_cannot_be_paused_becomes_a_retry(bus: FakeBus) -> None:
    worker, event = worker_on(bus), delivery(key="k")
    bus.nacks.by_hand = True

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        raise RateLimited(30)

    async with serving(worker):
        (await bus.stream()).deliver(event)
        paused = await bus.nacks.next()
        assert paused.nacks[0].pause == Pause(timedelta(seconds=30), PauseScope.KEY)
        paused.answer(failure(event, LeaseFailureReason.NO_KEY))
        retried = await bus.nacks.next()
        assert retried.tokens == [event.lease_token]
        assert (retried.nacks[0].pause, retried.nacks[0].delay) == (None, timedelta(seconds=30))
        retried.answer()


async def test_leases_that_the_server_does_not_know_are_logged_once_and_dropped(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    worker = acking(bus)
    async with serving(worker):
        many, stream = deliveries(3), await bus.stream()
        stream.deliver(*many)
        (await bus.acks.next()).answer(*(failure(each, LeaseFailureReason.MALFORMED) for each in many))
        stream.break_off(Unavailable("restart"))
        assert (await bus.stream()).held == []
        await asyncio.sleep(100)
    assert len(bus.acks.made) == 1
    assert [each.message for each in caplog.records if "acks" in each.message] == [
        "3 acks were not carried out: the server does not know these leases"
    ]


async def test_leases_of_a_stopped_engine_are_kept_for_the_next_try(bus: FakeBus) -> None:
    worker = acking(bus)
    async with serving(worker):
        done, left = deliveries(2)
        (await bus.stream()).deliver(done, left)
        (await bus.acks.next()).answer(failure(left, LeaseFailureReason.ENGINE_STOPPED))
        again = await bus.acks.next()
        assert again.tokens == tokens(left)
        assert again.at >= 0.05
        again.answer()


async def test_a_stopped_engine_is_one_warning_not_one_at_every_try(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    worker = acking(bus)
    async with serving(worker):
        left = delivery()
        (await bus.stream()).deliver(left)
        for _ in range(3):
            (await bus.acks.next()).answer(failure(left, LeaseFailureReason.ENGINE_STOPPED))
        (await bus.acks.next()).answer()
    assert caplog.text.count("1 acks were not carried out: the engine is stopped; they will be retried") == 1


async def test_a_settle_that_the_server_refuses_as_a_whole_stops_the_worker(bus: FakeBus) -> None:
    worker = acking(bus)
    async with serving(worker) as task:
        (await bus.stream()).deliver(delivery())
        (await bus.acks.next()).fail(InvalidArgument("too many"))
        with pytest.raises(InvalidArgument, match="too many"):
            await task
        assert asyncio.get_running_loop().time() <= 1


@pytest.mark.parametrize(
    ("nack", "request_bytes", "most"),
    [
        (False, 4 << 20, 10_000),
        (False, 64 << 10, 256),
        (False, 200, 1),
        (True, 4 << 20, 819),
        (True, 64 << 10, 12),
        (True, 5_000, 1),
    ],
)
async def test_a_call_is_within_the_servers_limits(bus: FakeBus, *, nack: bool, request_bytes: int, most: int) -> None:
    bus.max_request_bytes = request_bytes
    leases, settler = HeldLeases(), Settler(bus.client)
    sending = asyncio.create_task(settler.run())
    for held in leases.add(deliveries(most + 1)):
        settler.settle(held, leases, Nack(delivery=held.token) if nack else None)
    calls = bus.nacks if nack else bus.acks
    assert [len((await calls.next()).tokens) for _ in range(2)] == [most, 1]
    await leases.emptied()
    sending.cancel()


async def test_settles_of_several_subscriptions_share_calls(bus: FakeBus) -> None:
    worker = acking(bus)

    @worker.on("payments")
    async def pay(_: Delivery) -> None: ...

    async with serving(worker):
        streams = {each.request["topic"]: each for each in [await bus.stream(), await bus.stream()]}
        first, order, payment = delivery(), delivery(), delivery(topic="payments")
        streams["orders"].deliver(first)
        call = await bus.acks.next()
        streams["orders"].deliver(order)
        streams["payments"].deliver(payment)
        await settle_down()
        call.answer()
        call = await bus.acks.next()
        assert sorted(call.tokens) == sorted(tokens(order, payment))
        call.answer()


async def test_a_retried_nack_is_unchanged(bus: FakeBus) -> None:
    leases, settler = HeldLeases(), Settler(bus.client)
    bus.nacks.by_hand = True
    sending = asyncio.create_task(settler.run())
    (held,) = leases.add([delivery()])
    nack = Nack(delivery=held.token, error="closed", delay=timedelta(seconds=9))
    settler.settle(held, leases, nack)
    (await bus.nacks.next()).fail(Unavailable("no connection"))
    assert (await bus.nacks.next()).nacks == [nack]
    sending.cancel()
