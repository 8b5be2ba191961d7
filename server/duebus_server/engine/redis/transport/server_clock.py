"""What Redis's clock says, between two answers of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND

if TYPE_CHECKING:
    from duebus_server.domain.clock import Clock

DRIFT_US_PER_S = 100
"""Two clocks of ordinary hosts drift apart by less than this, in microseconds a second."""


class ServerClock:
    """Redis's TIME, as far as its answers tell.

    An answer is older than its arrival, so each one shows an offset that is too small by its delay; the largest one
    is the nearest to the truth. A reading is therefore never ahead of Redis by more than the drift, and nothing that
    is timed by it comes much too early; scripts judge by TIME itself, so nothing is ever *delivered* early.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_us: int | None = None
        self._seen_us = 0

    def now_us(self) -> int:
        """Microseconds since the Unix epoch by Redis's clock."""
        return self._clock.now_us() + (self._offset_us or 0)

    def observe(self, redis_now_us: int) -> None:
        """An answer has come that was given at ``redis_now_us``."""
        here_us = self._clock.now_us()
        sample = redis_now_us - here_us
        if self._offset_us is None or abs(sample - self._offset_us) > SECOND:  # first answer, or another Redis
            self._offset_us = sample
        else:
            drift = (here_us - self._seen_us) * DRIFT_US_PER_S // SECOND
            self._offset_us = max(sample, self._offset_us - drift)
        self._seen_us = here_us
