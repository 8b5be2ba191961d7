"""Whether a delivery that waits in this worker is still leased to it."""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from duebus._core.delivery import Delivery

__all__ = ["Freshness", "now"]

# It counts on while the machine sleeps, which the loop's clock does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


now: Callable[[], float] = partial(time.clock_gettime, _CLOCK)
"""Seconds since some fixed moment. Asked for each event, so there is no Python in between."""


class Freshness:
    """Estimates until when the deliveries of one stream are leased, by the clock of this process.

    It and the engine's are taken to agree until that turns out to be wrong. Besides, a delivery counts as late by what
    its way here took longer than that of the quickest one. A wrong estimate costs an extension that was not needed.
    """

    def __init__(self) -> None:
        self._least_age = math.inf
        self._clocks_agree = True

    def misjudged(self) -> None:
        """A delivery that seemed to be late was not: the clocks are apart, or one was set."""
        self._clocks_agree = False
        self.reset()

    def reset(self) -> None:
        """Begins anew: what counted as late was not."""
        self._least_age = math.inf

    def until(self, delivery: Delivery, lease: timedelta) -> float:
        """Until when it is leased, unless the lease is extended."""
        arrived = now()
        if not (expires := delivery._expires_at):  # noqa: SLF001 - for this module alone
            return arrived + lease.total_seconds()
        age = arrived - expires
        self._least_age = min(self._least_age, age)
        until = arrived - (age - self._least_age) + lease.total_seconds()
        return min(until, arrived + expires - time.time()) if self._clocks_agree else until
