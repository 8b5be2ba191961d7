"""Draining and stopping at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from duebus.errors import Unavailable
from duebus.worker.executor import Executor
from duebus.worker.held import HeldLeases
from duebus.worker.registry import Registry
from duebus.worker.settler import Settler
from duebus.worker.signals import stop_on_signals
from duebus.worker.threads import ThreadPool
from support.fake_bus import FakeBus, deliveries, delivery, first_line
from support.workers import HandlerByHand, serving, settle_down, worker_on

if TYPE_CHECKING:
    from duebus._core.delivery import Delivery


def tokens(*many: Delivery) -> list[str]:
    return [each.lease_token for each in many]


async def released(bus: FakeBus) -> list[str]:
    """The leases that the next call gives back without counting an attempt."""
    call = await bus.nacks.next()
    assert all(each.release and not each.dead_letter and each.delay is None for each in call.nacks)
    return call.tokens


def executor_of(handler: HandlerByHand, leases: HeldLeases, settler: Settler) -> Executor:
    """An executor without a stream, with two slots."""
    registration = Registry(lambda: None).add("orders", "", handler, concurrency=None, max_retries=None)
    return Executor(
        registration.source,
        lambda: (registration,),
        leases=leases,
        settler=settler,
        threads=ThreadPool("test"),
        concurrency=2,
        max_execution=50,
        on_failure=lambda _: None,
        doubt=lambda: None,
    )


async def test_a_stop_finishes_running_handlers_and_releases_the_rest(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=2), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker) as task:
        stream, (good, bad, *unstarted) = await bus.stream(), deliveries(4)
        stream.deliver(good, bad, *unstarted)
        await settle_down()
        worker.request_stop()
        await stream.closed.wait()
        assert await released(bus) == tokens(*unstarted)
        handler.returns(good)
        assert (await bus.acks.next()).tokens == tokens(good)
        assert not task.done()
        handler.raises(bad, ValueError("no"))
        assert first_line((await bus.nacks.next()).nacks[0]) == "ValueError: no"
        await task
    assert handler.begun == [good, bad]
    assert not handler.cancelled
    assert bus.unseen_streams == 0


async def test_a_full_window_needs_no_wait(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=2), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(*deliveries(4))
        await settle_down()
        worker.request_stop()
        await stream.closed.wait()
        assert asyncio.get_running_loop().time() == 0


async def test_a_delivery_in_flight_when_the_stop_begins_is_released(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker) as task:
        stream, first, late, later = await bus.stream(), *deliveries(3)
        stream.deliver(first)
        await handler.begins()
        worker.request_stop()
        for each in (late, later):
            await asyncio.sleep(0.04)
            stream.deliver(each)
        handler.returns(first)
        assert await released(bus) == tokens(late, later)
        await task
    assert handler.begun == [first]


async def test_nothing_is_settled_while_deliveries_may_be_in_flight(
    bus: FakeBus,
) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker) as task:
        stream, (good, bad, fine) = await bus.stream(), deliveries(3)
        stream.deliver(good, bad, fine)
        await settle_down()
        worker.request_stop()
        await settle_down()
        handler.returns(good)
        handler.raises(bad, ValueError())
        handler.returns(fine)
        await settle_down()
        assert not stream.closed.is_set()
        assert not bus.acks.made
        assert not bus.nacks.made
        await stream.closed.wait()
        assert (await bus.acks.next()).tokens == tokens(good, fine)
        assert (await bus.nacks.next()).tokens == tokens(bad)
        await task


async def test_a_settle_that_is_held_back_is_dropped_if_its_lease_is_lost(bus: FakeBus) -> None:
    handler, leases, settler = HandlerByHand(), HeldLeases(), Settler(bus.client)
    executor = executor_of(handler, leases, settler)
    sending = asyncio.create_task(settler.run())
    lost, kept = deliveries(2)
    executor.accept([lost, kept])
    await settle_down()
    executor.pause()
    handler.returns(lost)
    handler.returns(kept)
    await executor.finished()
    leases.lose([lost.lease_token])
    executor.release()
    assert (await bus.acks.next()).tokens == tokens(kept)
    sending.cancel()


async def test_a_handler_added_while_the_worker_stops_opens_nothing(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker) as task:
        stream, event = await bus.stream(), delivery()
        stream.deliver(event)
        await handler.begins()
        worker.request_stop()
        await stream.closed.wait()
        worker.add("payments", handler)
        handler.returns(event)
        await task
        assert bus.unseen_streams == 0


async def test_a_window_that_pending_settles_will_free_is_not_full(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=1), HandlerByHand()
    worker.add("orders", handler)
    bus.acks.by_hand = True
    async with serving(worker) as task:
        stream, late = await bus.stream(), delivery()
        stream.deliver(*deliveries(2))
        handler.returns(await handler.begins())
        ack = await bus.acks.next()
        last = await handler.begins()
        worker.request_stop()
        await settle_down()
        ack.answer()
        stream.deliver(late)
        assert await released(bus) == tokens(late)
        handler.returns(last)
        (await bus.acks.next()).answer()
        await task


async def test_a_server_that_keeps_sending_does_not_delay_the_stop(bus: FakeBus) -> None:
    worker = worker_on(bus, concurrency=1000)
    worker.add("orders", HandlerByHand())
    async with serving(worker) as task:
        stream = await bus.stream()
        worker.request_stop()
        while not stream.closed.is_set():
            stream.deliver(delivery())
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() == pytest.approx(1, abs=0.02)
        await task


async def test_leases_of_running_handlers_are_kept_while_it_drains(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, lease=30, drain_timeout=25), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        event, stream = delivery(), await bus.stream()
        stream.deliver(event)
        await handler.begins()
        worker.request_stop()
        await stream.closed.wait()
        first, second = await bus.extensions.next(), await bus.extensions.next()
        assert first.tokens == second.tokens == tokens(event)
        assert first.at <= 0.4
        assert second.at - first.at == pytest.approx(1 / 3)


async def test_a_stop_waits_for_settles_that_the_server_has_not_confirmed(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    bus.acks.by_hand = True
    async with serving(worker) as task:
        (await bus.stream()).deliver(delivery())
        handler.returns(await handler.begins())
        (await bus.acks.next()).fail(Unavailable("no connection"))
        worker.request_stop()
        again = await bus.acks.next()
        assert not task.done()
        again.answer()
        await task


async def test_after_the_drain_timeout_handlers_are_cancelled_and_their_events_released(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, drain_timeout=10), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker) as task:
        event = delivery()
        (await bus.stream()).deliver(event)
        await handler.begins()
        worker.request_stop()
        await task
        assert handler.cancelled == [event]
        assert await released(bus) == tokens(event)
        assert asyncio.get_running_loop().time() == pytest.approx(10, abs=0.1)


async def test_an_immediate_stop_cancels_and_releases_all(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=1), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker) as task:
        running, waiting = deliveries(2)
        (await bus.stream()).deliver(running, waiting)
        await handler.begins()
        worker.request_stop(now=True)
        await task
        assert handler.cancelled == [running]
        assert sorted(token for call in bus.nacks.made for token in call.tokens) == sorted(tokens(running, waiting))
        assert all(each.release for call in bus.nacks.made for each in call.nacks)
        assert asyncio.get_running_loop().time() == 0


async def test_an_immediate_second_stop_ends_a_drain(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker) as task:
        stream, event = await bus.stream(), delivery()
        stream.deliver(event)
        await handler.begins()
        worker.request_stop()
        await stream.closed.wait()
        worker.request_stop()
        await settle_down()
        assert not task.done()
        worker.request_stop(now=True)
        await task
        assert await released(bus) == tokens(event)


async def test_a_cancelled_serve_releases_what_it_holds(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    task = asyncio.create_task(worker.serve())
    event = delivery()
    (await bus.stream()).deliver(event)
    await handler.begins()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await released(bus) == tokens(event)


async def test_a_handler_that_is_cancelled_before_its_first_step_never_runs_and_its_event_is_released(
    bus: FakeBus,
) -> None:
    handler, leases, settler = HandlerByHand(), HeldLeases(), Settler(bus.client)
    executor = executor_of(handler, leases, settler)
    event = delivery()
    sending = asyncio.create_task(settler.run())
    executor.accept([event])
    executor.cancel_all()
    await executor.finished()
    assert await released(bus) == tokens(event)
    assert not handler.begun
    assert executor.slots.free == 2
    sending.cancel()


async def test_a_handler_that_does_not_end_is_left_to_its_lease_within_a_second(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    worker = worker_on(bus)
    free = asyncio.Event()

    @worker.on("orders")
    async def stubborn(_: Delivery) -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    async with serving(worker) as task:
        (await bus.stream()).deliver(delivery())
        await settle_down()
        worker.request_stop(now=True)
        await task
        assert asyncio.get_running_loop().time() == pytest.approx(1)
        free.set()
    assert "stopped with 1 unsettled leases" in caplog.text
    assert not bus.nacks.made


async def test_an_unreachable_server_does_not_delay_an_immediate_stop(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    bus.nacks.by_hand = True
    async with serving(worker) as task:
        (await bus.stream()).deliver(delivery())
        await handler.begins()
        worker.request_stop(now=True)
        await task
        assert asyncio.get_running_loop().time() == pytest.approx(1)


async def test_stop_returns_when_the_run_has_ended(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker) as task:
        (await bus.stream()).deliver(delivery())
        event = await handler.begins()
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(5)
        assert not stopping.done()
        handler.returns(event)
        await stopping
        await settle_down()
        assert task.done()


async def test_stopping_a_worker_that_does_not_serve_does_nothing(bus: FakeBus) -> None:
    worker = worker_on(bus)
    worker.request_stop()
    await worker.stop()


async def test_a_worker_may_serve_again_but_not_twice_at_once(bus: FakeBus) -> None:
    worker, handler = worker_on(bus), HandlerByHand()
    worker.add("orders", handler)
    for _ in range(2):
        async with serving(worker):
            with pytest.raises(RuntimeError, match="already serving"):
                await worker.serve()
            (await bus.stream()).deliver(delivery())
            handler.returns(await handler.begins())
            await bus.acks.next()


@pytest.mark.real_time
async def test_a_stop_may_be_requested_from_another_thread(bus: FakeBus) -> None:
    worker = worker_on(bus)
    worker.add("orders", HandlerByHand())
    async with serving(worker) as task:
        await asyncio.to_thread(worker.request_stop)
        await task


@pytest.mark.real_time
async def test_the_first_signal_and_later_ones_differ_and_handlers_are_restored() -> None:
    signals: asyncio.Queue[str] = asyncio.Queue()
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_on_signals(lambda: signals.put_nowait("first"), lambda: signals.put_nowait("later")):
        for number, expected in ((signal.SIGTERM, "first"), (signal.SIGINT, "later"), (signal.SIGTERM, "later")):
            os.kill(os.getpid(), number)
            assert await signals.get() == expected
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_run_serves_until_it_is_stopped() -> None:
    run_with_a_handler_that_stops_it()


def test_run_works_in_another_thread_too() -> None:
    thread = threading.Thread(target=run_with_a_handler_that_stops_it)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def run_with_a_handler_that_stops_it() -> None:
    bus, event = FakeBus(), delivery()
    worker = worker_on(bus)

    @worker.on("orders")
    async def stop(_: Delivery) -> None:
        worker.request_stop()

    bus.greeting = (event,)
    worker.run()
    assert bus.acks.made[0].tokens == tokens(event)
