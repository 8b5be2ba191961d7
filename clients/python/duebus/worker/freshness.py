"""Whether a delivery that waits in this worker is still leased to it."""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from duebus._core.delivery import Delivery

__all__ = ["Freshness", "now"]

# It keeps counting while the machine sleeps; the loop's clock does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


now: Callable[[], float] = partial(time.clock_gettime, _CLOCK)
"""A monotonic clock, in seconds. It is read for each event, so it is called directly."""


class Freshness:
    """Estimates when the leases of one stream end, by the clock of this process.

    The clocks of process and engine are assumed to agree until that turns out to be wrong. A delivery also counts as
    late by how much longer it took to arrive than the fastest one. A wrong estimate only costs a needless extension.
    """

    def __init__(self) -> None:
        self._least_age = math.inf
        self._clocks_agree = True

    def misjudged(self) -> None:
        """A delivery that seemed late was not: the clocks differ, or one was set."""
        self._clocks_agree = False
        self.reset()

    def reset(self) -> None:
        """Starts over: a delivery that counted as late was not."""
        self._least_age = math.inf

    def until(self, delivery: Delivery, lease: timedelta) -> float:
        """When the lease ends unless it is extended."""
        arrived = now()
        if not (expires := delivery._expires_at):  # noqa: SLF001 - for this module alone
            return arrived + lease.total_seconds()
        age = arrived - expires
        self._least_age = min(self._least_age, age)
        until = arrived - (age - self._least_age) + lease.total_seconds()
        return min(until, arrived + expires - time.time()) if self._clocks_agree else until
