"""Runs the handlers of one subscription's deliveries and says what becomes of each."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from duebus._core.delivery import Delivery
from duebus._core.model import Nack
from duebus.worker.deadlines import Deadlines
from duebus.worker.freshness import now
from duebus.worker.held import Cause, Held, HeldLeases, Stage
from duebus.worker.invoker import Invoker
from duebus.worker.outcome import nack_of
from duebus.worker.registry import Registration, Source
from duebus.worker.runners import Runners
from duebus.worker.settler import Settler
from duebus.worker.slots import Slots
from duebus.worker.succeeded_handlers import SucceededHandlers
from duebus.worker.threads import ThreadPool

__all__ = ["Executor"]

_log = logging.getLogger("duebus.worker")


class Executor:
    """Handles at most `concurrency` deliveries at once; the others wait in the order they came.

    Args:
        on_failure: See `Worker.serve`.
        doubt: Asks for the leases to be extended now, and for `check_doubtful` then.
    """

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
        on_failure: Callable[[BaseException], None],
        doubt: Callable[[], None],
    ) -> None:
        self._source = source
        self._doubt = doubt
        self._on_failure = on_failure
        self._handlers = handlers
        self._leases = leases
        self._settler = settler
        self._slots = Slots(concurrency)
        self._invoker = Invoker(threads, max_execution, self._returned)
        self._deadlines = Deadlines(max_execution)
        self._succeeded_handlers = SucceededHandlers()
        self._runners = Runners(self._startable, self._start_next)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Held] = deque()
        # Not to be started before the server has said that they are still leased.
        self._doubtful: deque[Held] = deque()
        self._running: set[Held] = set()
        self._finished = asyncio.Event()
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
        self._runners.go()

    def accept(self, deliveries: Iterable[Delivery], fresh_until: float = math.inf) -> None:
        """Takes deliveries that came; starts what there are slots for.

        Args:
            deliveries: In the order they came.
            fresh_until: Until when they are leased, by the clock of `freshness`.
        """
        self._invoker.note_tracing()
        self._waiting.extend([self._leases.add(each, fresh_until) for each in deliveries])
        self._runners.go()

    def check_doubtful(self) -> bool:
        """The leases were extended: what is still leased may be started. False: nothing was."""
        still_leased = [held for held in self._doubtful if held.stage is Stage.WAITING]
        self._doubtful.clear()
        self._waiting.extendleft(reversed(still_leased))
        self._runners.go()
        return bool(still_leased)

    @property
    def unsettled(self) -> int:
        """Deliveries that wait, run, or are kept back: those that fill the server's window for sure."""
        return len(self._waiting) + len(self._doubtful) + len(self._running) + len(self._kept_back)

    def pause(self) -> None:
        """Starts nothing any more, and settles nothing until `release`: each settle makes the server send more."""
        self._paused = self._keeps_back = True

    def release(self) -> None:
        """Gives back what has not been started, without counting an attempt, and settles what has ended since."""
        self._keeps_back = False
        self._release_waiting()
        while self._kept_back:
            self._settle(*self._kept_back.popleft())

    def cancel_all(self) -> None:
        """Cancels all handlers that have not ended; their events are given back without counting an attempt."""
        self._release_waiting()
        for held in list(self._running):
            held.cancel(Cause.STOPPED)

    async def finished(self) -> None:
        """Waits until no handler runs and none is about to."""
        while self._running or self._startable() > 0:
            self._finished.clear()
            await self._finished.wait()

    def close(self) -> None:
        """Handlers are not cancelled for running too long any more."""
        self._deadlines.close()

    def _release_waiting(self) -> None:
        for waiting in (self._doubtful, self._waiting):
            while waiting:
                held = waiting.popleft()
                if held.stage is Stage.WAITING:
                    self._settle(held, _release(held))

    def _startable(self) -> int:
        """How many deliveries could be started now."""
        # When the last handler was removed, what waits is about to be released.
        if self._paused or not self._handlers():
            return 0
        return min(len(self._waiting), self._slots.free)

    def _start_next(self, runner: asyncio.Task[Any]) -> Coroutine[Any, Any, None] | None:
        """The handling of the next delivery that has one handler; those with several get tasks of their own."""
        while self._waiting and self._slots.free > 0 and not self._paused and (handlers := self._handlers()):
            held = self._waiting.popleft()
            if held.stage is not Stage.WAITING:  # its lease was lost
                continue
            if held.fresh_until < now():  # others may have the event: this worker was suspended, or its loop blocked
                self._doubtful.append(held)
                self._doubt()
                continue
            if len(handlers) == 1:
                self._begin(held, (runner,), running=1)
                return self._handle(held, handlers[0])
            self._start_several(held, handlers)
        self._note_finished()
        return None

    def _start_several(self, held: Held, handlers: Sequence[Registration]) -> None:
        """Those that have not seen the event, or had failed it."""
        done = self._succeeded_handlers.recall(held.delivery)
        held.succeeded = tuple(done)
        if todo := [each for each in handlers if each not in done]:
            tasks: list[asyncio.Task[None]] = []
            # Before there are tasks: a task factory may be eager, so that they run as they are made.
            self._begin(held, tasks, running=len(todo))
            for each in todo:
                task = self._loop.create_task(self._handle_as_well(held, each))
                tasks.append(task)
        else:
            self._settle(held, None)

    def _begin(self, held: Held, tasks: Sequence[asyncio.Task[Any]], *, running: int) -> None:
        held.stage = Stage.RUNNING
        held.tasks = tasks
        held.running = running
        self._running.add(held)
        self._slots.take()
        self._deadlines.watch(held)

    async def _handle(self, held: Held, registration: Registration) -> None:
        if (failure := await self._invoker.run(held, registration)) is not None:
            held.failures = (failure,)
        held.running = 0
        self._end(held)

    async def _handle_as_well(self, held: Held, registration: Registration) -> None:
        """With other handlers of the same delivery; the last to end says what becomes of it."""
        if (failure := await self._invoker.run(held, registration)) is not None:
            held.failures += (failure,)
        else:
            held.succeeded += (registration,)
        held.running -= 1
        if held.running == 0:
            self._end(held)
            # Not from in here: where tasks run as they are made, each delivery would be handled inside the one before.
            self._loop.call_soon(self._runners.go)

    def _end(self, held: Held) -> None:
        self._running.discard(held)
        self._note_finished()
        self._deadlines.forget(held)
        nack = None
        if held.stage is not Stage.GONE:
            nack = self._nack(held)
            self._tell_failures(held)
            self._settle(held, nack)
        if held.abandoned:
            self._slots.abandon()
            _log.error("%s: an abandoned call runs on, on its thread; it keeps its slot until it returns", self._source)
        else:
            self._slots.give_back()
        if nack is not None:
            self._report(held, nack)

    def _note_finished(self) -> None:
        if not self._running:
            self._finished.set()

    def _settle(self, held: Held, nack: Nack | None) -> None:
        if self._keeps_back:
            self._kept_back.append((held, nack))
        elif held.stage is not Stage.GONE:
            self._settler.settle(held, self._leases, nack)

    def _returned(self, held: Held) -> None:
        """A call on a thread has returned that was abandoned when its handler was cancelled."""
        held.abandoned -= 1
        if held.abandoned == 0 and held.running == 0:
            self._slots.recover()
            self._runners.go()

    def _nack(self, held: Held) -> Nack | None:
        """How the event is nacked; None: it is acked."""
        if held.cause is Cause.STOPPED:
            return _release(held)
        if not held.failures:
            return None
        several = len(held.failures) + len(held.succeeded) > 1
        nack = nack_of(held.token, held.failures, several=several)
        if several and not nack.dead_letter:
            self._succeeded_handlers.remember(held.delivery, held.succeeded)
        return nack

    def _tell_failures(self, held: Held) -> None:
        """Before the nack: who waits for the nack then knows why."""
        for failure in held.failures:
            if failure.error is not None:
                try:
                    self._on_failure(failure.error)
                except Exception:  # noqa: BLE001 - a report that fails must not cost the settle
                    _log.exception("%s: on_failure raised", self._source)

    def _report(self, held: Held, nack: Nack) -> None:
        head = f"{self._source}: event {held.delivery.event_id}, attempt {held.delivery.attempt}, {_fate(held, nack)}"
        for failure in held.failures:
            level = logging.WARNING if failure.error is not None or failure.dead else logging.INFO
            _log.log(level, "%s: %s: %s", head, failure.registration.name, failure.message, exc_info=failure.error)


def _fate(held: Held, nack: Nack) -> str:
    """What becomes of the event. How often it is retried by the topic's policy is known to the server alone."""
    if nack.release:
        return "is released"
    max_retries = held.delivery.max_retries
    is_dead = nack.dead_letter or (max_retries is not None and held.delivery.attempt > max_retries)
    return "is dead" if is_dead else "failed"


def _release(held: Held) -> Nack:
    return Nack(delivery=held.token, release=True)
