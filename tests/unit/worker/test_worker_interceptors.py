"""Interceptors come between a worker and each call of a handler."""

from __future__ import annotations

import contextvars
import re
from typing import TYPE_CHECKING, Any, cast

import pytest
from duebus.worker import DeadLetter, HandlerInterceptor, HandlerNext, Registration
from support.fake_bus import FakeBus, deliveries, delivery, first_line
from support.workers import HandlerByHand, serving, worker_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus._core.delivery import Delivery

REQUEST = contextvars.ContextVar("REQUEST", default="")


def noting(name: str, notes: list[Any]) -> HandlerInterceptor:
    """An interceptor that notes what it was called with, and what the handler did."""

    async def interceptor(handler: Registration, many: Sequence[Delivery], call_next: HandlerNext) -> None:
        notes.append((name, handler.name.rpartition(".")[2], str(handler.source), [each.event_id for each in many]))
        try:
            notes.append((name, await call_next()))
        except Exception as error:
            notes.append((name, str(error)))
            raise

    return interceptor


async def test_the_first_interceptor_is_the_outermost(bus: FakeBus) -> None:
    notes: list[Any] = []
    worker, event = worker_on(bus, interceptors=[noting("a", notes), noting("b", notes)]), delivery()

    @worker.on("orders", group="billing")
    async def bill(_: Delivery) -> str:
        notes.append("bill")
        return "billed"

    async with serving(worker):
        (await bus.stream()).deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]
    called = ("bill", "orders/billing", [event.event_id])
    assert notes == [("a", *called), ("b", *called), "bill", ("b", "billed"), ("a", "billed")]


async def test_what_an_interceptor_raises_decides_about_the_event(bus: FakeBus) -> None:
    async def translating(_: Registration, __: Sequence[Delivery], call_next: HandlerNext) -> None:
        try:
            await call_next()
        except ValueError as error:
            raise DeadLetter(f"refused: {error}") from error

    worker = worker_on(bus, interceptors=[translating])

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        raise ValueError("no such customer")

    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        (nack,) = (await bus.nacks.next()).nacks
    assert (first_line(nack), nack.dead_letter) == ("refused: no such customer", True)


async def test_an_interceptor_that_does_not_call_the_handler_acks_the_event(bus: FakeBus) -> None:
    async def skipping(*_: object) -> None: ...

    worker, handler, event = worker_on(bus, interceptors=[skipping]), HandlerByHand(), delivery()
    worker.add("orders", handler)
    async with serving(worker):
        (await bus.stream()).deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]
    assert not handler.begun


async def test_an_interceptor_that_is_no_coroutine_function_is_named_in_the_error(bus: FakeBus) -> None:
    def forgetful(*_: object) -> None: ...

    worker, handler = worker_on(bus, interceptors=[cast("HandlerInterceptor", forgetful)]), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        (nack,) = (await bus.nacks.next()).nacks
    assert re.fullmatch("TypeError: the interceptor <.*forgetful.*> must be a coroutine function", first_line(nack))


async def test_a_batch_has_one_call_and_keeps_its_outcomes_although_the_interceptor_returns_nothing(
    bus: FakeBus,
) -> None:
    notes: list[Any] = []
    worker, (good, bad) = worker_on(bus, interceptors=[noting("a", notes)]), deliveries(2)
    outcomes = [None, ValueError("no")]

    @worker.on("orders", batch=2)
    async def store(_: list[Delivery]) -> list[Any]:
        return outcomes

    async with serving(worker):
        (await bus.stream()).deliver(good, bad)
        assert (await bus.acks.next()).tokens == [good.lease_token]
        assert (await bus.nacks.next()).tokens == [bad.lease_token]
    assert notes == [("a", "store", "orders/default", [good.event_id, bad.event_id]), ("a", outcomes)]


async def test_the_time_limit_includes_interceptors_and_they_are_cancelled(bus: FakeBus) -> None:
    notes: list[str] = []

    async def cleaning(_: Registration, __: Sequence[Delivery], call_next: HandlerNext) -> None:
        try:
            await call_next()
        finally:
            notes.append("cleaned")

    worker, handler = worker_on(bus, max_execution=5, interceptors=[cleaning]), HandlerByHand()
    worker.add("orders", handler)
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        (nack,) = (await bus.nacks.next()).nacks
    assert first_line(nack) == "cancelled: the handler ran for longer than 5 s"
    assert notes == ["cleaned"]


@pytest.mark.real_time
async def test_a_function_on_a_thread_sees_the_context_variables_of_the_interceptor(bus: FakeBus) -> None:
    seen: list[str] = []

    async def naming(_: Registration, many: Sequence[Delivery], call_next: HandlerNext) -> None:
        REQUEST.set(many[0].event_id)
        await call_next()

    worker, event = worker_on(bus, interceptors=[naming]), delivery()

    @worker.on("orders")
    def bill(_: Delivery) -> None:
        seen.append(REQUEST.get())

    async with serving(worker):
        (await bus.stream()).deliver(event)
        await bus.acks.next()
    assert seen == [event.event_id]
    assert REQUEST.get() == ""
