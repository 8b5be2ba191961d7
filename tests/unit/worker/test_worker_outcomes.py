"""How an event is settled when its handler returns, raises, or decides."""

from __future__ import annotations

import asyncio
import logging
import pickle
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from duebus._core.limits import Pause, PauseScope
from duebus.errors import InvalidArgument
from duebus.worker import DeadLetter, RateLimited, Release, RetryAfter
from duebus.worker.held import Held, Stage
from duebus.worker.invoker import Invoker
from duebus.worker.registry import Registry
from duebus.worker.threads import ThreadPool
from support.fake_bus import FakeBus, delivery, first_line
from support.virtual_time import VirtualTimeLoop
from support.workers import serving, worker_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus._core.delivery import Delivery
    from duebus._core.model import Nack


class Panic(BaseException):
    """Like a Rust panic through PyO3, `gevent.Timeout`, or `pytest.fail`."""


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class PanickingTextError(Exception):
    def __str__(self) -> str:
        raise Panic


class CarelessRetry(RetryAfter):
    def __init__(self) -> None: ...


class UnreadableError(Exception):
    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


class NamelessType(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]  # read-only
        raise RuntimeError("no name")


class NamelessError(Exception, metaclass=NamelessType): ...


class PropertyRetry(CarelessRetry):
    @property
    def delay(self) -> timedelta:  # type: ignore[override]  # read-only
        raise RuntimeError("no delay")


async def nack_after(
    bus: FakeBus,
    error: BaseException,
    *,
    attempt: int = 1,
    max_retries: int | None = None,
    of_event: int | None = None,
    key: str = "",
) -> Nack:
    """How an event is nacked whose handler raises; `of_event` is the event's own `max_retries`."""
    worker = worker_on(bus)

    @worker.on("orders", max_retries=max_retries)
    async def bill(each: Delivery) -> None:
        raise error

    async with serving(worker):
        event = delivery(attempt=attempt, max_retries=of_event, key=key)
        (await bus.stream()).deliver(event)
        call = await bus.nacks.next()
    assert call.tokens == [event.lease_token]
    assert not bus.acks.made
    return call.nacks[0]


async def test_an_event_whose_handler_returns_is_acked(bus: FakeBus) -> None:
    worker = worker_on(bus)
    handled = []

    @worker.on("orders")
    async def bill(each: Delivery) -> str:
        handled.append(each)
        return "ignored"

    async with serving(worker):
        event = delivery()
        (await bus.stream()).deliver(event)
        assert (await bus.acks.next()).tokens == [event.lease_token]
    assert handled == [event]
    assert not bus.nacks.made


async def test_an_exception_nacks_with_its_type_and_message_and_leaves_the_delay_to_the_topic(bus: FakeBus) -> None:
    nack = await nack_after(bus, ValueError("no such\n   customer"))
    assert first_line(nack) == "ValueError: no such customer"
    assert (nack.delay, nack.dead_letter, nack.release) == (None, False, False)


async def test_an_exception_without_a_message_nacks_with_its_type(bus: FakeBus) -> None:
    assert first_line(await nack_after(bus, TimeoutError())) == "TimeoutError"


async def test_an_exception_that_cannot_be_printed_nacks_with_its_type(bus: FakeBus) -> None:
    assert first_line(await nack_after(bus, UnprintableError())) == "UnprintableError"


async def test_a_long_message_is_cut_to_4_kib_between_characters(bus: FakeBus) -> None:
    error = (await nack_after(bus, ValueError("é" * 5000))).error
    assert error.startswith("ValueError: éé")
    assert 4094 <= len(error.encode()) <= 4096


async def test_a_message_that_utf8_cannot_encode_is_still_sent(bus: FakeBus) -> None:
    assert first_line(await nack_after(bus, ValueError("bad \ud800 text"))) == "ValueError: bad ? text"


async def test_retry_after_nacks_with_its_delay(bus: FakeBus) -> None:
    nack = await nack_after(bus, RetryAfter(90, "the bank is closed"))
    assert nack.delay == timedelta(seconds=90)
    assert nack.error == "the bank is closed"


