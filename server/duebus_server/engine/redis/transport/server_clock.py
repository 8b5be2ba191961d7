"""Redis's clock, estimated between its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND

if TYPE_CHECKING:
    from duebus_server.domain.clock import Clock

DRIFT_US_PER_S = 100
"""The clocks of two ordinary hosts drift apart by less than this, in microseconds per second."""


class ServerClock:
    """Redis's TIME, estimated from its answers.

    An answer is older than its arrival, so each one gives an offset that is too small by its delay, and the largest
    offset is the most accurate. A reading is therefore never ahead of Redis by more than the drift, so a timer fires
    only slightly early, if at all. Scripts use TIME itself, so nothing is ever *delivered* early.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_us: int | None = None
        self._seen_us = 0

    def now_us(self) -> int:
        """Microseconds since the Unix epoch by Redis's clock."""
        return self._clock.now_us() + (self._offset_us or 0)

    def observe(self, redis_now_us: int) -> None:
        """An answer has arrived that Redis gave at ``redis_now_us``."""
        here_us = self._clock.now_us()
        sample = redis_now_us - here_us
        if self._offset_us is None or abs(sample - self._offset_us) > SECOND:  # first answer, or another Redis
            self._offset_us = sample
        else:
            drift = (here_us - self._seen_us) * DRIFT_US_PER_S // SECOND
            self._offset_us = max(sample, self._offset_us - drift)
        self._seen_us = here_us
