"""Rates over the last minute, in a fixed amount of memory."""

from __future__ import annotations

from duebus_server.domain.clock import SECOND

WINDOW_S = 60


class RateMeter:
    """Counts in buckets of one second, and keeps them for a minute."""

    __slots__ = ("_buckets", "_first_s", "_last_s", "_sum")

    def __init__(self, now_us: int) -> None:
        self._buckets = [0] * WINDOW_S
        self._sum = 0
        self._first_s = self._last_s = now_us // SECOND

    def mark(self, count: int, now_us: int) -> None:
        """Count ``count`` events at ``now_us``."""
        self._turn(now_us // SECOND)
        self._buckets[self._last_s % WINDOW_S] += count
        self._sum += count

    def per_second(self, now_us: int) -> float:
        """The average over the last minute, or since the meter was made if that is shorter."""
        if not self._sum:  # as in most groups of a bus with many
            return 0.0
        self._turn(now_us // SECOND)
        return self._sum / min(WINDOW_S, self._last_s - self._first_s + 1)

    def _turn(self, second: int) -> None:
        """Empty the buckets of the seconds that have passed since the last call."""
        for passed in range(self._last_s + 1, min(second, self._last_s + WINDOW_S) + 1):
            self._sum -= self._buckets[passed % WINDOW_S]
            self._buckets[passed % WINDOW_S] = 0
        self._last_s = max(self._last_s, second)
