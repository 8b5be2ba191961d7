"""Handlers that take the decoded payload."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from duebus.worker import Worker
from support.fake_bus import FakeBus, delivery, first_line
from support.workers import serving, worker_on

if TYPE_CHECKING:
    import duebus
    from duebus import Delivery

GOOD = b'{"number": 17}'


@dataclass
class Order:
    number: int


def order_event(data: bytes = GOOD) -> Delivery:
    return delivery(data=data)


async def test_a_handler_gets_the_payload_as_the_type_of_its_parameter(bus: FakeBus) -> None:
    worker, event, got = worker_on(bus), order_event(), []

    @worker.on("orders")
    async def bill(order: Order) -> None:
        got.append(order)

    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]
    assert got == [Order(17)]


async def test_a_handler_with_two_parameters_gets_the_delivery_too(bus: FakeBus) -> None:
    worker, event, got = worker_on(bus), order_event(), []

    @worker.on("orders")
    async def bill(order: Order, found: Delivery) -> None:
        got.append((order, found))

    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(event)
        await bus.acks.next()
    assert got == [(Order(17), event)]


async def test_a_payload_that_does_not_fit_is_a_dead_letter_and_the_handler_is_not_called(bus: FakeBus) -> None:
    worker, got = worker_on(bus), []

    @worker.on("orders")
    async def bill(order: Order) -> None:
        got.append(order)

    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(order_event(b'{"number": "17"}'))
        (nack,) = (await bus.nacks.next()).nacks
    assert nack.dead_letter
    assert nack.error == "the payload does not fit Order: number: expected an integer, got a string"
    assert got == []


@pytest.mark.real_time
async def test_a_function_on_a_thread_gets_the_payload(bus: FakeBus) -> None:
    worker, got = worker_on(bus), []

    @worker.on("orders")
    def bill(order: Order, _: Delivery) -> None:
        got.append(order)

    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(order_event())
        await bus.acks.next()
        stream.deliver(order_event(b"[]"))
        (nack,) = (await bus.nacks.next()).nacks
    assert nack.dead_letter
    assert first_line(nack) == "the payload does not fit Order: expected an object, got a list"
    assert got == [Order(17)]


class Billing:
    def __init__(self) -> None:
        self.got: list[object] = []

    async def bill(self, order: Order) -> None:
        self.got.append(order)

    async def __call__(self, order: Order) -> None:
        self.got.append(order)


async def bill_with(prefix: str, order: Order, *, got: list[object]) -> None:
    got.append((prefix, order))


async def test_methods_callable_objects_and_partial_functions_are_typed_too(bus: FakeBus) -> None:
    worker, billing = worker_on(bus), Billing()
    worker.add("orders", billing.bill)
    worker.add("orders", billing)
    worker.add("orders", functools.partial(bill_with, "p", got=billing.got))
    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(order_event())
        await bus.acks.next()
    assert sorted(billing.got, key=str) == [("p", Order(17)), Order(17), Order(17)]


async def test_annotations_that_name_no_model_leave_the_delivery(bus: FakeBus) -> None:
    worker, event, got = worker_on(bus), order_event(), []

    async def plain(each) -> None:  # type: ignore[no-untyped-def]  # without an annotation
        got.append(each)

    async def checked(each: Delivery) -> None:  # imported only for type checkers
        got.append(each)

    async def qualified(each: duebus.Delivery) -> None:
        got.append(each)

    async def anything(each: Any) -> None:
        got.append(each)

    for handler in (plain, checked, qualified, anything):
        worker.add("orders", handler)
    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(event)
        await bus.acks.next()
    assert got == [event] * 4


async def no_model(order: int, delivery: Delivery) -> None: ...


async def three(order: Order, delivery: Delivery, more: int) -> None: ...


@dataclass
class WithBytes:
    blob: bytes


async def with_bytes(order: WithBytes) -> None: ...


async def unknown(order: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821 - that is the point
    ...


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (
            no_model,
            "no_model must accept the delivery as its only argument, or the payload, annotated with a",
        ),
        (three, "three must accept the payload, or the payload and the delivery"),
        (with_bytes, "with_bytes: WithBytes.blob: bytes can't be read from JSON"),
        (unknown, "unknown: the annotation 'Nowhere' can't be evaluated: name 'Nowhere' is not defined"),
    ],
)
def test_a_handler_that_cannot_be_called_is_refused_at_once(handler: Any, problem: str) -> None:
    with pytest.raises(TypeError) as caught:
        Worker().add("orders", handler)
    assert problem in str(caught.value)
