"""Runs the handlers of one subscription's deliveries, and decides how each is settled."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from duebus._core.delivery import Delivery
from duebus._core.model import Nack
from duebus.worker.freshness import now
from duebus.worker.held import GONE, RUNNING, WAITING, Cause, Held, HeldLeases
from duebus.worker.interceptors import HandlerInterceptor
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
    """Handles at most `concurrency` deliveries at once; the others wait in order of arrival.

    Args:
        on_failure: See `Worker.serve`.
        doubt: Asks for the leases to be extended now, and then for `check_doubtful`.
    """

    def __init__(
        self,
        source: Source,
        handlers: Callable[[], tuple[Registration, ...]],
        *,
        leases: HeldLeases,
        settler: Settler,
        threads: ThreadPool,
        interceptors: Sequence[HandlerInterceptor] = (),
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
        self._invoker = Invoker(threads, interceptors, max_execution, self._returned)
        self._succeeded_handlers = SucceededHandlers()
        self._runners = Runners(self._startable, self._start_next)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Held] = deque()
        # Deliveries that must not start until the server has confirmed their leases.
        self._doubtful: deque[Held] = deque()
        self._running: set[Held] = set()
        self._finished = asyncio.Event()
        self._paused = False
        self._kept_back: deque[tuple[Held, Nack | None]] = deque()
        self._keeps_back = False

    @property
    def slots(self) -> Slots:
        """The slots, which limit how many deliveries are handled at once."""
        return self._slots

    def resize(self, concurrency: int) -> None:
        """Sets how many deliveries are handled at once."""
        self._slots.resize(concurrency)
        self._runners.start_more()

    def accept(self, deliveries: Iterable[Delivery], fresh_until: float = math.inf) -> None:
        """Accepts deliveries, and starts as many as there are slots for.

        Args:
            deliveries: The deliveries, in order of arrival.
            fresh_until: When their leases end, by the clock of `freshness`.
        """
        self._invoker.note_tracing()
        self._waiting.extend(self._leases.add(deliveries, fresh_until))
        self._runners.start_more()

    def check_doubtful(self) -> bool:
        """Starts the deliveries that are still leased after an extension. False if there were none."""
        still_leased = [held for held in self._doubtful if held.stage is WAITING]
        self._doubtful.clear()
        self._waiting.extendleft(reversed(still_leased))
        self._runners.start_more()
        return bool(still_leased)

    @property
    def unsettled(self) -> int:
        """How many deliveries wait, run, or are held back: those that certainly fill the server's window."""
        return len(self._waiting) + len(self._doubtful) + len(self._running) + len(self._kept_back)

    def pause(self) -> None:
        """Stops starting deliveries, and settles nothing until `release`."""
        self._paused = True
        self._invoker.flush()
        self.keep_back()

    def release(self) -> None:
        """Releases the deliveries that were not started, and settles those that have ended since."""
        self._keeps_back = False
        self._release_waiting()
        self.settle_kept_back()

    def keep_back(self) -> None:
        """Settles nothing until `settle_kept_back`: each settle makes the server send more."""
        self._keeps_back = True

    def settle_kept_back(self) -> None:
        """Settles the deliveries that have ended since `keep_back`."""
        self._keeps_back = False
        while self._kept_back:
            self._settle(*self._kept_back.popleft())

    def cancel_all(self) -> None:
        """Cancels all handlers that have not ended, and releases their events."""
        self._release_waiting()
        for held in list(self._running):
            held.cancel(Cause.STOPPED)

    async def finished(self) -> None:
        """Waits until no handler is running or about to run."""
        while self._running or self._startable() > 0:
            self._finished.clear()
            await self._finished.wait()

    def close(self) -> None:
        """Stops cancelling handlers that run too long."""
        self._invoker.close()

    def _release_waiting(self) -> None:
        for waiting in (self._doubtful, self._waiting):
            while waiting:
                held = waiting.popleft()
                if held.stage is WAITING:
                    self._settle(held, _release(held))

    def _startable(self) -> int:
        """How many deliveries could start now."""
        # If the last handler was removed, the waiting deliveries are about to be released.
        if self._paused or not self._handlers():
            return 0
        return min(len(self._waiting), self._slots.free)

    def _start_next(self, runner: asyncio.Task[Any]) -> Coroutine[Any, Any, None] | None:
        """The handling of the next delivery with one handler; those with several get their own tasks."""
        while self._waiting and self._slots.free > 0 and not self._paused and (handlers := self._handlers()):
            held = self._waiting.popleft()
            if held.stage is not WAITING:  # its lease was lost
                continue
            if held.fresh_until < now():  # another worker may have the event: this one was suspended or blocked
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
        """The handlers that have not seen the event or have failed it."""
        done = self._succeeded_handlers.recall(held.delivery)
        held.succeeded = tuple(done)
        if todo := [each for each in handlers if each not in done]:
            tasks: list[asyncio.Task[None]] = []
            # Set before the tasks are created: with an eager task factory they run at once.
            self._begin(held, tasks, running=len(todo))
            for each in todo:
                task = self._loop.create_task(self._handle_as_well(held, each))
                tasks.append(task)
        else:
            self._settle(held, None)

    def _begin(self, held: Held, tasks: Sequence[asyncio.Task[Any]], *, running: int) -> None:
        held.stage = RUNNING
        held.tasks = tasks
        held.running = running
        self._running.add(held)
        self._slots.take()

    async def _handle(self, held: Held, registration: Registration) -> None:
        if (failure := await self._invoker.run(held, registration)) is not None:
            held.failures = (failure,)
        held.running = 0
        self._end(held)

    async def _handle_as_well(self, held: Held, registration: Registration) -> None:
        """Runs one of several handlers of a delivery. The last one to end settles it."""
        if (failure := await self._invoker.run(held, registration)) is not None:
            held.failures += (failure,)
        else:
            held.succeeded += (registration,)
        held.running -= 1
        if held.running == 0:
            self._end(held)
            # Not directly: with eager tasks, each delivery would be handled inside the previous one.
            self._loop.call_soon(self._runners.start_more)

    def _end(self, held: Held) -> None:
        self._running.discard(held)
        self._note_finished()
        nack = None
        if held.stage is not GONE:
            if (nack := self._nack(held)) is not None:
                self._report_failures(held)
            self._settle(held, nack)
        if held.abandoned:
            self._slots.abandon()
            _log.error("%s: an abandoned call still runs on its thread, in its slot, until it returns", self._source)
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
        elif held.stage is not GONE:
            self._settler.settle(held, self._leases, nack)

    def _returned(self, held: Held) -> None:
        """An abandoned call on a thread, whose handler was cancelled, has returned."""
        held.abandoned -= 1
        if held.abandoned == 0 and held.running == 0:
            self._slots.recover()
            self._runners.start_more()

    def _nack(self, held: Held) -> Nack | None:
        """The nack of the event; None to ack it."""
        if held.cause is not None and held.cause is Cause.STOPPED:
            return _release(held)
        if not held.failures:
            return None
        several = len(held.failures) + len(held.succeeded) > 1
        nack = nack_of(held.token, held.failures, several=several, has_key=held.delivery.key != "")
        if several and not nack.dead_letter:
            self._succeeded_handlers.remember(held.delivery, held.succeeded)
        return nack

    def _report_failures(self, held: Held) -> None:
        """Reports before the nack, so that whoever waits for the nack knows the reason."""
        for failure in held.failures:
            if failure.error is not None:
                try:
                    self._on_failure(failure.error)
                except BaseException:  # noqa: BLE001 - a failing report must not prevent the settle
                    _log.exception("%s: on_failure raised", self._source)

    def _report(self, held: Held, nack: Nack) -> None:
        head = f"{self._source}: event {held.delivery.event_id}, attempt {held.delivery.attempt}, {_result(held, nack)}"
        for failure in held.failures:
            level = logging.WARNING if failure.error is not None or failure.dead else logging.INFO
            _log.log(level, "%s: %s: %s", head, failure.registration.name, failure.message, exc_info=failure.error)


def _result(held: Held, nack: Nack) -> str:
    """What happens to the event, for the log. Only the server knows how many retries the topic's policy allows."""
    if nack.release:
        return "is released"
    max_retries = held.delivery.max_retries
    is_dead = nack.dead_letter or (max_retries is not None and held.delivery.attempt > max_retries)
    return "is dead" if is_dead else "failed"


def _release(held: Held) -> Nack:
    return Nack(delivery=held.token, release=True)