async def test_a_rate_limit_pauses_the_key_and_counts_no_attempt(bus: FakeBus) -> None:
    nack = await nack_after(bus, RateLimited(90, reason="too many requests"), attempt=4, max_retries=1, key="k")
    assert nack.pause == Pause(timedelta(seconds=90), PauseScope.KEY)
    assert (nack.delay, nack.dead_letter, nack.release) == (None, False, False)
    assert nack.error == "too many requests"


@pytest.mark.parametrize(("after", "paused"), [(0, 0.001), (timedelta(hours=2), 3600)])
async def test_a_rate_limit_of_the_group_is_cut_to_what_the_bus_accepts(
    bus: FakeBus, after: timedelta | int, paused: float
) -> None:
    nack = await nack_after(bus, RateLimited(after, "group"))
    assert nack.pause == Pause(timedelta(seconds=paused), PauseScope.GROUP)


async def test_a_rate_limit_of_the_key_of_an_event_without_one_is_a_retry(bus: FakeBus) -> None:
    nack = await nack_after(bus, RateLimited(90))
    assert (nack.pause, nack.delay) == (None, timedelta(seconds=90))


class CarelessLimit(RateLimited):
    def __init__(self) -> None: ...


async def test_a_rate_limit_that_sets_nothing_leaves_the_delay_to_the_topic(bus: FakeBus) -> None:
    nack = await nack_after(bus, CarelessLimit(), key="k")
    assert (nack.pause, nack.delay) == (None, None)


def test_a_rate_limit_of_an_unknown_scope_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        RateLimited(1, "topic")
    assert [each.field for each in caught.value.field_violations] == ["scope"]


async def test_retry_after_takes_a_timedelta_and_needs_no_reason(bus: FakeBus) -> None:
    nack = await nack_after(bus, RetryAfter(timedelta(minutes=2)))
    assert nack.delay == timedelta(minutes=2)
    assert nack.error == "retry after 120 s"


@pytest.mark.parametrize("delay", [-1, float("nan"), timedelta(days=4000)])
def test_retry_after_refuses_a_delay_out_of_range(delay: float | timedelta) -> None:
    with pytest.raises(InvalidArgument, match="delay"):
        RetryAfter(delay)


async def test_dead_letter_nacks_as_dead_with_its_reason(bus: FakeBus) -> None:
    nack = await nack_after(bus, DeadLetter("malformed order"))
    assert nack.dead_letter
    assert nack.error == "malformed order"


@pytest.mark.parametrize("max_retries", [None, 0])
async def test_release_works_without_retries_left(bus: FakeBus, max_retries: int | None) -> None:
    nack = await nack_after(bus, Release("not my shard"), max_retries=max_retries)
    assert (nack.release, nack.dead_letter, nack.delay, nack.error) == (True, False, None, "")


@pytest.mark.parametrize(("attempt", "dead"), [(1, False), (2, False), (3, True), (4, True)])
async def test_after_two_retries_a_failing_event_is_dead(bus: FakeBus, attempt: int, *, dead: bool) -> None:
    nack = await nack_after(bus, ValueError("again"), attempt=attempt, max_retries=2)
    assert nack.dead_letter is dead
    assert first_line(nack) == "ValueError: again"


async def test_no_retries_means_dead_at_the_first_failure_even_for_retry_after(bus: FakeBus) -> None:
    nack = await nack_after(bus, RetryAfter(5), max_retries=0)
    assert nack.dead_letter
    assert nack.delay is None


NOT_EXCEPTIONS = [
    asyncio.CancelledError("inner"),
    SystemExit(3),
    GeneratorExit(),
    Panic("called `Option::unwrap()` on a `None` value"),
    BaseExceptionGroup("several", [Panic("first"), ValueError("second")]),
    PanickingTextError(),
    CarelessRetry(),
    StopAsyncIteration(),
]


