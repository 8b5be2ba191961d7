"""An event loop whose clock jumps: a timer that nothing else precedes is due at once."""

from __future__ import annotations

import asyncio
import selectors

_LONGEST = 4 * 3600.0


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that moves the clock to the next timer instead of sleeping until then.

    A test that waits forever does not hang: it fails when four hours have passed.
    """

    now = 0.0
    _limit = _LONGEST

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timer is left: only a signal or another thread can wake the loop
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.now += max(timeout, 0)
        if self.now > self._limit:
            self._limit += _LONGEST
            raise TimeoutError("the test waits for something that does not happen")
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For tests that wait only for their own tasks: hours take no time, and the order is exact."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jumping.now

    def compute(self, seconds: float) -> None:
        """Makes time pass without yielding to the loop, as a computation does."""
        self._jumping.now += seconds
