"""Handlers that take several events at once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence  # noqa: TC003 - the annotation of a handler is read
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from duebus._core.limits import Pause, PauseScope
from duebus.errors import InvalidArgument
from duebus.worker import DeadLetter, RateLimited, Release, RetryAfter, Worker
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.fake_bus import FakeBus, deliveries, delivery, first_line
from support.virtual_time import VirtualTimeLoop
from support.workers import HandlerByHand, serving, settle_down, worker_on

if TYPE_CHECKING:
    from collections.abc import Callable

    import duebus
    from duebus import Delivery, Nack

SOON = 10.0
"""Seconds after which a thread that waits for the test gives up, so that a failed test ends."""


class BatchByHand:
    """A batch handler whose calls the test sees and ends."""

    def __init__(self) -> None:
        self.cancelled: list[list[Delivery]] = []
        self._calls: asyncio.Queue[tuple[list[Delivery], asyncio.Future[Any]]] = asyncio.Queue()

    async def __call__(self, batch: list[Delivery]) -> Any:
        end = asyncio.get_running_loop().create_future()
        self._calls.put_nowait((batch, end))
        try:
            return await end
        except asyncio.CancelledError:
            self.cancelled.append(batch)
            raise

    async def begins(self) -> tuple[list[Delivery], asyncio.Future[Any]]:
        """The next batch that it is called with, and its end."""
        return await self._calls.get()


async def acked(bus: FakeBus, how_many: int) -> list[str]:
    """The next acked leases."""
    tokens: list[str] = []
    while len(tokens) < how_many:
        tokens += (await bus.acks.next()).tokens
    return tokens


async def nacked(bus: FakeBus, how_many: int) -> dict[str, Nack]:
    """The next nacks, by lease."""
    nacks: dict[str, Nack] = {}
    while len(nacks) < how_many:
        nacks |= {str(each.delivery): each for each in (await bus.nacks.next()).nacks}
    return nacks


def tokens_of(events: Sequence[Delivery]) -> list[str]:
    return [each.lease_token for each in events]


def now() -> float:
    return asyncio.get_running_loop().time()


# --- when a batch is handled ---


async def test_a_full_batch_is_handled_at_once(bus: FakeBus) -> None:
    worker, handler, many = worker_on(bus), BatchByHand(), deliveries(3)
    worker.add("orders", handler, batch=3, wait=60)
    async with serving(worker):
        began = now()
        (await bus.stream()).deliver(*many)
        batch, end = await handler.begins()
        assert (batch, now()) == (many, began)
        await settle_down()
        assert not bus.acks.made
        end.set_result(None)
        assert await acked(bus, 3) == tokens_of(many)


async def test_the_wait_begins_with_the_first_event(bus: FakeBus) -> None:
    worker, handler, (first, second) = worker_on(bus), BatchByHand(), deliveries(2)
    worker.add("orders", handler, batch=3, wait=timedelta(seconds=2))
    async with serving(worker):
        stream = await bus.stream()
        await asyncio.sleep(100)
        began = now()
        stream.deliver(first)
        await asyncio.sleep(1.5)
        stream.deliver(second)
        batch, end = await handler.begins()
        assert (batch, now()) == ([first, second], began + 2)
        end.set_result(None)
        await acked(bus, 2)


async def test_the_next_batch_is_collected_while_one_is_handled(bus: FakeBus) -> None:
    worker, handler, many = worker_on(bus, concurrency=4), BatchByHand(), deliveries(4)
    worker.add("orders", handler, batch=2, wait=60)
    async with serving(worker):
        (await bus.stream()).deliver(*many)
        first, end_of_first = await handler.begins()
        second, end_of_second = await handler.begins()
        assert first + second == many
        end_of_second.set_result(None)
        assert await acked(bus, 2) == tokens_of(second)
        end_of_first.set_result(None)
        assert await acked(bus, 2) == tokens_of(first)


async def test_a_batch_is_no_larger_than_it_may_be(bus: FakeBus) -> None:
    worker, sizes = worker_on(bus), []

    @worker.on("orders", batch=30)
    async def store(batch: list[Delivery]) -> None:
        sizes.append(len(batch))

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(100))
        await acked(bus, 100)
    assert sizes == [30, 30, 30, 10]


@pytest.mark.parametrize(("concurrency", "batch", "window"), [(10, 100, 200), (64, 10, 128)])
async def test_the_window_has_room_for_a_batch(bus: FakeBus, concurrency: int, batch: int, window: int) -> None:
    worker = worker_on(bus, concurrency=concurrency)
    worker.add("orders", BatchByHand(), batch=batch)
    async with serving(worker):
        assert (await bus.stream()).request["max_in_flight"] == window


async def test_leases_are_extended_while_a_batch_is_collected_and_the_time_limit_does_not_run(bus: FakeBus) -> None:
    worker, handler, event = worker_on(bus, max_execution=1, lease=3), BatchByHand(), delivery()
    worker.add("orders", handler, batch=2, wait=30)
    async with serving(worker):
        (await bus.stream()).deliver(event)
        _, end = await handler.begins()
        assert len(bus.extensions.made) >= 29
        end.set_result(None)
        await acked(bus, 1)


async def test_a_worker_that_stops_handles_what_it_has_collected_and_does_not_wait(bus: FakeBus) -> None:
    worker, handler, event = worker_on(bus), BatchByHand(), delivery()
    worker.add("orders", handler, batch=2, wait=3600)
    async with serving(worker) as run:
        (await bus.stream()).deliver(event)
        await settle_down()
        began = now()
        worker.request_stop()
        batch, end = await handler.begins()
        assert (batch, now()) == ([event], began)
        end.set_result(None)
        await run
    assert bus.acks.made[0].tokens == [event.lease_token]


# --- an outcome for each event ---


async def test_each_event_can_have_an_outcome_of_its_own(bus: FakeBus) -> None:
    worker, handler, many = worker_on(bus), BatchByHand(), deliveries(6)
    worker.add("orders", handler, batch=6)
    async with serving(worker):
        (await bus.stream()).deliver(*many)
        _, end = await handler.begins()
        end.set_result([None, ValueError("no"), RetryAfter(60), DeadLetter("never"), Release(), "stored"])
        assert await acked(bus, 2) == tokens_of([many[0], many[5]])
        nacks = await nacked(bus, 4)
    failed, later, dead, released = (nacks[each.lease_token] for each in many[1:5])
    assert (first_line(failed), failed.delay, failed.dead_letter) == ("ValueError: no", None, False)
    assert later.delay == timedelta(seconds=60)
    assert (first_line(dead), dead.dead_letter) == ("never", True)
    assert released.release


async def test_the_outcomes_of_gather_will_do(bus: FakeBus) -> None:
    worker, (good, bad) = worker_on(bus), (delivery(data=b"1"), delivery(data=b"x"))

    async def store(each: Delivery) -> int:
        return int(each.data)

    @worker.on("orders", batch=2)
    async def store_all(batch: list[Delivery]) -> list[Any]:
        return await asyncio.gather(*map(store, batch), return_exceptions=True)

    async with serving(worker):
        (await bus.stream()).deliver(good, bad)
        assert await acked(bus, 1) == [good.lease_token]
        assert list(await nacked(bus, 1)) == [bad.lease_token]


async def test_any_other_result_is_ignored(bus: FakeBus) -> None:
    worker, many = worker_on(bus), deliveries(2)

    @worker.on("orders", batch=2)
    async def store(batch: list[Delivery]) -> int:
        return len(batch)

    async with serving(worker):
        (await bus.stream()).deliver(*many)
        assert await acked(bus, 2) == tokens_of(many)


async def test_outcomes_of_another_number_of_events_are_an_error(bus: FakeBus) -> None:
    worker = worker_on(bus)

    @worker.on("orders", batch=2)
    async def store(_: list[Delivery]) -> list[None]:
        return [None] * 3

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(2))
        nacks = await nacked(bus, 2)
    assert {first_line(each) for each in nacks.values()} == {"ValueError: the handler returned 3 outcomes for 1 events"}


async def test_the_number_of_retries_counts_for_each_event(bus: FakeBus) -> None:
    worker, first, last = worker_on(bus), delivery(attempt=1), delivery(attempt=3)

    @worker.on("orders", batch=2, max_retries=2)
    async def store(batch: list[Delivery]) -> list[Exception]:
        return [ValueError("no") for _ in batch]

    async with serving(worker):
        (await bus.stream()).deliver(first, last)
        nacks = await nacked(bus, 2)
    assert [nacks[each.lease_token].dead_letter for each in (first, last)] == [False, True]


# --- a batch that raises ---


@pytest.mark.parametrize("error", [ValueError("no"), RetryAfter(5), DeadLetter("never"), asyncio.CancelledError()])
async def test_a_batch_that_raises_is_handled_one_by_one(bus: FakeBus, error: BaseException) -> None:
    worker, many, calls = worker_on(bus), deliveries(4), []
    bad = many[1]

    @worker.on("orders", batch=4)
    async def store(batch: list[Delivery]) -> None:
        calls.append(batch)
        if bad in batch:
            raise error

    async with serving(worker):
        (await bus.stream()).deliver(*many)
        assert list(await nacked(bus, 1)) == [bad.lease_token]
        assert await acked(bus, 3) == tokens_of([each for each in many if each is not bad])
    assert calls == [many, *([each] for each in many)]


async def test_the_error_of_a_batch_is_logged_and_is_no_failure_of_its_events(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    worker, reported = worker_on(bus), list[BaseException]()

    @worker.on("orders", batch=2)
    async def store(batch: list[Delivery]) -> None:
        if len(batch) > 1:
            raise ValueError("not together")

    with caplog.at_level(logging.WARNING, "duebus.worker"):
        run = asyncio.create_task(worker.serve(on_failure=reported.append))
        (await bus.stream()).deliver(*deliveries(2))
        await acked(bus, 2)
        await worker.stop()
        await run
    (record,) = caplog.records
    assert record.getMessage().endswith("store: a batch of 2 failed; they are handled one by one")
    assert record.exc_info is not None
    assert not reported


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Release(), {"release": True}),
        (RateLimited(30, "group"), {"pause": Pause(timedelta(seconds=30), PauseScope.GROUP)}),
    ],
)
async def test_a_release_or_a_rate_limit_applies_to_the_whole_batch(
    bus: FakeBus, decision: Exception, expected: dict[str, Any]
) -> None:
    worker, calls = worker_on(bus), []

    @worker.on("orders", batch=3)
    async def store(batch: list[Delivery]) -> None:
        calls.append(batch)
        raise decision

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(3))
        nacks = await nacked(bus, 3)
    assert len(calls) == 1
    for nack in nacks.values():
        assert {name: getattr(nack, name) for name in expected} == expected


def test_ctrl_c_in_a_batch_settles_its_events_and_stops_the_worker() -> None:
    bus, calls = FakeBus(), []

    async def main() -> None:
        worker = worker_on(bus)

        @worker.on("orders", batch=2)
        async def store(batch: list[Delivery]) -> None:
            calls.append(batch)
            raise KeyboardInterrupt

        bus.greeting = tuple(deliveries(2))
        await worker.serve()

    with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    assert len(calls) == 1
    assert [first_line(each) for call in bus.nacks.made for each in call.nacks] == ["KeyboardInterrupt"] * 2


# --- leases that are lost, and handlers that take too long ---


async def test_a_batch_goes_on_without_a_lost_lease(bus: FakeBus) -> None:
    worker, handler, (lost, kept) = worker_on(bus), BatchByHand(), deliveries(2)
    worker.add("orders", handler, batch=2)
    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(lost, kept)
        _, end = await handler.begins()
        bus.lost = (lost.lease_token,)
        stream.close(0)
        await bus.stream()
        await settle_down()
        assert not handler.cancelled
        end.set_result(None)
        assert await acked(bus, 1) == [kept.lease_token]
    assert not bus.nacks.made


async def test_a_batch_is_cancelled_when_all_its_leases_are_lost(bus: FakeBus) -> None:
    worker, handler, many = worker_on(bus), BatchByHand(), deliveries(2)
    worker.add("orders", handler, batch=2)
    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(*many)
        await handler.begins()
        bus.lost = tuple(tokens_of(many))
        stream.close(0)
        await bus.stream()
        await settle_down()
        assert handler.cancelled == [many]
    assert not bus.acks.made
    assert not bus.nacks.made


async def test_an_event_whose_lease_is_lost_while_the_batch_is_collected_is_left_out(bus: FakeBus) -> None:
    worker, handler, (lost, kept) = worker_on(bus), BatchByHand(), deliveries(2)
    worker.add("orders", handler, batch=3, wait=30)
    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(lost, kept)
        await settle_down()
        bus.lost = (lost.lease_token,)
        stream.close(0)
        batch, end = await handler.begins()
        assert batch == [kept]
        end.set_result(None)
        await acked(bus, 1)


async def test_a_batch_that_takes_too_long_is_cancelled_and_each_event_nacked(bus: FakeBus) -> None:
    worker, handler, many = worker_on(bus, max_execution=5), BatchByHand(), deliveries(2)
    worker.add("orders", handler, batch=2)
    async with serving(worker):
        (await bus.stream()).deliver(*many)
        await handler.begins()
        nacks = await nacked(bus, 2)
        assert now() == 5
    assert handler.cancelled == [many]
    assert {first_line(each) for each in nacks.values()} == {"cancelled: the handler ran for longer than 5 s"}


async def test_each_call_has_the_whole_time_limit(bus: FakeBus) -> None:
    worker, handler, (first, second, third) = worker_on(bus, max_execution=5), BatchByHand(), deliveries(3)
    worker.add("orders", handler, batch=3)
    async with serving(worker):
        (await bus.stream()).deliver(first, second, third)
        _, end = await handler.begins()
        await asyncio.sleep(4)
        end.set_exception(ValueError("not together"))
        batch, end = await handler.begins()
        await asyncio.sleep(4)
        end.set_result(None)
        assert await acked(bus, 1) == tokens_of(batch) == [first.lease_token]
        await handler.begins()  # which never ends
        assert list(await nacked(bus, 1)) == [second.lease_token]
        assert now() == 13
        batch, end = await handler.begins()
        end.set_result(None)
        assert await acked(bus, 1) == tokens_of(batch) == [third.lease_token]


async def test_a_stop_at_once_cancels_the_batch_and_releases_all(bus: FakeBus) -> None:
    worker, handler, many = worker_on(bus), BatchByHand(), deliveries(5)
    worker.add("orders", handler, batch=3)
    async with serving(worker) as run:
        (await bus.stream()).deliver(*many)
        await handler.begins()
        worker.request_stop(now=True)
        await run
    nacks = await nacked(bus, 5)
    assert all(each.release for each in nacks.values())
    assert many[:3] in handler.cancelled


async def test_the_cleanup_of_a_cancelled_batch_is_not_interrupted(bus: FakeBus) -> None:
    worker, cleaned = worker_on(bus, max_execution=5), []

    @worker.on("orders", batch=3)
    async def store(batch: list[Delivery]) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(2)
            task = asyncio.current_task()
            assert task is not None
            cleaned.append((now(), task.cancelling()))

    async with serving(worker):
        (await bus.stream()).deliver(*deliveries(3))
        await nacked(bus, 3)
        assert cleaned == [(7.0, 1)]


# --- what it goes together with ---


async def test_several_handlers_of_a_topic_see_each_event_alone_or_in_a_batch(bus: FakeBus) -> None:
    worker, many, batches, alone = worker_on(bus), deliveries(2), [], []

    @worker.on("orders", batch=2)
    async def store(batch: list[Delivery]) -> list[Any]:
        batches.append(batch)
        return [None, ValueError("no")]

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        alone.append(each)

    async with serving(worker):
        (await bus.stream()).deliver(*many)
        assert await acked(bus, 1) == [many[0].lease_token]
        nack = (await nacked(bus, 1))[many[1].lease_token]
    assert (batches, alone) == ([many], many)
    assert "store: ValueError: no" in first_line(nack)


async def test_a_handler_beside_a_batch_keeps_its_time_limit_while_the_batch_is_collected(bus: FakeBus) -> None:
    worker, alone, event = worker_on(bus, max_execution=5), HandlerByHand(), delivery()
    worker.add("orders", alone)
    worker.add("orders", BatchByHand(), batch=2, wait=60)
    async with serving(worker):
        (await bus.stream()).deliver(event)
        await alone.begins()
        await nacked(bus, 1)
        assert now() == 5
    assert alone.cancelled == [event]


async def test_a_handler_beside_a_batch_keeps_its_time_limit_while_the_batch_is_handled(bus: FakeBus) -> None:
    worker, alone, batches, event = worker_on(bus, max_execution=5), HandlerByHand(), BatchByHand(), delivery()
    worker.add("orders", alone)
    worker.add("orders", batches, batch=2, wait=3)
    async with serving(worker):
        (await bus.stream()).deliver(event)
        _, end = await batches.begins()
        end.set_result(None)
        await nacked(bus, 1)
        assert now() == 5
    assert alone.cancelled == [event]


async def test_a_batch_is_collected_for_longer_than_a_handler_beside_it_may_run(bus: FakeBus) -> None:
    worker, alone, batches, event = worker_on(bus, max_execution=5), HandlerByHand(), BatchByHand(), delivery()
    worker.add("orders", alone)
    worker.add("orders", batches, batch=2, wait=60)
    async with serving(worker):
        (await bus.stream()).deliver(event)
        alone.returns(await alone.begins())
        _, end = await batches.begins()
        assert now() == 60
        end.set_result(None)
        await acked(bus, 1)


@pytest.mark.real_time
async def test_a_function_gets_its_batch_on_a_thread(bus: FakeBus) -> None:
    worker, many, ran_on = worker_on(bus), deliveries(3), []

    @worker.on("orders", batch=3)
    def store(batch: list[Delivery]) -> list[Any]:
        ran_on.append(threading.current_thread())
        return [None, None, ValueError("no")]

    async with serving(worker):
        (await bus.stream()).deliver(*many)
        assert await acked(bus, 2) == tokens_of(many[:2])
        assert list(await nacked(bus, 1)) == [many[2].lease_token]
    assert len(ran_on) == 1
    assert ran_on[0] is not threading.main_thread()


@pytest.mark.real_time
async def test_a_batch_that_is_abandoned_on_its_thread_keeps_its_slots(bus: FakeBus) -> None:
    worker, first, late, again = (
        worker_on(bus, concurrency=3, max_execution=0.05),
        deliveries(3),
        delivery(),
        deliveries(3),
    )
    free, handled = threading.Event(), []

    @worker.on("orders", batch=3)
    def store(batch: list[Delivery]) -> None:
        if batch == first:
            free.wait(SOON)
        else:
            handled.append(batch)

    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(*first)
        assert sorted(await nacked(bus, 3)) == sorted(tokens_of(first))
        stream.deliver(late)
        assert (await nacked(bus, 1))[late.lease_token].release  # no slot is left, and the worker unsubscribes
        await stream.closed.wait()
        free.set()
        (await bus.stream()).deliver(*again)
        assert await acked(bus, 3) == tokens_of(again)
    assert handled == [again]


@dataclass
class Order:
    number: int


async def test_a_batch_handler_gets_payloads_as_the_type_of_its_list(bus: FakeBus) -> None:
    worker, got = worker_on(bus), []
    events = [delivery(data=b'{"number": 1}'), delivery(data=b'{"number": "x"}'), delivery(data=b'{"number": 3}')]

    @worker.on("orders", batch=2)
    async def store(orders: list[Order], batch: list[Delivery]) -> None:
        got.append((orders, batch))

    async with serving(worker):
        (await bus.stream()).deliver(*events)
        (nack,) = (await nacked(bus, 1)).values()
        await acked(bus, 2)
    assert got == [([Order(1), Order(3)], [events[0], events[2]])]
    assert nack.dead_letter
    assert first_line(nack).startswith("the payload does not fit Order: number")


async def test_a_batch_handler_may_take_the_payloads_alone(bus: FakeBus) -> None:
    worker, got = worker_on(bus), list[Order]()

    @worker.on("orders", batch=2)
    async def store(orders: Sequence[Order]) -> None:
        got.extend(orders)

    async with serving(worker):
        (await bus.stream()).deliver(delivery(data=b'{"number": 1}'), delivery(data=b'{"number": 2}'))
        await acked(bus, 2)
    assert got == [Order(1), Order(2)]


async def nothing(_: Any) -> None:
    """Takes anything."""


async def takes_one_delivery(_: duebus.Delivery) -> None:
    """Has an annotation that only type checkers can read, and is no list."""


async def takes_one_order(_: Order) -> None:
    """Takes a payload."""


async def takes_two(_: list[duebus.Delivery], __: int) -> None:
    """Takes too much."""


@pytest.mark.parametrize("handler", [takes_one_order, takes_two])
def test_a_batch_handler_must_take_a_list(handler: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"must accept a list of deliveries, because it is registered with a batch"):
        Worker().add("orders", handler, batch=2)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"batch": 0}, "batch: must be 1 to 100000, not 0"),
        ({"batch": 100_001}, "batch: must be 1 to 100000, not 100001"),
        ({"batch": 10, "concurrency": 9}, "concurrency: must be at least the batch, 10, not 9"),
        ({"batch": 10, "wait": 0}, "wait: must be positive, not 0"),
    ],
)
def test_a_batch_has_bounds(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        Worker().add("orders", nothing, **arguments)


async def test_a_batch_has_one_span_with_a_link_to_each_producer(bus: FakeBus, monkeypatch: pytest.MonkeyPatch) -> None:
    provider, exported = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    worker, parents = worker_on(bus), [f"00-{number:032x}-{number:016x}-01" for number in (7, 8)]

    @worker.on("orders", batch=2)
    async def store(_: list[Delivery]) -> None: ...

    async with serving(worker):
        (await bus.stream()).deliver(*(delivery(attributes={"traceparent": parent}) for parent in parents))
        await acked(bus, 2)
    (span,) = exported.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 2
    assert "messaging.message.id" not in span.attributes
    assert [link.context.trace_id for link in span.links] == [7, 8]
