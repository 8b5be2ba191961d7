"""Measures the Python client's optimizations against the simple ways of doing the same.

    PYTHONPATH=tests python -m bench.naive

Each simple twin can replace the original in a worker. `tests/unit/worker/test_worker_naive.py` compares the two.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

from duebus._aio.deadlines import Deadlines as DispatchDeadlines
from duebus._core.delivery import Delivery
from duebus.v1 import event_bus_pb2
from duebus.worker import executor, invoker
from duebus.worker.deadlines import Deadlines
from duebus.worker.held import Cause, Held, HeldLeases
from duebus.worker.registry import Registration, Registry
from duebus.worker.runners import Runners
from duebus.worker.settler import Settler
from duebus.worker.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from types import ModuleType

    from duebus._core.model import LeaseFailure, Nack

EVENTS = 20_000
FRAME = 500
ROUNDS = 7


class TaskForEach:
    """Replaces `Runners`: a task for each delivery."""

    def __init__(
        self,
        startable: Callable[[], int],
        start_next: Callable[[asyncio.Task[Any]], Coroutine[Any, Any, None] | None],
    ) -> None:
        self._startable = startable
        self._start_next = start_next
        self._coming = 0

    def start_more(self) -> None:
        """Something may have become startable."""
        for _ in range(self._startable() - self._coming):
            self._coming += 1
            asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        self._coming -= 1
        if (handling := self._start_next(cast("asyncio.Task[Any]", asyncio.current_task()))) is not None:
            await handling
            self.start_more()


class TimerForEach:
    """Replaces `Deadlines`: a timer for each call."""

    def __init__(self, allowance: float) -> None:
        self._allowance = allowance
        self._loop = asyncio.get_running_loop()
        self._timers: dict[tuple[Held, Registration], asyncio.TimerHandle] = {}

    def watch(self, held: Held, registration: Registration) -> None:
        """A handler was called with a delivery."""
        self._timers[held, registration] = self._loop.call_later(self._allowance, held.cancel, Cause.TIMEOUT)

    def forget(self, held: Held, registration: Registration) -> None:
        """The call has ended."""
        if (timer := self._timers.pop((held, registration), None)) is not None:
            timer.cancel()

    def close(self) -> None:
        """Ends the timers."""
        for timer in self._timers.values():
            timer.cancel()


TWINS: dict[str, tuple[ModuleType, type, type]] = {
    "runners": (executor, Runners, TaskForEach),
    "deadlines": (invoker, Deadlines, TimerForEach),
}
"""Where each is used, the original, and its twin."""


@contextmanager
def using(name: str, kind: type) -> Iterator[None]:
    """Executors that are made in the block use this class."""
    module, original, _ = TWINS[name]
    with patch.object(module, original.__name__, kind):
        yield


class AtOnce:
    """A client whose settles succeed at once."""

    max_request_bytes = 4 << 20

    async def ack(self, _: Sequence[str]) -> list[LeaseFailure]:
        """As in `aio.Client`."""
        return []

    async def nack_many(self, _: Sequence[Nack]) -> list[LeaseFailure]:
        """As in `aio.Client`."""
        return []


async def handle(handler: Callable[[Delivery], Coroutine[Any, Any, None]], events: int = EVENTS) -> float:
    """Handles events in an executor of 1,000 slots. Returns the CPU seconds it took."""
    leases, settler = HeldLeases(), Settler(AtOnce())
    registration = Registry(lambda: None).add("orders", "", handler, concurrency=None, max_retries=None)
    made = executor.Executor(
        registration.source,
        lambda: (registration,),
        leases=leases,
        settler=settler,
        threads=ThreadPool("bench"),
        concurrency=1_000,
        max_execution=timedelta(seconds=50).total_seconds(),
        on_failure=lambda _: None,
        doubt=lambda: None,
    )
    deliveries = [Delivery(event_bus_pb2.Delivery(lease_token=str(each))) for each in range(events)]
    settling = asyncio.create_task(settler.run())
    began = time.process_time()
    for start in range(0, events, FRAME):
        made.accept(deliveries[start : start + FRAME])
        await made.finished()
        await leases.emptied()
    took = time.process_time() - began
    settling.cancel()
    made.close()
    return took


async def returns(delivery: Delivery) -> None:
    """A handler that does not suspend."""


async def suspends(delivery: Delivery) -> None:
    """A handler that suspends once."""
    await asyncio.sleep(0)


def measure(name: str, handler: Callable[[Delivery], Coroutine[Any, Any, None]]) -> tuple[float, float]:
    """CPU microseconds an event for the original and its twin: medians of alternating rounds."""
    _, original, twin = TWINS[name]
    took: dict[type, list[float]] = {original: [], twin: []}
    for _ in range(ROUNDS):
        for kind, seconds in took.items():
            with using(name, kind):
                seconds.append(asyncio.run(handle(handler)) / EVENTS * 1e6)
    return statistics.median(took[original]), statistics.median(took[twin])


class Wait:
    """A dispatch that waits for its answer."""

    def __init__(self, waits: list[Wait]) -> None:
        loop = asyncio.get_running_loop()
        self.deadline = loop.time() + 30
        self.answer: asyncio.Future[None] = loop.create_future()
        waits.append(self)


async def wait_with_shared_timer(waits: list[Wait], deadlines: DispatchDeadlines[Wait]) -> None:
    """Waits as `Dispatcher` does."""
    wait = Wait(waits)
    deadlines.add(wait)
    try:
        await wait.answer
    finally:
        deadlines.remove(wait)


async def wait_with_own_timer(waits: list[Wait], _: DispatchDeadlines[Wait]) -> None:
    """The naive way."""
    wait = Wait(waits)
    async with asyncio.timeout_at(wait.deadline):
        await wait.answer


async def answer_all(wait: Callable[[list[Wait], DispatchDeadlines[Wait]], Coroutine[Any, Any, None]]) -> float:
    """Waits and answers, FRAME at a time. Returns CPU microseconds each."""
    deadlines = DispatchDeadlines[Wait](lambda _: None)
    began = time.process_time()
    for _ in range(EVENTS // FRAME):
        waits: list[Wait] = []
        tasks = [asyncio.create_task(wait(waits, deadlines)) for _ in range(FRAME)]
        await asyncio.sleep(0)
        for each in waits:
            each.answer.set_result(None)
        await asyncio.gather(*tasks)
    return (time.process_time() - began) / EVENTS * 1e6


def main() -> None:
    """Prints a line for each."""
    took = [
        [asyncio.run(answer_all(each)) for each in (wait_with_shared_timer, wait_with_own_timer)] for _ in range(ROUNDS)
    ]
    ours, naive = (statistics.median(each) for each in zip(*took, strict=True))
    print(f"deadlines of dispatches: {ours:.2f} us each, naive {naive:.2f} us")  # noqa: T201
    for name in TWINS:
        for handler in (returns, suspends):
            ours, naive = measure(name, handler)
            print(f"{name}, a handler that {handler.__name__}: {ours:.2f} us an event, naive {naive:.2f} us")  # noqa: T201


if __name__ == "__main__":
    main()
