"""Time in integer microseconds since the Unix epoch, and timers on the same scale.

Until the year 2255, microseconds fit exactly into a double, which is what Redis keeps as a score.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

MICROSECOND = 1
MILLISECOND = 1_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Timer(Protocol):
    """A scheduled callback."""

    def cancel(self) -> None:
        """Cancel the call; harmless if it was already made."""


class Clock(Protocol):
    """Tells the time and runs callbacks at set times. Passed to constructors, so that tests can replace it."""

    def now_us(self) -> int:
        """The time in microseconds since the Unix epoch. Starts from the host's clock, keeps counting while the host is
        suspended, never goes back, and does not jump when the host's clock is set.
        """

    def host_us(self) -> int:
        """The host's clock, in microseconds since the Unix epoch. Jumps when it is set."""

    def call_at(self, at_us: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` once, from the event loop, when the clock has reached ``at_us``; never before."""


async def sleep_until(clock: Clock, at_us: int) -> None:
    """Return when the clock has reached ``at_us``."""
    reached = asyncio.Event()
    timer = clock.call_at(at_us, reached.set)
    try:
        await reached.wait()
    finally:
        timer.cancel()


class SystemClock:
    """The host's time at construction, carried on by a clock that also counts while the host is suspended.

    So a delay or a lease keeps its length even if the host's clock is set meanwhile.
    """

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - _since_boot_ns()

    def now_us(self) -> int:
        """The time in microseconds since the Unix epoch."""
        return (_since_boot_ns() + self._offset_ns) // 1_000

    def host_us(self) -> int:
        """The host's clock, in microseconds since the Unix epoch."""
        return time.time_ns() // 1_000

    def call_at(self, at_us: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` from the running event loop at ``at_us``, up to a millisecond late. The loop's timers stand
        still while the host is suspended, so they are late by that long.
        """
        delay_s = max(0, at_us - self.now_us()) / SECOND
        return asyncio.get_running_loop().call_later(delay_s, callback)


def _since_boot_ns() -> int:
    return time.clock_gettime_ns(_SINCE_BOOT)


_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux has a monotonic clock that counts on during suspend, and one that does not. Other systems have just one."""


class ManualClock:
    """A clock that stands still until a test moves it, so that a delay of 30 minutes takes milliseconds.

    Not thread-safe: move it on the event loop whose timers it runs.
    """

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self._host_ahead_us = 0
        self._timers: list[tuple[int, int, ManualTimer]] = []
        self._count = 0

    def now_us(self) -> int:
        """The time it was last moved to."""
        return self._now_us

    def host_us(self) -> int:
        """The same, unless a test set it to another time."""
        return self._now_us + self._host_ahead_us

    def set_host(self, by_us: int) -> None:
        """Set the host's clock forward by ``by_us``, or back."""
        self._host_ahead_us += by_us

    def sleep(self, for_us: int) -> None:
        """Suspend the host: time passes, and timers stand still."""
        self._timers = [(at_us + for_us, number, timer) for at_us, number, timer in self._timers]
        self._now_us += for_us

    def call_at(self, at_us: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` when the clock is moved to ``at_us`` or past it; at the next move if it has passed."""
        timer = ManualTimer(callback)
        self._count += 1
        heapq.heappush(self._timers, (at_us, self._count, timer))
        return timer

    def advance(self, by_us: int) -> None:
        """Move forward. Callbacks that become due on the way run in order, each at its own time.

        Raises:
            ValueError: ``by_us`` is negative.
        """
        if by_us < 0:
            raise ValueError("a clock can't go back")
        end_us = self._now_us + by_us
        while self._timers and self._timers[0][0] <= end_us:
            at_us, _, timer = heapq.heappop(self._timers)
            self._now_us = max(self._now_us, at_us)
            timer.run()
        self._now_us = end_us


class MovableClock:
    """The system's clock, which a test can move forward. It runs on in between.

    Not thread-safe, as ManualClock.
    """

    def __init__(self) -> None:
        self._system = SystemClock()
        self._ahead_us = 0
        self._timers: dict[MovableTimer, int] = {}

    def now_us(self) -> int:
        """The time in microseconds since the Unix epoch."""
        return self._system.now_us() + self._ahead_us

    def host_us(self) -> int:
        """The host's clock, moved forward by as much."""
        return self._system.host_us() + self._ahead_us

    def call_at(self, at_us: int, callback: Callable[[], None]) -> Timer:
        """See ``Clock.call_at``."""
        timer = MovableTimer(callback, self._timers)
        self._timers[timer] = at_us
        self._start(timer, at_us)
        return timer

    def advance(self, by_us: int) -> None:
        """Move forward. Callbacks that become due on the way run in order, each at its own time.

        Raises:
            ValueError: ``by_us`` is negative.
        """
        if by_us < 0:
            raise ValueError("a clock can't go back")
        end_us = self.now_us() + by_us
        while self._timers and (first := min(self._timers.items(), key=lambda each: each[1]))[1] <= end_us:
            timer, at_us = first
            self._ahead_us += max(0, at_us - self.now_us())
            timer.run()
        self._ahead_us += max(0, end_us - self.now_us())
        for timer, at_us in self._timers.items():
            self._start(timer, at_us)

    def _start(self, timer: MovableTimer, at_us: int) -> None:
        delay_s = max(0, at_us - self.now_us()) / SECOND
        timer.run_by(asyncio.get_running_loop().call_later(delay_s, timer.run))


class ManualTimer:
    """A callback that waits for a manual clock."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Cancel the callback."""
        self._callback = None

    def run(self) -> None:
        """Call back, unless cancelled."""
        if self._callback is not None:
            self._callback()


class MovableTimer(ManualTimer):
    """A callback that waits for a movable clock.

    Args:
        callback: what is called.
        waiting: the timers of the clock, which this one leaves when it has run.
    """

    def __init__(self, callback: Callable[[], None], waiting: dict[MovableTimer, int]) -> None:
        super().__init__(callback)
        self._waiting = waiting
        self._handle: asyncio.TimerHandle | None = None

    def run_by(self, handle: asyncio.TimerHandle) -> None:
        """The event loop runs it, in place of an earlier handle."""
        self._end_handle()
        self._handle = handle

    def cancel(self) -> None:
        """Cancel the callback."""
        super().cancel()
        self._leave()

    def run(self) -> None:
        """Call back, unless cancelled."""
        self._leave()
        super().run()

    def _leave(self) -> None:
        self._waiting.pop(self, None)
        self._end_handle()

    def _end_handle(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
