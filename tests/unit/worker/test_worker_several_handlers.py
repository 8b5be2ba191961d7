"""Several handlers on one topic and group."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from duebus._core.limits import Pause, PauseScope
from duebus.worker import DeadLetter, RateLimited, Release, RetryAfter
from duebus.worker.registry import Registry
from duebus.worker.succeeded_handlers import SucceededHandlers
from support.fake_bus import FakeBus, deliveries, delivery, first_line
from support.workers import HandlerByHand, serving, settle_down, worker_on

if TYPE_CHECKING:
    from duebus._core.delivery import Delivery
    from duebus._core.model import Nack
    from duebus.worker import Worker


def two_handlers(worker: Worker, first_error: Exception | None, second_error: Exception | None) -> list[str]:
    """Registers two handlers, and returns the names of those that run, in order."""
    ran = []

    async def first(_: Delivery) -> None:
        ran.append("first")
        if first_error:
            raise first_error

    async def second(_: Delivery) -> None:
        ran.append("second")
        if second_error:
            raise second_error

    worker.add("orders", first, max_retries=5)
    worker.add("orders", second)
    return ran


async def nack_of(bus: FakeBus, first_error: Exception | None, second_error: Exception | None) -> Nack:
    """How an event is nacked whose two handlers end in these ways."""
    worker = worker_on(bus)
    two_handlers(worker, first_error, second_error)
    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        return (await bus.nacks.next()).nacks[0]


async def test_several_handlers_share_one_subscription_and_each_event_goes_to_all_of_them(bus: FakeBus) -> None:
    worker = worker_on(bus)
    ran = two_handlers(worker, None, None)
    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]
        assert sorted(ran) == ["first", "second"]
        assert bus.unseen_streams == 0


class EndedTask(asyncio.Future[None]):
    """What an eager task factory returns for a coroutine that did not suspend."""

    def get_coro(self) -> None:
        return None


def eagerly(loop: asyncio.AbstractEventLoop, coroutine: Any) -> Any:
    """As `asyncio.eager_task_factory` of Python 3.12, for handlers that do not suspend."""
    if "_handle" not in getattr(coroutine, "__qualname__", ""):  # not every coroutine has a name
        return asyncio.Task(coroutine, loop=loop)
    try:
        coroutine.send(None)
    except StopIteration:
        task = EndedTask(loop=loop)
        task.set_result(None)
        return task
    raise AssertionError("it was suspended")


async def test_handlers_of_eager_tasks_are_called(bus: FakeBus) -> None:
    asyncio.get_running_loop().set_task_factory(cast("Any", eagerly))
    worker = worker_on(bus)
    ran = two_handlers(worker, None, None)
    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        assert (await asyncio.wait_for(bus.acks.next(), 10)).tokens == [event.lease_token]
        assert ran == ["first", "second"]


async def test_an_event_is_acked_when_all_handlers_have_succeeded(bus: FakeBus) -> None:
    worker = worker_on(bus)
    quick, slow = HandlerByHand(), HandlerByHand()
    worker.add("orders", quick)
    worker.add("orders", slow)
    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        quick.returns(await quick.begins())
        await slow.begins()
        await settle_down()
        assert not bus.acks.made
        slow.returns(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]


async def test_an_event_that_one_handler_fails_is_nacked_once_when_all_have_ended(bus: FakeBus) -> None:
    worker = worker_on(bus)
    failing, slow = HandlerByHand(), HandlerByHand()
    worker.add("orders", failing)
    worker.add("orders", slow)
    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        failing.raises(await failing.begins(), ValueError("no"))
        await slow.begins()
        await settle_down()
        assert not bus.nacks.made
        slow.returns(event)
        nack = (await bus.nacks.next()).nacks[0]
        assert first_line(nack) == "HandlerByHand: ValueError: no"
        assert not bus.acks.made


async def test_the_messages_of_all_failed_handlers_are_combined(bus: FakeBus) -> None:
    error = first_line(await nack_of(bus, ValueError("one"), KeyError("two")))
    assert error == "two_handlers.<locals>.first: ValueError: one; two_handlers.<locals>.second: KeyError: 'two'"


async def test_the_event_is_released_if_all_failures_ask_for_that(bus: FakeBus) -> None:
    nack = await nack_of(bus, Release("not mine"), Release())
    assert (nack.release, nack.error) == (True, "")


async def test_a_failure_outweighs_a_release(bus: FakeBus) -> None:
    nack = await nack_of(bus, Release("not mine"), ValueError("no"))
    assert (nack.release, nack.dead_letter) == (False, False)
    assert first_line(nack).endswith("ValueError: no")


async def test_the_longest_requested_delay_applies(bus: FakeBus) -> None:
    assert (await nack_of(bus, RetryAfter(10), RetryAfter(30))).delay == timedelta(seconds=30)
    assert (await nack_of(bus, ValueError(), RetryAfter(20))).delay == timedelta(seconds=20)


async def test_the_longest_rate_limit_pauses_the_group_if_one_asks_for_that(bus: FakeBus) -> None:
    nack = await nack_of(bus, RateLimited(30, "group"), RateLimited(90, "key"))
    assert (nack.pause, nack.delay) == (Pause(timedelta(seconds=90), PauseScope.GROUP), None)


async def test_a_failure_beside_a_rate_limit_is_retried_after_the_pause(bus: FakeBus) -> None:
    nack = await nack_of(bus, RateLimited(30, "group"), ValueError())
    assert nack.pause == Pause(timedelta(seconds=30), PauseScope.GROUP)
    assert (nack.delay, nack.dead_letter) == (timedelta(seconds=30), False)


async def test_the_event_is_dead_if_one_handler_asks_for_that(bus: FakeBus) -> None:
    nack = await nack_of(bus, RetryAfter(10), DeadLetter("never"))
    assert nack.dead_letter
    assert nack.delay is None


async def test_handlers_that_succeeded_are_not_run_again_on_a_retry(bus: FakeBus) -> None:
    worker = worker_on(bus)
    ran = two_handlers(worker, None, ValueError("no"))
    async with serving(worker):
        stream = await bus.stream()
        for attempt in (1, 2, 3):
            stream.deliver(delivery("order-1", attempt=attempt))
            await bus.nacks.next()
    assert ran == ["first", "second", "second", "second"]


async def test_all_handlers_are_run_again_after_a_redrive(bus: FakeBus) -> None:
    worker = worker_on(bus)
    ran = two_handlers(worker, None, ValueError("no"))
    async with serving(worker):
        stream = await bus.stream()
        for _ in range(2):
            stream.deliver(delivery("order-1", attempt=1))
            await bus.nacks.next()
    assert ran == ["first", "second", "first", "second"]


async def test_an_event_whose_failing_handler_was_removed_is_acked_on_retry(bus: FakeBus) -> None:
    worker = worker_on(bus)
    ran = two_handlers(worker, None, None)

    async def failing(_: Delivery) -> None:
        raise ValueError("no")

    registration = worker.add("orders", failing)
    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(delivery("order-1"))
        await bus.nacks.next()
        registration.remove()
        retried = delivery("order-1", attempt=2)
        stream.deliver(retried)
        assert (await bus.acks.next()).tokens == [retried.lease_token]
    assert ran == ["first", "second"]


async def test_the_smallest_concurrency_applies(bus: FakeBus) -> None:
    worker = worker_on(bus, concurrency=50)
    serial, other = HandlerByHand(), HandlerByHand()
    worker.add("orders", other, concurrency=7)
    registration = worker.add("orders", serial, concurrency=1)
    async with serving(worker):
        stream = await bus.stream()
        assert stream.request["max_in_flight"] == 2
        stream.deliver(*deliveries(10))
        await serial.begins()
        await settle_down()
        assert len(serial.begun) == 1
        registration.remove()
        await settle_down()
        assert len(other.begun) == 7


def test_the_memory_of_successes_is_bounded() -> None:
    async def handler(_: Delivery) -> None: ...

    registration = Registry(lambda: None).add("orders", "", handler, concurrency=None, max_retries=None)
    memory = SucceededHandlers(most=2)
    for event_id in ("a", "b", "c"):
        memory.remember(delivery(event_id), [registration])
    assert memory.recall(delivery("a", attempt=2)) == frozenset()
    assert memory.recall(delivery("b", attempt=2)) == {registration}
    assert memory.recall(delivery("c", attempt=2)) == {registration}
