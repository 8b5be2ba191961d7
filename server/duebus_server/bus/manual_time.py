"""The time of a server that a test moves: for ``duebus.testing`` and the service TestClock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from duebus_server.domain.states import EventState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.bus.engines import RunningEngine
    from duebus_server.domain.clock import ManualClock, MovableClock
    from duebus_server.domain.model import LeaseBatch
    from duebus_server.engine.watcher import Watcher

ALL_TOPICS = 1_000_000


class NotSettledError(TimeoutError):
    """Events were due or leased for too long. The message names their groups.

    Attributes:
        groups: each as TOPIC/GROUP with its counts.
    """

    def __init__(self, timeout_s: float, groups: list[str]) -> None:
        super().__init__(f"after {timeout_s:g} s these are not settled: {', '.join(groups)}")
        self.groups = groups


class ManualTime:
    """Moves the clock of a local engine, and waits until what became due is handled.

    Args:
        clock: the server's.
        running: the engine. It reports here as well as to its streams from now on.
    """

    def __init__(self, clock: ManualClock | MovableClock, running: RunningEngine) -> None:
        self._clock = clock
        self._running = running
        self._changed = asyncio.Event()
        running.engine.watch(_Listener(running.streams, self._changed.set))

    def now_us(self) -> int:
        """The server's time in microseconds since the Unix epoch."""
        return self._clock.now_us()

    async def advance(self, by_us: int, handled: Callable[[], Awaitable[None]] | None = None) -> None:
        """Move the clock. Schedules that become due on the way fire, each at its own time.

        Args:
            by_us: by how much.
            handled: waited for after each firing, before the clock is moved further.
        """
        await self._running.scheduler.advance(self._clock, by_us, handled)

    async def settle(self, timeout_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Wait until no event is due or leased in any group that has a subscriber.

        Args:
            timeout_s: how long to wait, in real seconds.
            is_over: ends the wait when it returns true. It is asked when something has ``changed``.

        Raises:
            NotSettledError: it takes longer.
        """
        try:
            async with asyncio.timeout(timeout_s):
                # Cleared before each look, which yields to the loop: a change meanwhile makes it look again.
                self._changed.clear()
                while not is_over() and await self._unsettled():
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            raise NotSettledError(timeout_s, await self._unsettled()) from None

    def changed(self) -> None:
        """Make ``settle`` look again. Called on the event loop."""
        self._changed.set()

    async def _unsettled(self) -> list[str]:
        ready, leased = EventState.READY, EventState.LEASED
        await self._running.engine.expire_leases()
        return [
            f"{topic.topic}/{group.group} ({group.counts[ready]} ready, {group.counts[leased]} leased)"
            for topic in await self._running.engine.list_topics("", ALL_TOPICS)
            for group in topic.groups
            if group.subscribers and (group.counts[ready] or group.counts[leased])
        ]


class _Listener:
    """Forwards the engine's reports, and signals that something has changed."""

    def __init__(self, inner: Watcher, changed: Callable[[], None]) -> None:
        self._inner = inner
        self._changed = changed

    def due(self, topic: str, group: str, at_us: int) -> None:
        self._inner.due(topic, group, at_us)
        self._changed()

    def leased(self, topic: str, group: str, session_id: str, batch: LeaseBatch) -> None:
        self._inner.leased(topic, group, session_id, batch)
        self._changed()

    def leases_ended(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        self._inner.leases_ended(session_id, fencing_tokens)
        self._changed()

    def leases_ran_out(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        self._inner.leases_ran_out(session_id, fencing_tokens)
        self._changed()

    def leases_extended(self, session_id: str) -> None:
        self._inner.leases_extended(session_id)

    def died(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        self._inner.died(topic, group, count, first_ids)
        self._changed()

    def suspected(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        self._inner.suspected(topic, group, count, first_ids)

    def deleted(self, topic: str, group: str | None) -> None:
        self._inner.deleted(topic, group)
        self._changed()

    def limited(self, topic: str, group: str) -> None:
        self._inner.limited(topic, group)

    def schedules_due(self, at_us: int) -> None:
        self._inner.schedules_due(at_us)
        self._changed()
