"""Runs the handlers of one subscription's deliveries and says what becomes of each."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

from duebus._core.delivery import Delivery
from duebus._core.model import Nack
from duebus.worker.deadlines import Deadlines
from duebus.worker.held import Cause, Held, HeldLeases, Stage
from duebus.worker.invoker import Invoker
from duebus.worker.memory import SuccessMemory
from duebus.worker.outcome import DeadLetter, Release, RetryAfter, nack_of
from duebus.worker.registry import Registration, Source
from duebus.worker.settler import Settler
from duebus.worker.slots import Slots
from duebus.worker.threads import ThreadPool

__all__ = ["Executor"]

_log = logging.getLogger("duebus.worker")


class Executor:
    """Handles at most `concurrency` deliveries at once; the others wait in the order they came."""

    def __init__(
        self,
        source: Source,
        handlers: Callable[[], tuple[Registration, ...]],
        *,
        leases: HeldLeases,
        settler: Settler,
        threads: ThreadPool,
        concurrency: int,
        max_execution: float,
    ) -> None:
        self._source = source
        self._handlers = handlers
        self._leases = leases
        self._settler = settler
        self._slots = Slots(concurrency)
        self._invoker = Invoker(threads, max_execution, self._returned)
        self._deadlines = Deadlines(max_execution)
        self._memory = SuccessMemory()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Held] = deque()
        self._running: set[Held] = set()
        self._finished = asyncio.Event()
        self._finished.set()
        self._paused = False
        self._kept_back: deque[tuple[Held, Nack | None]] = deque()
        self._keeps_back = False

    @property
    def slots(self) -> Slots:
        """What bounds the deliveries handled at once."""
        return self._slots

    def resize(self, concurrency: int) -> None:
        """From now on handles so many at once."""
        self._slots.resize(concurrency)
        self._start_waiting()

    def accept(self, deliveries: Iterable[Delivery]) -> None:
        """Takes deliveries that came; starts what there are slots for."""
        self._waiting.extend(map(self._leases.add, deliveries))
        self._start_waiting()

    @property
    def unsettled(self) -> int:
        """Deliveries that wait, run, or are kept back: those that fill the server's window for sure."""
        return len(self._waiting) + len(self._running) + len(self._kept_back)

    def pause(self) -> None:
        """Starts nothing any more, and settles nothing until `release`: each settle makes the server send more."""
        self._paused = self._keeps_back = True

    def release(self) -> None:
        """Gives back what has not been started, without counting an attempt, and settles what has ended since."""
        self._keeps_back = False
        while self._waiting:
            held = self._waiting.popleft()
            if held.stage is Stage.WAITING:
                self._settle(held, _release(held))
        while self._kept_back:
            self._settle(*self._kept_back.popleft())

    def cancel_all(self) -> None:
        """Cancels all handlers that have not ended; their events are given back without counting an attempt."""
        for held in list(self._running):
            held.cancel(Cause.STOPPED)

    async def finished(self) -> None:
        """Waits until all handlers that were started have ended."""
        await self._finished.wait()

    def close(self) -> None:
        """Handlers are not cancelled for running too long any more."""
        self._deadlines.close()

    def _start_waiting(self) -> None:
        while self._waiting and self._slots.free > 0 and not self._paused:
            handlers = self._handlers()
            if not handlers:  # the last one was removed; what waits is about to be released
                return
            held = self._waiting.popleft()
            if held.stage is Stage.WAITING:
                self._start(held, handlers)

    def _start(self, held: Held, handlers: tuple[Registration, ...]) -> None:
        done = self._memory.recall(held.delivery) if len(handlers) > 1 else frozenset[Registration]()
        held.succeeded = tuple(done)
        todo = [each for each in handlers if each not in done] if done else handlers
        if not todo:
            self._settle(held, None)
            return
        held.stage = Stage.RUNNING
        held.running = len(todo)
        self._running.add(held)
        self._finished.clear()
        self._slots.take()
        held.tasks = [self._loop.create_task(self._handle(held, each)) for each in todo]
        self._deadlines.watch(held)

    async def _handle(self, held: Held, registration: Registration) -> None:
        failure = await self._invoker.run(held, registration)
        if failure is None:
            held.succeeded += (registration,)
        else:
            held.failures += (failure,)
        held.running -= 1
        if held.running == 0:
            self._end(held)

    def _end(self, held: Held) -> None:
        self._running.discard(held)
        if not self._running:
            self._finished.set()
        self._deadlines.forget(held)
        if held.stage is not Stage.GONE:
            self._settle(held, self._nack(held))
        if held.abandoned:
            self._slots.abandon()
            _log.error("%s: a call that was given up goes on, on its thread; it keeps its slot", self._source)
        else:
            self._slots.give_back()
            self._start_waiting()

    def _settle(self, held: Held, nack: Nack | None) -> None:
        if self._keeps_back:
            self._kept_back.append((held, nack))
        elif held.stage is not Stage.GONE:
            self._settler.settle(held, self._leases, nack)

    def _returned(self, held: Held) -> None:
        """A call on a thread returned that was given up when its handler was cancelled."""
        held.abandoned -= 1
        if held.abandoned == 0 and held.running == 0:
            self._slots.recover()
            self._start_waiting()

    def _nack(self, held: Held) -> Nack | None:
        """How the event is nacked; None: it is acked."""
        if held.cause is Cause.STOPPED:
            return _release(held)
        if not held.failures:
            return None
        several = len(held.failures) + len(held.succeeded) > 1
        nack = nack_of(held.token, held.failures, several=several)
        if several and not nack.dead_letter:
            self._memory.remember(held.delivery, held.succeeded)
        self._report(held, nack)
        return nack

    def _report(self, held: Held, nack: Nack) -> None:
        delivery = held.delivery
        # Of one that failed, the server knows whether retries are left.
        fate = "is dead" if nack.dead_letter else "is released" if nack.release else "failed"
        head = f"{self._source}: event {delivery.event_id}, attempt {delivery.attempt}, {fate}"
        for failure in held.failures:
            unexpected = not isinstance(failure.error, RetryAfter | DeadLetter | Release)
            level = logging.WARNING if unexpected or failure.dead else logging.INFO
            trace = failure.error if unexpected else None
            _log.log(level, "%s: %s: %s", head, failure.registration.name, failure.message, exc_info=trace)


def _release(held: Held) -> Nack:
    return Nack(delivery=held.token, release=True)
