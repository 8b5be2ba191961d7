"""Handlers are registered and removed, before the worker runs and while it does."""

from __future__ import annotations

import asyncio
import functools
import re
from typing import TYPE_CHECKING, Any

import pytest
from duebus.errors import InvalidArgument
from duebus.worker import Worker
from support.fake_bus import FakeBus, deliveries, delivery
from support.workers import HandlerByHand, serving, settle_down, worker_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from duebus._core.delivery import Delivery


async def handler(_: Delivery) -> None: ...


def blocking_handler(_: Delivery) -> None: ...


class CallableHandler:
    async def __call__(self, _: Delivery) -> None: ...


async def test_a_decorated_function_is_returned_unchanged(bus: FakeBus) -> None:
    worker = worker_on(bus)
    assert worker.on("orders")(handler) is handler


@pytest.mark.parametrize(
    ("function", "blocking", "name"),
    [
        (handler, False, "handler"),
        (blocking_handler, True, "blocking_handler"),
        (CallableHandler(), False, "CallableHandler"),
        (functools.partial(handler), False, "handler"),
        (functools.partial(blocking_handler), True, "blocking_handler"),
    ],
)
async def test_coroutine_functions_run_in_the_loop_and_others_on_threads(
    bus: FakeBus, function: Any, *, blocking: bool, name: str
) -> None:
    registration = worker_on(bus).add("orders", function)
    assert registration.blocking is blocking
    assert registration.name == name


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"topic": ""}, "topic"),
        ({"topic": "-orders"}, "topic"),
        ({"topic": "a" * 256}, "topic"),
        ({"topic": "orders\n"}, "topic"),
        ({"group": "two words"}, "group"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 100_001}, "concurrency"),
        ({"max_retries": -1}, "max_retries"),
    ],
)
async def test_a_registration_that_cannot_work_is_refused_and_names_its_argument(
    bus: FakeBus, arguments: dict[str, Any], field: str
) -> None:
    worker = worker_on(bus)
    with pytest.raises(InvalidArgument, match=f"^{field}: "):
        worker.add(**{"topic": "orders", "handler": handler, **arguments})
    with pytest.raises(RuntimeError, match="no handlers"):
        await worker.serve()


def no_argument() -> None: ...


OR_A_PAYLOAD = (
    ", or the payload, annotated with a dataclass, TypedDict, msgspec Struct or pydantic model, and the delivery"
)


def two_arguments(_: Delivery, __: object) -> None: ...


def generator(each: Delivery) -> Iterator[Delivery]:
    yield each


async def async_generator(each: Delivery) -> AsyncIterator[Delivery]:
    yield each


class CallableGenerator:
    def __call__(self, each: Delivery) -> Iterator[Delivery]:
        yield each


NO_YIELD = "is a generator, so none of it would run: write it without yield"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"topic": 7}, "topic: expected a str, got int"),
        ({"handler": "handler"}, "handler: 'handler' can't be called"),
        ({"handler": no_argument}, "handler: no_argument must accept the delivery as its only argument"),
        (
            {"handler": two_arguments},
            "handler: two_arguments must accept the delivery as its only argument" + OR_A_PAYLOAD,
        ),
        ({"handler": generator}, f"handler: generator {NO_YIELD}"),
        ({"handler": async_generator}, f"handler: async_generator {NO_YIELD}"),
        ({"handler": functools.partial(generator)}, f"handler: generator {NO_YIELD}"),
        ({"handler": CallableGenerator()}, f"handler: CallableGenerator {NO_YIELD}"),
    ],
)
async def test_a_function_that_can_not_take_a_delivery_is_refused(
    bus: FakeBus, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        worker_on(bus).add(**{"topic": "orders", "handler": handler, **arguments})


async def test_a_decorator_without_parentheses_is_refused_where_it_is_written(bus: FakeBus) -> None:
    worker: Any = worker_on(bus)
    with pytest.raises(TypeError, match=r'write @worker\.on\("order\.created"\)'):

        @worker.on  # type: ignore[untyped-decorator]
        async def bill(_: Delivery) -> None: ...


async def test_a_worker_without_handlers_refuses_to_serve(bus: FakeBus) -> None:
    worker = worker_on(bus)
    ready = asyncio.create_task(worker.ready())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="no handlers"):
        await worker.serve()
    with pytest.raises(RuntimeError, match="has stopped"):
        await ready


async def test_a_function_that_hides_its_signature_may_be_a_handler(bus: FakeBus) -> None:
    assert worker_on(bus).add("orders", vars).name == "vars"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"prefetch": -1}, "prefetch"),
        ({"max_execution": 0}, "max_execution"),
        ({"drain_timeout": -1}, "drain_timeout"),
        ({"max_in_flight_bytes": -1}, "max_in_flight_bytes"),
        ({"max_in_flight_bytes": (1 << 30) + 1}, "max_in_flight_bytes"),
        ({"lease": float("inf")}, "lease"),
        ({"lease": float("nan")}, "lease"),
        ({"lease": -1}, "lease"),
        ({"lease": 0.05}, "lease"),
        ({"lease": 12 * 3600 + 1}, "lease"),
    ],
)
def test_a_worker_that_cannot_work_is_refused_and_names_its_argument(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{field}: "):
        Worker(**arguments)


NO_WHOLE_NUMBERS = [2.5, 2.0, float("nan"), True, "2"]


@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS)
@pytest.mark.parametrize("field", ["concurrency", "prefetch", "max_in_flight_bytes"])
def test_a_setting_that_counts_must_be_a_whole_number(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{field}: expected an int, got {type(value).__name__}$"):
        Worker(**{field: value})


@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS)
@pytest.mark.parametrize("field", ["concurrency", "max_retries", "batch"])
def test_a_number_of_a_handler_must_be_a_whole_number(field: str, value: Any) -> None:
    """A batch of 2.5 never was full, and waited for its time to be over."""
    with pytest.raises(TypeError, match=f"^{field}: expected an int, got {type(value).__name__}$"):
        Worker().add("orders", lambda _: None, **{field: value})


