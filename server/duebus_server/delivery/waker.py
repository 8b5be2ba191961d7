"""Wakes the sessions of one group when there is something to lease. Nothing is polled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.domain.clock import Clock, Timer

    Wake = Callable[[], None]

LOOK_AGAIN_US = SECOND
"""A safety net: events given back take their old places, which no word of what is due next can tell from others."""


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
        self._sitting_out: dict[Wake, int] = {}
        self._due_us: int | None = None
        self._timer: Timer | None = None
        self._look_again_timer: Timer | None = None
        self.news = 0
        """Grows with every ``due`` and ``took``: whoever has leased before a change of it has not seen all there is."""

    def due(self, at_us: int) -> None:
        """Something is to be leased at ``at_us``, or now if that has passed."""
        self.news += 1
        self._call_in(lambda too_large_us: at_us < too_large_us)
        self._arm(at_us)

    def took(self, next_due_us: int | None) -> None:
        """A session has leased something; what is due next is for those in line, also for those that sat out."""
        self.news += 1
        self._call_in(lambda _: True)
        if next_due_us is not None:
            self._arm(next_due_us)

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

    def sit_out(self, wake: Wake, too_large_us: int, seen_news: int) -> None:
        """Wait for a turn, but not for the event that is due at ``too_large_us``: back in line when it is another's.

        Args:
            wake: as in ``line_up``.
            too_large_us: when the event was due that the session has no room for.
            seen_news: as in ``line_up``.
        """
        if self.news != seen_news:
            wake()
            return
        self._sitting_out[wake] = too_large_us
        if self._look_again_timer is None:
            self._look_again_timer = self._clock.call_at(self._clock.now_us() + LOOK_AGAIN_US, self._look_again)
        self._arm(too_large_us)

    def step_out(self, wake: Wake) -> None:
        """Wait no longer; harmless when not in line."""
        self._line.pop(wake, None)
        self._sitting_out.pop(wake, None)

    def close(self) -> None:
        """Let go of the timers."""
        for timer in (self._timer, self._look_again_timer):
            if timer is not None:
                timer.cancel()

    def _call_in(self, concerns: Callable[[int], bool]) -> None:
        """Put those that sat out back in line, where the event they had no room for is not what is due next now."""
        for wake in [wake for wake, too_large_us in self._sitting_out.items() if concerns(too_large_us)]:
            del self._sitting_out[wake]
            self._line[wake] = None

    def _look_again(self) -> None:
        self._look_again_timer = None
        self._call_in(lambda _: True)
        self._arm(self._engine_now_us())

    def _arm(self, at_us: int) -> None:
        if not self._line or (self._due_us is not None and self._due_us <= at_us):
            return
        if self._timer is not None:
            self._timer.cancel()
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
