"""One run of a worker, from its start to the last settle."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial

from duebus.aio import Client
from duebus.errors import DueBusError
from duebus.worker.outages import Outage
from duebus.worker.registry import Registry, Source
from duebus.worker.schedules import Declaration, declare
from duebus.worker.settings import Settings
from duebus.worker.settler import Settler
from duebus.worker.source_worker import SourceWorker
from duebus.worker.tasks import until_first_ends
from duebus.worker.threads import ThreadPool
from duebus.worker.watchdog import Watchdog

__all__ = ["Serving"]

# How many seconds cancelled handlers and their releases may take before a stop gives up.
_END_TIMEOUT = 1.0

_log = logging.getLogger("duebus.worker")


class Serving:
    """Runs one source worker for each source that has handlers, and stops them all together.

    It puts the declared schedules once every source is subscribed, so that each firing finds its group.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        client: Client,
        on_failure: Callable[[BaseException], None],
        declarations: Sequence[Declaration] = (),
    ) -> None:
        self._declarations = declarations
        self._declared = asyncio.Event()
        self._registry = registry
        self._on_failure = on_failure
        self._settings = settings
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._settler = Settler(client)
        self._threads = ThreadPool("duebus-worker")
        self._outage = Outage("the server can be reached again")
        self._watchdog = Watchdog(settings.lease.total_seconds(), registry.all)
        self._open: dict[Source, SourceWorker] = {}
        # Includes closed ones that are still finishing what they started.
        self._running: dict[asyncio.Task[None], SourceWorker] = {}
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self.ended = asyncio.Event()
        self._failure: BaseException | None = None

    def handlers_changed(self) -> None:
        """A handler was added or removed. Thread-safe."""
        self._call_soon(self._reconcile)

    def request_stop(self, *, now: bool) -> None:
        """Drains, or cancels the running handlers. Thread-safe."""
        self._call_soon(self._stop_now.set if now else self._stop.set)

    async def ready(self) -> None:
        """Waits until every source that has handlers now is subscribed, and the declared schedules are stored.

        Raises:
            DueBusError: The worker stops because of an error.
            RuntimeError: The worker stops for another reason.
        """
        self._reconcile()
        await until_first_ends(self._all_ready(), self._stop.wait())
        if self._stop.is_set():
            raise self._failure or RuntimeError("the worker stops")

    async def run(self) -> None:
        """Serves until it is stopped.

        Raises:
            DueBusError: An error that no retry can cure; what could be finished has been.
        """
        settling = asyncio.create_task(self._settle())
        self._reconcile()
        declaring = asyncio.create_task(self._declare())
        try:
            await until_first_ends(self._stop.wait(), self._stop_now.wait())
            await until_first_ends(self._drain(), self._stop_now.wait())
        finally:
            await self._end()
            settling.cancel()
            declaring.cancel()
            await asyncio.gather(settling, declaring, return_exceptions=True)
            self.ended.set()
        if self._failure is not None:
            raise self._failure

    async def _all_started(self) -> None:
        for each in list(self._open.values()):
            await each.started()

    async def _all_ready(self) -> None:
        await self._all_started()
        await self._declared.wait()

    async def _declare(self) -> None:
        try:
            if self._declarations:
                await self._all_started()
                await declare(self._client, self._declarations, self._settings.engine)
            self._declared.set()
        except Exception as error:  # noqa: BLE001 - as in `_attend`
            self._fail(error)

    async def _settle(self) -> None:
        try:
            await self._settler.run()
        except DueBusError as error:
            self._fail(error)
            self._stop_now.set()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stop.set()

    def _handler_failed(self, error: BaseException) -> None:
        """Drains the worker after a Ctrl-C that hit a handler, as after one that hit the loop."""
        if isinstance(error, KeyboardInterrupt):
            self._fail(error)
        self._on_failure(error)

    def _call_soon(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run has ended
            self._loop.call_soon_threadsafe(call)

    def _reconcile(self) -> None:
        """Opens and closes source workers to match the sources that have handlers."""
        if self._stop.is_set() or self._stop_now.is_set():
            return
        wanted = set(self._registry.sources())
        for source in self._open.keys() - wanted:
            self._open.pop(source).close()
        for source in wanted - self._open.keys():
            self._open_source(source)
        for each in self._open.values():
            each.handlers_changed()

    def _open_source(self, source: Source) -> None:
        worker = SourceWorker(
            source,
            partial(self._registry.handlers, source),
            settings=self._settings,
            client=self._client,
            settler=self._settler,
            threads=self._threads,
            failed=self._fail,
            on_failure=self._handler_failed,
            outage=self._outage,
        )
        self._open[source] = worker
        self._running[asyncio.create_task(self._attend(worker))] = worker

    async def _attend(self, worker: SourceWorker) -> None:
        try:
            await worker.run()
        except Exception as error:  # noqa: BLE001 - raised by `run`, for the caller
            self._fail(error)

    async def _drain(self) -> None:
        for worker in self._running.values():
            worker.close()
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.drain_timeout)

    async def _end(self) -> None:
        """Cancels what has not ended, and releases as much as possible in a short time."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        workers = list(self._running.values())
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                await asyncio.gather(*(each.settled() for each in workers))
        except TimeoutError:
            left = sum(each.held for each in workers)
            _log.warning("stopped with %d unsettled leases; their events are delivered again when these run out", left)
        self._threads.close()
        self._watchdog.close()
