"""Wakes the sessions of one group when there is something to lease. Nothing is polled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.domain.clock import Clock, Timer

    Wake = Callable[[], None]


class Waker:
    """Sleeps until the next due time of one group and then wakes the session that has waited longest.

    One session is woken at a time: it leases what it has room for and says when more is due, which wakes the next one.
    So an event wakes one session, and a burst wakes as many as it needs.

    Args:
        clock: its timers.
        engine_now_us: the engine's clock, which due times are of; another host's, perhaps.
    """

    def __init__(self, clock: Clock, engine_now_us: Callable[[], int]) -> None:
        self._clock = clock
        self._engine_now_us = engine_now_us
        self._line: dict[Wake, None] = {}
        self._due_us: int | None = None
        self._timer: Timer | None = None
        self.news = 0
        """Grows with every ``due``: whoever has leased before a change of it has not seen all there is."""

    def due(self, at_us: int) -> None:
        """Something is to be leased at ``at_us``, or now if that has passed."""
        self.news += 1
        self._arm(at_us)

    def line_up(self, wake: Wake, next_due_us: int | None, seen_news: int) -> None:
        """Wait for a turn: ``wake`` is called once, when something is due, at once if there is news already.

        Args:
            wake: called from the event loop.
            next_due_us: what the session was told when it last leased.
            seen_news: ``news`` as it was before that lease.
        """
        if self.news != seen_news:
            wake()
            return
        self._line[wake] = None
        if next_due_us is not None:
            self._arm(next_due_us)

    def step_out(self, wake: Wake) -> None:
        """Wait no longer; harmless when not in line."""
        self._line.pop(wake, None)

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, at_us: int) -> None:
        if not self._line or (self._due_us is not None and self._due_us <= at_us):
            return
        self.close()
        wait_us = at_us - self._engine_now_us()
        if wait_us <= 0:
            self._fire()
        else:
            self._due_us = at_us
            self._timer = self._clock.call_at(self._clock.now_us() + wait_us, self._fire)

    def _fire(self) -> None:
        """Wake the one that has waited longest."""
        self._due_us = self._timer = None
        if self._line:
            wake = next(iter(self._line))
            del self._line[wake]
            wake()
