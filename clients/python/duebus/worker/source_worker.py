"""Runs the handlers of one topic and group."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from duebus._aio.subscription import Subscription
from duebus.aio import Client
from duebus.errors import DueBusError
from duebus.worker.executor import Executor
from duebus.worker.held import HeldLeases
from duebus.worker.lease_keeper import LeaseKeeper
from duebus.worker.outages import Outage
from duebus.worker.registry import Registration, Source
from duebus.worker.settings import Settings
from duebus.worker.settler import ACK_BYTES, Settler
from duebus.worker.stream import Stream
from duebus.worker.tasks import until_first_ends
from duebus.worker.threads import ThreadPool

__all__ = ["SourceWorker"]

_log = logging.getLogger("duebus.worker")


class SourceWorker:
    """A stream, the executor that it feeds, and the keeper of their leases, from the first handler to the last settle.

    Args:
        handlers: Returns the handlers that are registered now.
        failed: Called with an error that no retry can cure, as soon as the stream has it.
        on_failure: See `Worker.serve`.
        outage: See `Stream`.
    """

    def __init__(
        self,
        source: Source,
        handlers: Callable[[], tuple[Registration, ...]],
        *,
        settings: Settings,
        client: Client,
        settler: Settler,
        threads: ThreadPool,
        failed: Callable[[DueBusError], None],
        on_failure: Callable[[BaseException], None],
        outage: Outage,
    ) -> None:
        self._source = source
        self._handlers = handlers
        self._settings = settings
        self._client = client
        self._failed = failed
        self._close_wanted = asyncio.Event()
        self._leases = HeldLeases()
        self._executor = Executor(
            source,
            handlers,
            leases=self._leases,
            settler=settler,
            threads=threads,
            interceptors=settings.interceptors,
            concurrency=self._concurrency(),
            max_execution=settings.max_execution,
            on_failure=on_failure,
            doubt=self._extend_now,
        )
        self._keeper = LeaseKeeper(client, source, self._leases, settings.lease, self._extended)
        self._stream = Stream(
            source,
            self._open_stream,
            most_named=self._most_named,
            leases=self._leases,
            executor=self._executor,
            keeper=self._keeper,
            settler=settler,
            outage=outage,
        )

    @property
    def held(self) -> int:
        """Leases held."""
        return len(self._leases)

    async def started(self) -> None:
        """Waits until the first stream is open."""
        await self._stream.started.wait()

    def handlers_changed(self) -> None:
        """A handler was added, or one that is not the last was removed."""
        self._executor.resize(self._concurrency())

    def close(self) -> None:
        """Makes `run` finish what was started, release the rest, and return when all is settled."""
        self._close_wanted.set()

    async def run(self) -> None:
        """Handles events until it is closed. If it is cancelled, handlers are cancelled and their events released.

        Raises:
            DueBusError: The leases can't be extended, and no retry can cure that.
        """
        try:
            await until_first_ends(self._live(), self._keeper.run())
        finally:
            self._executor.pause()
            self._executor.release()
            self._executor.cancel_all()
            self._executor.close()

    async def settled(self) -> None:
        """Waits until all handlers have ended and no lease is held."""
        await self._executor.finished()
        await self._leases.emptied()

    def _extend_now(self) -> None:
        self._keeper.extend_now()

    def _extended(self) -> None:
        if self._executor.check_doubtful():
            self._stream.misjudged()

    async def _live(self) -> None:
        try:
            await until_first_ends(self._stream.run(), self._quiet_after_close())
        except DueBusError as error:
            _log.error("%s: the subscription ends: %s", self._source, error)
            self._failed(error)
        self._executor.pause()
        self._executor.release()
        await self.settled()

    async def _quiet_after_close(self) -> None:
        await self._close_wanted.wait()
        self._executor.pause()
        await self._stream.quiet()

    def _concurrency(self) -> int:
        handlers = self._handlers()
        wanted = [each.concurrency for each in handlers if each.concurrency is not None]
        batches = [each.batching.size for each in handlers if each.batching is not None]
        return min(wanted, default=max(self._settings.concurrency, *batches, 1))

    def _most_named(self) -> int:
        """How many leases fit into the request of a stream."""
        return self._client.max_request_bytes // ACK_BYTES

    def _open_stream(self, held_lease_tokens: Sequence[str], is_limited: bool) -> Subscription:
        settings, concurrency = self._settings, self._concurrency()
        return self._client.subscribe(
            self._source.topic,
            group=self._stream.group,
            ephemeral=self._source.ephemeral,
            engine=settings.engine,
            consumer=settings.consumer,
            max_in_flight=concurrency if is_limited else settings.max_in_flight(concurrency),
            max_in_flight_bytes=settings.max_in_flight_bytes,
            lease=settings.lease,
            held_lease_tokens=held_lease_tokens,
        )
