"""Handlers that share a task one after the other do not affect each other, and do not block the loop."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.fake_bus import FakeBus, deliveries, delivery
from support.workers import HandlerByHand, serving, settle_down, worker_on

if TYPE_CHECKING:
    from duebus._core.delivery import Delivery
    from support.virtual_time import VirtualTimeLoop


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise ValueError("which of them?")

    __hash__ = None  # type: ignore[assignment]


tenant: ContextVar[Any] = ContextVar("tenant")


async def acked(bus: FakeBus, how_many: int) -> list[str]:
    """The next acked leases."""
    tokens: list[str] = []
    while len(tokens) < how_many:
        tokens += (await bus.acks.next()).tokens
    return tokens


def task_of_handler() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def test_handlers_that_do_not_suspend_share_a_task(bus: FakeBus) -> None:
    worker, tasks = worker_on(bus), set()

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        tasks.add(task_of_handler())

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(50))
        await acked(bus, 50)
    assert len(tasks) == 1


async def test_a_handler_has_one_task_and_shares_it_with_none_once_it_suspends(bus: FakeBus) -> None:
    worker, tasks = worker_on(bus), []

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        before = task_of_handler()
        await asyncio.sleep(1)
        assert task_of_handler() is before
        tasks.append(before)

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(50))
        await acked(bus, 50)
    assert len(set(tasks)) == 50


@pytest.mark.parametrize("concurrency", [1, 3, 100])
@pytest.mark.parametrize("suspends_every", [1, 2, 7])
async def test_handlers_start_in_the_order_of_the_deliveries(
    bus: FakeBus, concurrency: int, suspends_every: int
) -> None:
    worker, begun = worker_on(bus, concurrency=concurrency), []

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        begun.append(each)
        if len(begun) % suspends_every == 0:
            await asyncio.sleep(len(begun) % 3)

    async with serving(worker):
        stream, many = await bus.stream(), deliveries(100)
        stream.deliver(*many[:60])
        stream.deliver(*many[60:])
        await acked(bus, 100)
    assert begun == many


async def test_a_suspended_handler_does_not_delay_others(bus: FakeBus) -> None:
    worker = worker_on(bus)
    ended: list[Delivery] = []

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        if each == slow:
            await asyncio.sleep(3600)
        ended.append(each)

    async with serving(worker):
        slow, *others = many = deliveries(40)
        (await bus.stream()).deliver(*many)
        await acked(bus, 39)
        assert ended == others
        assert asyncio.get_running_loop().time() == 0


async def test_as_many_handlers_run_at_once_as_concurrency_allows(bus: FakeBus) -> None:
    worker, handler = worker_on(bus, concurrency=70), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        many = deliveries(100)
        (await bus.stream()).deliver(*many)
        await settle_down()
        assert handler.begun == many[:70]
        for each in many[:20]:
            handler.returns(each)
        await settle_down()
        assert handler.begun == many[:90]


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize("value", ["somebody", Incomparable()])
async def test_context_variables_of_a_handler_are_not_seen_by_the_next_in_its_task(
    bus: FakeBus, value: object, *, suspends: bool
) -> None:
    worker, seen, troubles = worker_on(bus, concurrency=1), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))
    tenant.set("nobody")

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        seen.append(tenant.get())
        tenant.set(value)
        if suspends:
            await asyncio.sleep(1)

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(3))
        await acked(bus, 3)
    assert seen == ["nobody"] * 3
    gc.collect()  # a failed task is logged when it is collected
    assert not troubles


async def test_a_variable_set_to_an_equal_value_is_not_seen_by_the_next(bus: FakeBus) -> None:
    worker, seen = worker_on(bus), []
    given: dict[str, str] = {}
    tenant.set(given)

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        seen.append(tenant.get())
        tenant.set({})

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(10))
        await acked(bus, 10)
    assert len(seen) == 10
    assert all(each is given for each in seen)


async def test_a_variable_that_is_reset_does_not_end_the_task(bus: FakeBus) -> None:
    worker, tasks = worker_on(bus), set()
    tenant.set("nobody")

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        tasks.add(task_of_handler())
        tenant.reset(tenant.set("somebody"))

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(10))
        await acked(bus, 10)
    assert len(tasks) == 1


async def test_many_handlers_that_set_a_variable_start_in_one_turn(bus: FakeBus) -> None:
    worker, turns, at = worker_on(bus), 0, []

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        at.append(turns)
        tenant.set(each.event_id)

    async with serving(worker):
        counting = asyncio.create_task(count_turns())
        (await bus.stream()).deliver(*deliveries(200))
        await acked(bus, 200)
        counting.cancel()
    assert max(at.count(turn) for turn in at) == 32


async def test_variables_of_the_serving_context_are_seen_by_all(bus: FakeBus) -> None:
    worker, seen = worker_on(bus), []

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        seen.append(tenant.get())

    tenant.set("the house")
    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(2))
        await acked(bus, 2)
    assert seen == ["the house"] * 2


@pytest.mark.parametrize("uncancels", [False, True])
async def test_a_handler_that_cancels_its_own_task_does_not_affect_the_next(bus: FakeBus, *, uncancels: bool) -> None:
    worker = worker_on(bus)
    ended: list[Delivery] = []

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        if each == first:
            task_of_handler().cancel()
            if uncancels:
                task_of_handler().uncancel()
            return
        await asyncio.sleep(0)
        ended.append(each)

    async with serving(worker):
        first, *others = many = deliveries(3)
        (await bus.stream()).deliver(*many)
        assert len(await acked(bus, 3)) == 3
    assert ended == others


async def test_a_late_cancel_affects_no_other_handler(bus: FakeBus) -> None:
    worker = worker_on(bus, concurrency=1)
    ended: list[Delivery] = []

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        # A handler should cancel such a timer, but this one does not.
        asyncio.get_running_loop().call_later(5, task_of_handler().cancel)
        await asyncio.sleep(3)
        ended.append(each)

    async with serving(worker):
        many = deliveries(4)
        (await bus.stream()).deliver(*many)
        await acked(bus, 4)
    assert ended == many
    assert not bus.nacks.made


async def test_a_timeout_in_a_handler_ends_only_its_block(bus: FakeBus) -> None:
    worker, late = worker_on(bus), []

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(3600)
        except TimeoutError:
            late.append(each)
        await asyncio.sleep(1)

    async with serving(worker):
        many = deliveries(3)
        (await bus.stream()).deliver(*many)
        await acked(bus, 3)
    assert len(late) == 3
    assert set(late) == set(many)


async def test_a_handler_that_runs_too_long_is_cancelled_alone(bus: FakeBus) -> None:
    worker = worker_on(bus, concurrency=2, max_execution=10)
    ended: list[Delivery] = []

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        await asyncio.sleep(3600 if each == slow else 7)
        ended.append(each)

    async with serving(worker):
        slow, *others = many = deliveries(4)
        (await bus.stream()).deliver(*many)
        assert (await bus.nacks.next()).tokens == [slow.lease_token]
        await acked(bus, 3)
    assert ended == others


async def test_a_handler_that_raises_does_not_end_those_behind_it(bus: FakeBus) -> None:
    worker = worker_on(bus)

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        if each == bad:
            raise ValueError("no")

    async with serving(worker):
        good, bad, last = many = deliveries(3)
        (await bus.stream()).deliver(*many)
        assert await acked(bus, 2) == [good.lease_token, last.lease_token]
        assert (await bus.nacks.next()).tokens == [bad.lease_token]


@pytest.mark.parametrize("suspends_first", [0, 40])
async def test_the_loop_runs_between_handlers_that_compute(bus: FakeBus, suspends_first: int) -> None:
    worker, turns, at = worker_on(bus), 0, []
    loop = cast("VirtualTimeLoop", asyncio.get_running_loop())

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        at.append(turns)
        loop.compute(0.0004)
        if len(at) <= suspends_first:
            await asyncio.sleep(0)

    async with serving(worker):
        counting = asyncio.create_task(count_turns())
        (await bus.stream()).deliver(*deliveries(suspends_first + 60))
        await acked(bus, suspends_first + 60)
        counting.cancel()
    # A turn lasts a millisecond; the third handler exceeds it and is the last of its turn.
    assert max(at.count(turn) for turn in at) == 3


async def test_a_handler_that_removes_itself_gets_no_other_event(bus: FakeBus) -> None:
    worker, begun = worker_on(bus), []

    async def once(each: Delivery) -> None:
        begun.append(each)
        registration.remove()

    registration = worker.add("orders", once)
    async with serving(worker):
        first, *others = many = deliveries(3)
        (await bus.stream()).deliver(*many)
        assert await acked(bus, 1) == [first.lease_token]
        released = await bus.nacks.next()
        assert released.tokens == [each.lease_token for each in others]
        assert all(each.release for each in released.nacks)
    assert begun == [first]


async def test_a_handler_added_meanwhile_gets_waiting_events(bus: FakeBus) -> None:
    worker, added = worker_on(bus), HandlerByHand()

    @worker.on("orders")
    async def once(_: Delivery) -> None:
        if not added.begun:
            worker.add("orders", added)
            worker.remove("orders", once)

    async with serving(worker):
        first, second = delivery(), delivery()
        (await bus.stream()).deliver(first, second)
        assert await added.begins() == second
        added.returns(second)
        await acked(bus, 2)


async def test_a_task_factory_without_a_context_argument_works(bus: FakeBus) -> None:
    worker, seen = worker_on(bus, concurrency=1), []
    tenant.set("nobody")

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        seen.append(tenant.get())
        tenant.set("somebody")

    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(2))
        await acked(bus, 2)
    assert seen == ["nobody"] * 2