@pytest.mark.parametrize("error", NOT_EXCEPTIONS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("late", [False, True], ids=["at once", "suspended"])
async def test_anything_a_handler_raises_ends_in_a_nack_and_the_worker_keeps_running(
    bus: FakeBus, error: BaseException, *, late: bool
) -> None:
    worker = worker_on(bus, concurrency=1)

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        if late:
            await asyncio.sleep(0.01)
        if each.event_id == "bad":
            raise error

    async with serving(worker) as task:
        good = delivery()
        (await bus.stream()).deliver(delivery("bad"), good)
        (nack,) = (await bus.nacks.next()).nacks
        assert first_line(nack).startswith(type(error).__name__)
        assert (await bus.acks.next()).tokens == [good.lease_token]
        worker.request_stop()
        await asyncio.wait_for(task, 30)


@pytest.mark.parametrize("kind", [UnreadableError, NamelessError], ids=["attributes", "name"])
async def test_an_exception_that_cannot_be_read_ends_in_a_nack(bus: FakeBus, kind: Callable[[], BaseException]) -> None:
    nack = await nack_after(bus, kind())
    assert first_line(nack) == "RuntimeError: the handler's exception can't be read"
    assert not nack.dead_letter


@pytest.mark.parametrize("delay", ["30s", -5, 10**12, float("nan"), object(), None], ids=range(6))
async def test_a_wrong_delay_of_a_subclass_is_the_backoff(bus: FakeBus, delay: object) -> None:
    error = CarelessRetry()
    error.delay = delay  # type: ignore[assignment]
    assert (await nack_after(bus, error)).delay is None


async def test_a_delay_that_raises_is_the_backoff(bus: FakeBus) -> None:
    assert (await nack_after(bus, PropertyRetry())).delay is None


@pytest.mark.parametrize("error", NOT_EXCEPTIONS, ids=lambda error: type(error).__name__)
async def test_anything_one_of_several_handlers_raises_ends_in_one_nack(bus: FakeBus, error: BaseException) -> None:
    worker = worker_on(bus, concurrency=1)

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        if each.event_id == "bad":
            raise error

    @worker.on("orders")
    async def ship(_: Delivery) -> None: ...

    async with serving(worker):
        good = delivery()
        (await bus.stream()).deliver(delivery("bad"), good)
        (nack,) = (await bus.nacks.next()).nacks
        assert f"bill: {type(error).__name__}" in nack.error
        assert (await bus.acks.next()).tokens == [good.lease_token]


async def test_an_exception_group_nacks_with_its_members(bus: FakeBus) -> None:
    group = ExceptionGroup("several", [ValueError("no such customer"), KeyError("id")])
    expected = "ExceptionGroup: several (2 sub-exceptions): ValueError: no such customer; KeyError: 'id'"
    assert first_line(await nack_after(bus, group)) == expected


def test_ctrl_c_in_a_handler_settles_its_event_and_stops_the_worker() -> None:
    bus = FakeBus()

    async def main() -> None:
        worker = worker_on(bus)

        @worker.on("orders")
        async def bill(_: Delivery) -> None:
            raise KeyboardInterrupt

        bus.greeting = (delivery(),)
        await worker.serve()

    with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    assert [first_line(each) for call in bus.nacks.made for each in call.nacks] == ["KeyboardInterrupt"]


def raise_deep(depth: int) -> None:
    if depth:
        raise_deep(depth - 1)
    raise ValueError("too deep")


async def test_the_error_ends_with_the_last_calls_of_the_handler(bus: FakeBus) -> None:
    worker = worker_on(bus)

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        raise_deep(5)

    async with serving(worker):
        (await bus.stream()).deliver(delivery())
        (nack,) = (await bus.nacks.next()).nacks
    message, *calls = nack.error.splitlines()
    assert message == "ValueError: too deep"
    assert len(calls) == 6
    assert calls[-1] == '    raise ValueError("too deep")'
    assert calls[-2].endswith("in raise_deep")


async def test_the_error_has_the_handlers_calls_and_not_the_workers(bus: FakeBus) -> None:
    _, *calls = (await nack_after(bus, ValueError("no such customer"))).error.splitlines()
    assert len(calls) == 2
    assert __file__ in calls[0]
    assert calls[1] == "    raise error"


async def test_a_failure_is_reported_to_on_failure_and_a_decision_is_not(bus: FakeBus) -> None:
    worker, error = worker_on(bus), Panic("out of cheese")
    reported: list[BaseException] = []

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        raise DeadLetter("no such card") if each.event_id == "decided" else error

    task = asyncio.create_task(worker.serve(on_failure=reported.append))
    await worker.ready()
    (await bus.stream()).deliver(delivery("decided"), delivery())
    assert len((await bus.nacks.next()).nacks) == 2
    await worker.stop()
    await task
    assert reported == [error]


async def test_an_on_failure_that_panics_does_not_prevent_the_settle(bus: FakeBus) -> None:
    worker = worker_on(bus)

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        raise ValueError("no such customer")

    def panic(_: BaseException) -> None:
        raise Panic("out of cheese")

    task = asyncio.create_task(worker.serve(on_failure=panic))
    await worker.ready()
    (await bus.stream()).deliver(delivery())
    assert len((await bus.nacks.next()).nacks) == 1
    await worker.stop()
    await task


@pytest.mark.parametrize(("attempt", "outcome"), [(2, "failed"), (3, "is dead")])
async def test_the_log_says_dead_if_the_event_had_no_retries_left(
    bus: FakeBus, caplog: pytest.LogCaptureFixture, attempt: int, outcome: str
) -> None:
    await nack_after(bus, ValueError("again"), attempt=attempt, of_event=2)
    assert f"attempt {attempt}, {outcome}: " in caplog.text


async def test_context_variables_of_a_handler_are_not_seen_by_the_next(bus: FakeBus) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen = []
    worker = worker_on(bus)

    @worker.on("orders")
    async def bill(each: Delivery) -> None:
        seen.append(tenant.get())
        tenant.set(each.event_id)

    async with serving(worker):
        (await bus.stream()).deliver(delivery(), delivery())
        await bus.acks.next()
    assert seen == ["nobody", "nobody"]


async def test_the_log_names_the_event_and_the_handler_but_never_the_payload(
    bus: FakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await nack_after(bus, ValueError("no such customer"))
    assert "event-" in caplog.text
    assert "attempt 1, failed: " in caplog.text  # not "to be retried": it may have been the last attempt
    assert "bill: ValueError: no such customer" in caplog.text
    assert "secret payload" not in caplog.text


class Busy(RetryAfter):
    """A user's own decision, with other arguments."""

    def __init__(self, service: str, *, seconds: float) -> None:
        super().__init__(seconds, f"{service} is busy")
        self.service = service


@pytest.mark.parametrize(
    "decision",
    [RetryAfter(5, "busy"), RateLimited(3, "group"), DeadLetter("never"), Release(), Busy("mail", seconds=5)],
    ids=lambda decision: type(decision).__name__,
)
def test_a_decision_of_another_process_is_the_same(decision: Exception) -> None:
    """The pool of a handler that called a function in another process broke when that raised RetryAfter."""
    passed_on = pickle.loads(pickle.dumps(decision))  # noqa: S301 - its own text
    assert type(passed_on) is type(decision)
    assert (str(passed_on), passed_on.args, vars(passed_on)) == (str(decision), decision.args, vars(decision))


async def test_a_handler_discarded_with_its_loop_settles_nothing() -> None:
    async def bill(_: Delivery) -> None:
        await asyncio.Event().wait()

    registration = Registry(lambda: None).add("orders", "", bill, concurrency=None, max_retries=None)
    held = Held(delivery())
    held.stage = Stage.RUNNING
    handling = Invoker(ThreadPool("test"), (), 50, lambda _: None).run(held, registration)
    handling.send(None)
    handling.close()
    assert held.failures == ()
