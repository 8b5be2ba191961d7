"""When a failed event is retried, and how many times."""

from __future__ import annotations

import random
from dataclasses import dataclass

from duebus_server.domain.clock import MINUTE, SECOND

JITTER = 0.2
"""Each backoff varies by this share at random, so that events that failed together do not return together."""

FREE_EXPIRIES = 2
"""How many leases of an event may run out without using up a retry. Their workers died or stalled, which says little
about the event: it may have been one of many. After that, the event is a suspect.
"""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How many times, and after how long, a failed event is retried.

    Attributes:
        max_retries: how many deliveries may follow the first one, before the event is dead.
        backoff_initial_us: how long to wait before the first retry, in microseconds; doubles with each retry.
        backoff_max_us: the longest backoff, in microseconds.
    """

    max_retries: int = 3
    backoff_initial_us: int = SECOND // 2
    backoff_max_us: int = 5 * MINUTE

    def backoff_us(self, failures: int) -> int:
        """How long to wait after an event has failed for the ``failures``th time, in microseconds.

        Exponential backoff, ``min(max, initial * 2**(failures - 1))``, times a random factor of 0.8 to 1.2.
        """
        doublings = min(failures - 1, 62)  # enough to exceed any maximum
        backoff = min(self.backoff_max_us, self.backoff_initial_us << doublings)
        return round(backoff * jitter())


def jitter() -> float:
    """A random factor of 0.8 to 1.2."""
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # it spreads load, and guards nothing
