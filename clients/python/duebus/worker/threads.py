"""Threads for handlers that block."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["Job", "ThreadPool"]


class Job:
    """One call on a thread; its owner awaits `future`, whose result is (value, error)."""

    __slots__ = ("call", "future", "on_abandoned_return", "outcome")

    def __init__(self, call: Callable[[], object], future: asyncio.Future[tuple[object, BaseException | None]]):
        self.call = call
        self.future = future
        self.outcome: tuple[object, BaseException | None] = (None, None)
        # Called in the loop if the call returns after its owner has cancelled `future`.
        self.on_abandoned_return: Callable[[], None] | None = None

    def execute(self) -> None:
        """Makes the call, on the thread, and keeps the outcome."""
        try:
            self.outcome = (self.call(), None)
        except BaseException as error:  # noqa: BLE001 - passed to the owner, who decides
            self.outcome = (None, error)

    def report(self) -> None:
        """Passes the outcome to the owner, in the loop."""
        if not self.future.done():
            self.future.set_result(self.outcome)
        elif self.on_abandoned_return is not None:
            self.on_abandoned_return()


class ThreadPool:
    """Daemon threads, as many as there were calls at once. The caller limits how many calls run.

    The pool of `concurrent.futures` joins its threads when the interpreter exits, so a single hanging handler would
    keep a drained worker's process alive forever. Calls that end together wake the loop once.
    """

    def __init__(self, name: str):
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._returned: deque[Job] = deque()
        self._busy = 0
        self._threads = 0
        self._woken = False

    def start(self, call: Callable[[], object]) -> Job:
        """Starts a call on its own thread at once."""
        job = Job(call, self._loop.create_future())
        self._busy += 1
        if self._busy > self._threads:
            self._grow()
        self._jobs.put(job)
        return job

    def close(self) -> None:
        """Ends the threads once their calls have returned."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _grow(self) -> None:
        self._threads += 1
        name = f"{self._name}-{self._threads}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.execute()
            self._returned.append(job)
            del job
            self._wake()

    def _wake(self) -> None:
        # The flag is cleared before the jobs are collected: a job that still sees it set is collected by this wake-up.
        if self._woken:
            return
        self._woken = True
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        self._woken = False
        while self._returned:
            self._busy -= 1
            self._returned.popleft().report()
