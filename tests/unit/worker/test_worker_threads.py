"""Handlers that are not coroutine functions: they run on threads, which can't be cancelled."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest
from duebus.worker.executor import Executor
from duebus.worker.held import HeldLeases
from duebus.worker.registry import Registry
from duebus.worker.settler import Settler
from duebus.worker.threads import ThreadPool
from support.fake_bus import FakeBus, deliveries, delivery, first_line
from support.workers import serving, worker_on

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from duebus._core.delivery import Delivery

pytestmark = pytest.mark.real_time

SOON = 10.0
"""Seconds after which a thread that waits for the test gives up, so that a failed test ends."""


async def test_a_function_runs_on_a_thread_and_its_event_is_acked(bus: FakeBus) -> None:
    worker = worker_on(bus)
    ran_on = []

    @worker.on("orders")
    def bill(_: Delivery) -> None:
        ran_on.append(threading.current_thread())

    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]
    assert ran_on[0] is not threading.main_thread()
    assert ran_on[0].daemon


async def test_a_function_that_returns_a_generator_has_failed(bus: FakeBus) -> None:
    def wrapper(each: Delivery) -> object:
        return (part for part in each.event_id)

    worker = worker_on(bus)
    worker.on("orders")(wrapper)
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        (nack,) = (await bus.nacks.next()).nacks
    assert "the handler returned a generator: none of its lines has run" in nack.error


async def test_as_many_functions_run_at_once_as_concurrency_allows(bus: FakeBus) -> None:
    worker = worker_on(bus, concurrency=3)
    together = threading.Barrier(3)

    @worker.on("orders")
    def meet(_: Delivery) -> None:
        together.wait(SOON)

    async with serving(worker):
        many = deliveries(6)
        (await bus.stream()).deliver(*many)
        acked: list[str] = []
        while len(acked) < 6:
            acked += (await bus.acks.next()).tokens
    assert sorted(acked) == sorted(each.lease_token for each in many)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no"), "ValueError: no"),
        (SystemExit(2), "SystemExit: 2"),
        (StopIteration(), "RuntimeError: coroutine raised StopIteration"),
    ],
)
async def test_an_exception_of_a_function_nacks_the_event(bus: FakeBus, error: BaseException, message: str) -> None:
    worker = worker_on(bus)

    @worker.on("orders")
    def fail(_: Delivery) -> None:
        raise error

    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        assert first_line((await bus.nacks.next()).nacks[0]) == message


async def test_a_coroutine_that_a_function_returns_is_awaited(bus: FakeBus) -> None:
    worker = worker_on(bus)

    async def inner() -> None:
        raise ValueError("from inside")

    @worker.on("orders")
    def wrapped(_: Delivery) -> Awaitable[None]:
        return inner()

    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        assert first_line((await bus.nacks.next()).nacks[0]) == "ValueError: from inside"


async def test_context_variables_of_a_function_are_not_seen_by_others(bus: FakeBus) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen = []
    worker = worker_on(bus, concurrency=1)

    @worker.on("orders")
    def bill(each: Delivery) -> None:
        seen.append(tenant.get())
        tenant.set(each.event_id)

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(2))
        await bus.acks.next()
        await bus.acks.next()
    assert seen == ["nobody", "nobody"]


async def test_a_function_that_runs_too_long_is_nacked_and_keeps_its_slot_until_it_returns(bus: FakeBus) -> None:
    worker = worker_on(bus, concurrency=2, max_execution=0.05)
    begun: list[Delivery] = []
    hanging, go_on = threading.Event(), threading.Event()

    @worker.on("orders")
    def hang_once(each: Delivery) -> None:
        begun.append(each)
        if len(begun) == 1:
            hanging.set()
            go_on.wait(SOON)

    async with serving(worker):
        stream, (slow, *others) = await bus.stream(), deliveries(4)
        stream.deliver(slow)
        nack = await bus.nacks.next()
        assert nack.tokens == [slow.lease_token]
        assert nack.nacks[0].error == "cancelled: the handler ran for longer than 0.05 s"
        # The other slot still works.
        for each in others[:2]:
            stream.deliver(each)
            assert (await bus.acks.next()).tokens == [each.lease_token]
        go_on.set()
        stream.deliver(others[2])
        assert (await bus.acks.next()).tokens == [others[2].lease_token]
    # What the slow call returned was discarded.
    assert slow.lease_token not in [token for call in bus.acks.made for token in call.tokens]


async def test_when_hanging_calls_take_all_slots_the_worker_unsubscribes(bus: FakeBus) -> None:
    worker = worker_on(bus, concurrency=1, max_execution=0.05)
    go_on = threading.Event()

    @worker.on("orders")
    def hang(_: Delivery) -> None:
        go_on.wait(SOON)

    async with serving(worker):
        stream, (hanging, waiting, late) = await bus.stream(), deliveries(3)
        stream.deliver(hanging, waiting)
        assert (await bus.nacks.next()).tokens == [hanging.lease_token]
        stream.deliver(late)
        released = await bus.nacks.next()
        assert released.tokens == [waiting.lease_token, late.lease_token]
        assert all(each.release for each in released.nacks)
        await stream.closed.wait()
        assert bus.unseen_streams == 0
        go_on.set()
        again, event = await bus.stream(), delivery()
        again.deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]


async def test_a_lost_lease_discards_what_the_function_returns(bus: FakeBus) -> None:
    worker = worker_on(bus)
    begun, go_on = threading.Event(), threading.Event()

    @worker.on("orders")
    def slow(_: Delivery) -> None:
        begun.set()
        go_on.wait(SOON)

    async with serving(worker):
        stream, lost, event = await bus.stream(), *deliveries(2)
        stream.deliver(lost)
        assert await asyncio.to_thread(begun.wait, SOON)
        bus.lost = (lost.lease_token,)
        stream.close(0)
        resumed = await bus.stream()
        go_on.set()
        resumed.deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]
    assert len(bus.acks.made) == 1
    assert not bus.nacks.made


async def test_waiting_deliveries_start_when_a_hanging_call_returns(bus: FakeBus) -> None:
    begun: asyncio.Queue[Delivery] = asyncio.Queue()
    go_on, loop = threading.Event(), asyncio.get_running_loop()

    def hang_once(each: Delivery) -> None:
        loop.call_soon_threadsafe(begun.put_nowait, each)
        if each == first:
            go_on.wait(SOON)

    leases, settler, threads = HeldLeases(), Settler(bus.client), ThreadPool("test")
    registration = Registry(lambda: None).add("orders", "", hang_once, concurrency=None, max_retries=None)
    executor = Executor(
        registration.source,
        lambda: (registration,),
        leases=leases,
        settler=settler,
        threads=threads,
        concurrency=1,
        max_execution=0.05,
        on_failure=lambda _: None,
        doubt=lambda: None,
    )
    first, second = deliveries(2)
    executor.accept([first, second])
    await executor.finished()
    assert executor.slots.all_abandoned
    assert [await begun.get(), begun.qsize()] == [first, 0]
    go_on.set()
    assert await begun.get() == second
    threads.close()


async def test_threads_end_with_the_worker(bus: FakeBus) -> None:
    worker, threads = worker_on(bus), []

    @worker.on("orders")
    def bill(_: Delivery) -> None:
        threads.append(threading.current_thread())

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(3))
        await bus.acks.next()
    for thread in threads:
        await asyncio.to_thread(thread.join, SOON)
        assert not thread.is_alive()