@pytest.mark.parametrize("value", [True, "2"])
@pytest.mark.parametrize("field", ["lease", "max_execution", "drain_timeout"])
def test_a_duration_of_a_worker_must_be_a_timedelta_or_a_number(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{field}: expected a timedelta or seconds, got {type(value).__name__}$"):
        Worker(**{field: value})


async def test_the_same_handler_can_be_registered_once_for_a_topic_and_group(bus: FakeBus) -> None:
    worker = worker_on(bus)
    worker.add("orders", handler)
    worker.add("orders", handler, group="billing")
    worker.add("payments", handler)
    with pytest.raises(InvalidArgument, match="is already registered for orders/default"):
        worker.add("orders", handler, group="default")


async def test_the_group_is_the_handlers_the_workers_or_the_default(bus: FakeBus) -> None:
    worker = worker_on(bus, group="billing")
    worker.add("a", handler)
    worker.add("b", handler, group="audit")
    worker.add("c", handler, group="")
    async with serving(worker):
        requests = [(await bus.stream()).request for _ in range(3)]
    assert {each["topic"]: each["group"] for each in requests} == {"a": "billing", "b": "audit", "c": "default"}


async def test_ready_waits_for_every_handler_including_new_ones(bus: FakeBus) -> None:
    worker = worker_on(bus)
    worker.add("orders", handler)
    async with serving(worker):
        assert bus.unseen_streams == 1
        worker.add("payments", handler)
        await worker.ready()
        assert bus.unseen_streams == 2


async def test_a_handler_added_to_an_open_subscription_gets_the_next_events(bus: FakeBus) -> None:
    worker = worker_on(bus)
    first, second = HandlerByHand(), HandlerByHand()
    worker.add("orders", first)
    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(delivery())
        await first.begins()
        worker.add("orders", second)
        event = delivery()
        stream.deliver(event)
        assert await second.begins() == event
        assert await first.begins() == event
        assert bus.unseen_streams == 0


@pytest.mark.real_time
async def test_handlers_may_be_added_and_removed_from_another_thread(bus: FakeBus) -> None:
    worker = worker_on(bus)
    worker.add("payments", handler)
    async with serving(worker):
        await bus.stream()
        registration = await asyncio.to_thread(worker.add, "orders", handler)
        stream = await bus.stream()
        await asyncio.to_thread(registration.remove)
        await stream.closed.wait()


async def test_removing_the_last_handler_finishes_running_deliveries_and_releases_the_others(bus: FakeBus) -> None:
    worker, removed = worker_on(bus, concurrency=1), HandlerByHand()
    registration = worker.add("orders", removed)
    worker.add("payments", handler)
    async with serving(worker) as task:
        orders, _ = sorted([await bus.stream(), await bus.stream()], key=lambda each: each.request["topic"])
        running, *unstarted = many = deliveries(2)
        orders.deliver(*many)
        await removed.begins()
        registration.remove()
        await orders.closed.wait()
        call = await bus.nacks.next()
        assert call.tokens == [each.lease_token for each in unstarted]
        assert all(each.release for each in call.nacks)
        removed.returns(running)
        assert (await bus.acks.next()).tokens == [running.lease_token]
        assert removed.begun == [running]
        assert not task.done()


async def test_a_topic_may_get_a_handler_again_while_the_old_one_finishes(bus: FakeBus) -> None:
    worker, old, new = worker_on(bus), HandlerByHand(), HandlerByHand()
    registration = worker.add("orders", old)
    async with serving(worker):
        first = await bus.stream()
        first.deliver(delivery())
        event = await old.begins()
        registration.remove()
        await first.closed.wait()
        worker.add("orders", new)
        (await bus.stream()).deliver(delivery())
        new.returns(await new.begins())
        await bus.acks.next()
        old.returns(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]


async def test_replacing_a_handler_keeps_the_subscription(bus: FakeBus) -> None:
    worker, old, new = worker_on(bus), HandlerByHand(), HandlerByHand()
    registration = worker.add("orders", old)
    async with serving(worker):
        stream = await bus.stream()
        registration.remove()
        worker.add("orders", new)
        await settle_down()
        stream.deliver(delivery())
        await new.begins()
        assert not stream.closed.is_set()
        assert not old.begun


async def test_removing_unregisters_the_function_in_every_group(bus: FakeBus) -> None:
    worker = worker_on(bus)
    for group in ("a", "b"):
        worker.add("orders", handler, group=group)
    worker.add("payments", handler)
    worker.remove("orders", handler)
    with pytest.raises(LookupError, match="orders"):
        worker.remove("orders", handler)
    async with serving(worker):
        assert (await bus.stream()).request["topic"] == "payments"
        assert bus.unseen_streams == 0


async def test_removing_twice_is_harmless(bus: FakeBus) -> None:
    worker = worker_on(bus)
    registration = worker.add("orders", handler)
    registration.remove()
    worker.add("orders", handler)
    registration.remove()
    async with serving(worker):
        assert bus.unseen_streams == 1
