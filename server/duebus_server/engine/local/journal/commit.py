"""Group commit: one write and one sync for all records that were appended meanwhile."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum, StrEnum, auto
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.base import untimed
from duebus_server.engine.local.journal.appender import Run, is_full

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from duebus_server.engine.base import StorageTimer
    from duebus_server.engine.local.journal.appender import Appender

log = structlog.get_logger()

SYNC_EVERY_S = 1.0
SYNC_EVERY_BYTES = 16 << 20
"""With EVERYSEC, a sync begins after this time or this many bytes, whichever comes first."""

QUICK_BYTES = 1 << 20
"""The most that is written on the event loop. That takes a tenth of the time of handing it to a thread, unless there is
much to copy.
"""

SLOW_WRITE_S = 0.05
SLOW_FOR_S = 1.0
"""A thread writes for this long after a write that took longer than SLOW_WRITE_S: the disk may stall again. A busy
machine can interrupt a write for some 20 ms.
"""

TRY_AGAIN_S = 1.0
"""The pause between attempts to write to a full disk."""

Waiters = list[tuple[int, int, "asyncio.Future[None]"]]
"""A heap of positions, each with a number that breaks ties, and the future that waits for it."""


class Fsync(StrEnum):
    """When a record counts as saved, so that it may be reported to callers and workers."""

    ALWAYS = "always"
    """Once it is on the disk."""
    EVERYSEC = "everysec"
    """Once it is written: a crash of the host can lose the last second."""


class Space(Enum):
    """How much space the disk has left. A start finds it AMPLE if the reserve can be taken, otherwise SCARCE.

    ============  ==============================================  ======
    AMPLE         a write finds the disk full, frees the reserve  SCARCE
    SCARCE        a write finds the disk full, nothing is freed   NONE
    NONE          a write succeeds                                SCARCE
    SCARCE, NONE  the reserve is taken again                      AMPLE
    ============  ==============================================  ======
    """

    AMPLE = auto()
    """The reserve is taken. Everything is written."""
    SCARCE = auto()
    """Nothing is left except for the reserve, which may be in use already: no dispatches."""
    NONE = auto()
    """The reserve is used up too. Records wait in memory, and every verb is refused."""


class GroupCommit:
    """Writes appended records, in order. Use it on the event loop only.

    A write that only copies bytes to the system's memory is made on the event loop. A thread makes those that may take
    longer: with a sync, beside a sync of the same file, to a new segment, of many bytes, or shortly after a slow one.

    Positions count the bytes of all records that were appended, in order.

    Attributes:
        position: the end of the last record that was appended.
        saved: the end of the last record that is saved.
        failure: why writing has failed for good; None if it has not.
        synced_s: when the last sync ended, in seconds since the Unix epoch; None if there was none.
        space: how much space the disk has left.

    Args:
        appender: writes the files.
        fsync: when a record is saved.
        on_failure: called once when writing has failed for good.
        timed: called after each write and sync.
    """

    def __init__(
        self,
        appender: Appender,
        fsync: Fsync,
        on_failure: Callable[[DispatcherNotWorking], None],
        timed: StorageTimer = untimed,
    ) -> None:
        self.position = 0
        self.failure: DispatcherNotWorking | None = None
        self.synced_s: float | None = None
        self.space = Space.AMPLE
        self._appender = appender
        self._always = fsync is Fsync.ALWAYS
        self._on_failure = on_failure
        self._timed = timed
        self._runs: deque[Run] = deque()
        self._written = 0
        self._synced = 0
        self._sync_wanted = 0
        self._has_work = asyncio.Event()
        self._waiting: Waiters = []
        self._waiting_for_sync: Waiters = []
        self._numbers = count()
        self._writing = ThreadPoolExecutor(1, "journal")
        self._syncing = ThreadPoolExecutor(1, "journal sync")
        self._tasks: set[asyncio.Task[None]] = set()
        self._sync_timer: asyncio.TimerHandle | None = None
        self._sync_under_way = False
        self._slow_until_s = 0.0

    @property
    def saved(self) -> int:
        """The end of the last record that is saved."""
        return self._synced if self._always else self._written

    @property
    def synced(self) -> int:
        """The end of the last record that is on the disk."""
        return self._synced

    def start(self) -> None:
        """Begin to write."""
        self._start_task(self._run(), "journal")
        if self.space is not Space.AMPLE:
            log.error("the disk is full: dispatches are refused")
            self._start_task(self._regain_reserve(), "journal reserve")

    def append(self, segment: int, kind: int, body: bytes, size: int) -> None:
        """Append a record of ``size`` bytes. It is written soon, whether or not anyone waits for it."""
        if not self._runs or self._runs[-1].segment != segment:
            self._runs.append(Run(segment, []))
        self._runs[-1].records.append((kind, body))
        self.position += size
        self._has_work.set()

    async def wait_saved(self, position: int) -> None:
        """Return when the records up to ``position`` are saved.

        Raises:
            DispatcherNotWorking: they can't be, or not now.
        """
        if self.saved < position:
            if self._always:
                self._sync_wanted = max(self._sync_wanted, position)
            await self._wait(self._waiting, position)

    async def wait_synced(self, position: int) -> None:
        """Return when the records up to ``position`` are on the disk.

        Raises:
            DispatcherNotWorking: they can't be, or not now.
        """
        if self._synced < position:
            self._sync_wanted = max(self._sync_wanted, position)
            await self._wait(self._waiting_for_sync, position)

    async def remove(self, segment: int) -> None:
        """Remove a segment that is no longer needed. If the disk refuses, a restart tries again.

        Raises:
            DispatcherNotWorking: the disk refuses.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._writing, self._appender.remove, segment)
        except OSError as error:
            if not is_full(error):
                self.fail(error)
            raise DispatcherNotWorking(f"segment {segment} could not be removed: {error}") from error

    def reserve_space(self) -> None:
        """Take the reserve, before ``start``. A disk without space for it is full.

        Raises:
            OSError: the directory can't be written to.
        """
        try:
            self._appender.take_reserve()
        except OSError as error:
            if not is_full(error):
                raise
            self.space = Space.SCARCE

    async def stop(self) -> None:
        """Write and sync what was appended, unless the disk refuses it, and end the threads."""
        if self.failure is None and self.space is not Space.NONE:
            with suppress(DispatcherNotWorking):
                await self.wait_synced(self.position)
        await self.abandon()

    async def abandon(self) -> None:
        """End without writing what was appended last."""
        if self._sync_timer is not None:
            self._sync_timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for thread in (self._writing, self._syncing):
            await asyncio.to_thread(thread.shutdown)
        self._appender.close()
        self._refuse(DispatcherNotWorking("engine local is stopped"))

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self.failure is None:
            await self._has_work.wait()
            self._has_work.clear()
            while self.failure is None and (self._runs or self._sync_wanted > self._synced):
                await self._write()

    async def _write(self) -> None:
        """Write what has been appended so far."""
        runs, self._runs = self._runs, deque()
        position = self.position
        sync = self._sync_wanted > self._synced
        began_s = time.perf_counter()
        try:
            if sync or self._may_block(runs):
                write = partial(self._appender.write, runs, sync=sync)
                await asyncio.get_running_loop().run_in_executor(self._writing, write)
            else:
                self._write_at_once(runs)
        except OSError as error:
            self._put_back(runs)
            if is_full(error):
                await self._find_room(error)
            else:
                self.fail(error)
            return
        if self.space is Space.NONE:
            self.space = Space.SCARCE
        self._written = position
        self._timed("sync" if sync else "write", time.perf_counter() - began_s)
        if sync:
            self._synced, self.synced_s = position, time.time()
        elif not self._always:
            self._sync_soon()
        self._answer()

    def _may_block(self, runs: deque[Run]) -> bool:
        """Whether writing these records, without a sync, may take longer than the event loop can wait."""
        return (
            self._sync_under_way
            or self.position - self._written > QUICK_BYTES
            or asyncio.get_running_loop().time() < self._slow_until_s
            or not self._appender.continues(runs)
        )

    def _write_at_once(self, runs: deque[Run]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            self._appender.write(runs, sync=False)
        finally:
            if loop.time() - began_s > SLOW_WRITE_S:
                self._slow_until_s = loop.time() + SLOW_FOR_S

    def _put_back(self, runs: deque[Run]) -> None:
        """Put records that could not be written back at the front."""
        self._runs.extendleft(reversed(runs))

    async def _find_room(self, error: OSError) -> None:
        """Free the reserve. If it is used up, refuse what waits, and try again later."""
        has_freed = await asyncio.get_running_loop().run_in_executor(self._writing, self._appender.free_reserve)
        if self.space is Space.AMPLE:  # perhaps the reserve was taken again just before
            log.error("the disk is full: dispatches are refused", error=str(error))
            self._start_task(self._regain_reserve(), "journal reserve")
        self.space = Space.SCARCE if has_freed else Space.NONE
        if not has_freed:
            self._refuse(disk_is_full())
            await asyncio.sleep(TRY_AGAIN_S)

    async def _regain_reserve(self) -> None:
        """Take the reserve again once there is space."""
        while self.space is not Space.AMPLE and self.failure is None:
            await asyncio.sleep(TRY_AGAIN_S)
            with suppress(OSError):
                await asyncio.get_running_loop().run_in_executor(self._writing, self._appender.take_reserve)
                self.space = Space.AMPLE
        log.info("the disk has space again")

    # --- syncing with EVERYSEC ----------------------------------------------------------------------------------------

    def _sync_soon(self) -> None:
        if self._written - self._synced >= SYNC_EVERY_BYTES:
            self._sync_now()
        elif self._sync_timer is None:
            self._sync_timer = asyncio.get_running_loop().call_later(SYNC_EVERY_S, self._sync_now)

    def _sync_now(self) -> None:
        if self._sync_timer is not None:
            self._sync_timer.cancel()
            self._sync_timer = None
        if self.failure is None and not self._sync_under_way:
            self._sync_under_way = True
            self._start_task(self._sync(), "journal sync")

    async def _sync(self) -> None:
        position, began_s = self._written, time.perf_counter()
        try:
            await asyncio.get_running_loop().run_in_executor(self._syncing, self._appender.sync_behind)
        except OSError as error:
            self.fail(error)
            return
        finally:
            self._sync_under_way = False
        self._timed("sync", time.perf_counter() - began_s)
        self._synced, self.synced_s = max(self._synced, position), time.time()
        self._answer()
        if self._written > self._synced:
            self._sync_soon()

    # --- waiting ------------------------------------------------------------------------------------------------------

    async def _wait(self, waiting: Waiters, position: int) -> None:
        if self.failure is not None:
            raise self.failure
        if self.space is Space.NONE:
            raise disk_is_full()
        done = asyncio.get_running_loop().create_future()
        heapq.heappush(waiting, (position, next(self._numbers), done))
        self._has_work.set()
        await done

    def _answer(self) -> None:
        """Wake those whose records are saved or synced."""
        _wake(self._waiting, self.saved)
        _wake(self._waiting_for_sync, self._synced)

    def _refuse(self, error: DispatcherNotWorking) -> None:
        """Fail every wait: the records are not saved."""
        for waiting in (self._waiting, self._waiting_for_sync):
            for _, _, done in waiting:
                if not done.done():
                    done.set_exception(error)
            waiting.clear()

    def fail(self, error: BaseException, operation: str = "written") -> DispatcherNotWorking:
        """Stop writing. A sync that failed can't be repeated: the next one may succeed although the bytes are lost.

        Args:
            error: what happened.
            operation: what could not be done, as a participle.

        Returns:
            The first failure.
        """
        if self.failure is None:
            self.failure = DispatcherNotWorking(f"the journal could not be {operation}: {error}")
            log.critical(f"the journal could not be {operation}: the engine stops", error=str(error))
            self._refuse(self.failure)
            self._on_failure(self.failure)
        return self.failure

    def _start_task(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail every wait when a task ends with an unexpected error, such as MemoryError: they would hang otherwise."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)


def disk_is_full() -> DispatcherNotWorking:
    """The error of a verb that a full disk refuses."""
    return DispatcherNotWorking("the disk is full", retry_after_us=int(TRY_AGAIN_S * 1_000_000))


def _wake(waiting: Waiters, reached: int) -> None:
    while waiting and waiting[0][0] <= reached:
        _, _, done = heapq.heappop(waiting)
        if not done.done():
            done.set_result(None)
