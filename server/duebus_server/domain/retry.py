"""When a failed event is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from duebus_server.domain.clock import MINUTE, SECOND

JITTER = 0.2
"""Each backoff varies by this share at random, so that events that failed together do not return together."""


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

    def backoff_us(self, attempt: int) -> int:
        """How long to wait after attempt number ``attempt`` (1 is the first) has failed, in microseconds.

        Exponential backoff, ``min(max, initial * 2**(attempt - 1))``, times a random factor of 0.8 to 1.2.
        """
        doublings = min(attempt - 1, 62)  # enough to exceed any maximum
        backoff = min(self.backoff_max_us, self.backoff_initial_us << doublings)
        return round(backoff * jitter())


def jitter() -> float:
    """A random factor of 0.8 to 1.2."""
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # it spreads load, and guards nothing
