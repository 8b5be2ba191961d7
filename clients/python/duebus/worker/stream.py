"""The stream of one subscription, which is reopened whenever it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from duebus._aio.subscription import Subscription
from duebus._core.backoff import Backoff
from duebus._core.enums import ClosingReason
from duebus._core.frames import Closing, Deliveries, Frame, Started
from duebus._core.retry import is_permanent
from duebus.errors import DueBusError
from duebus.worker.executor import Executor
from duebus.worker.freshness import Freshness, now
from duebus.worker.held import HeldLeases
from duebus.worker.lease_keeper import LeaseKeeper
from duebus.worker.outages import Outage
from duebus.worker.registry import Source
from duebus.worker.settler import Settler
from duebus.worker.tasks import until_first_ends

__all__ = ["Stream"]

# Seconds. A frame that was on its way when the executor was paused arrives within the first; the second ends the wait
# for a server that never stops sending.
_QUIET = 0.05
_QUIET_AT_MOST = 1.0

_log = logging.getLogger("duebus.worker")


class Stream:
    """Reads deliveries into the executor, and reports the state of the leases to the lease keeper.

    Args:
        open_stream: Opens one stream, naming the leases still held, and whether the group is limited: every delivery
            counts, so the stream may hold no more than is handled at once.
        most_named: Returns how many leases fit into the request of a stream.
        outage: The outage that all streams of the worker share: without the server, they all break.

    Attributes:
        group: The source's group, or the name that the server gave it.
    """

    def __init__(
        self,
        source: Source,
        open_stream: Callable[[Sequence[str], bool], Subscription],
        *,
        most_named: Callable[[], int],
        leases: HeldLeases,
        executor: Executor,
        keeper: LeaseKeeper,
        settler: Settler,
        outage: Outage,
    ) -> None:
        self.group = source.group
        self._source = source
        self._open_stream = open_stream
        self._most_named = most_named
        self._leases = leases
        self._executor = executor
        self._keeper = keeper
        self._settler = settler
        self._backoff = Backoff()
        self._outage = outage
        # How many deliveries the open stream may hold; 0 while none is open.
        self._window = 0
        # As the last stream said.
        self._limited = False
        # Leases that the request of the last stream named, and those that did not fit.
        self._named: Sequence[str] = ()
        self._unnamed: Sequence[str] = ()
        self._freshness = Freshness()
        self._lease = timedelta(0)
        self._arrival = asyncio.Event()
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Reads until it is cancelled.

        Raises:
            DueBusError: An error that no retry can cure.
        """
        while True:
            await self._until_usable()
            await asyncio.sleep(await self._read_one_stream())

    def misjudged(self) -> None:
        """A delivery that seemed late was not: the engine's clock was set."""
        self._freshness.misjudged()

    async def quiet(self) -> None:
        """Waits until no delivery is on its way. The executor must keep back what it settles.

        A delivery that arrives after the stream was closed can't be released: it would cost an attempt and the
        disconnect grace. Once the window is full, none can arrive.
        """
        try:
            async with asyncio.timeout(_QUIET_AT_MOST):
                while self._window > self._executor.unsettled and await self._arrives():
                    pass
        except TimeoutError:
            return

    async def _arrives(self) -> bool:
        self._arrival.clear()
        try:
            async with asyncio.timeout(_QUIET):
                await self._arrival.wait()
        except TimeoutError:
            return False
        return True

    async def _read_one_stream(self) -> float:
        """Reads until the stream ends. Returns how many seconds to wait before opening the next one."""
        try:
            return await self._read()
        except DueBusError as error:
            if is_permanent(error):
                raise
            return self._pause_after(error)
        finally:
            self._window = 0
            self._keeper.detached()

    async def _read(self) -> float:
        held, most = self._leases.tokens(), self._most_named()
        self._named, self._unnamed = held[:most], held[most:]
        async with self._open_stream(self._named, self._limited) as subscription:
            return await self._read_frames(subscription.frames())

    async def _until_quiet(self, frames: AsyncIterator[Frame]) -> float:
        """Reads what a stream that may hold too much has been sent. It is then opened again, with a smaller window."""
        self._executor.keep_back()
        ended: list[float] = []

        async def read() -> None:
            ended.append(await self._read_frames(frames))

        try:
            await until_first_ends(read(), self.quiet())
        finally:
            self._executor.settle_kept_back()
        return ended[0] if ended else 0.0

    async def _read_frames(self, frames: AsyncIterator[Frame]) -> float:
        async for frame in frames:
            if isinstance(frame, Deliveries):
                self._accept(frame)
                self._arrival.set()
            elif isinstance(frame, Closing):
                return self._pause_after_closing(frame)
            elif isinstance(frame, Started) and self._is_too_wide(frame):
                return await self._until_quiet(frames)
            if self._executor.slots.all_abandoned:
                return 0.0
        return self._backoff.next()

    def _is_too_wide(self, frame: Started) -> bool:
        """Note that the stream has started. Returns whether it may hold too much, because the group is limited."""
        was_limited, self._limited = self._limited, frame.limited
        self._on_started(frame)
        return frame.limited and not was_limited

    def _accept(self, frame: Deliveries) -> None:
        if frame.deliveries:  # they were leased together
            fresh_until = self._freshness.until(frame.deliveries[0], self._lease)
            self._executor.accept(frame.deliveries, fresh_until)

    def _on_started(self, frame: Started) -> None:
        self.group = frame.group or self.group
        lost = self._leases.lose(frame.lost_lease_tokens)
        _log.info(
            "%s: subscribed, session %s; %d leases kept, %d lost",
            self._source,
            frame.session_id,
            len(self._leases),
            lost,
        )
        self._window = frame.max_in_flight
        self._lease = frame.lease
        self._freshness.reset()
        self._leases.renew(self._named, now() + frame.lease.total_seconds())
        self._keeper.attached(frame.lease, frame.disconnect_grace)
        if self._unnamed:
            self._keeper.extend_now()
        self._settler.retry_now()
        self._backoff.reset()
        self._outage.ended()
        self.started.set()

    async def _until_usable(self) -> None:
        """Unsubscribes while abandoned calls take every slot, so that other workers handle the events."""
        if self._executor.slots.all_abandoned:
            _log.error("%s: abandoned calls take all slots; unsubscribed until one of them returns", self._source)
            self._executor.release()
            await self._executor.slots.usable()

    def _pause_after_closing(self, frame: Closing) -> float:
        if frame.reason is ClosingReason.REBALANCE:
            _log.debug("%s: the server asked the worker to subscribe again, on any server", self._source)
            return 0.0
        # The backoff spreads the workers if a server closes all streams at once.
        pause = frame.reconnect_after.total_seconds() + self._backoff.next()
        _log.info("%s: the server closed the stream (%s); reconnecting in %.2f s", self._source, frame.reason, pause)
        return pause

    def _pause_after(self, error: DueBusError) -> float:
        pause = self._backoff.next()
        if error.retry_after is not None:
            pause += error.retry_after.total_seconds()
        self._outage.failed("%s: the stream could not be opened and will be retried: %s", self._source, error)
        return pause
