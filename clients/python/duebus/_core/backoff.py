"""Exponential backoff."""

import random as random_numbers
from collections.abc import Callable

__all__ = ["Backoff", "Random"]

Random = Callable[[], float]
"""A number from 0 up to, not including, 1."""

_INITIAL = 0.1
_MAX = 1.0
_JITTER = 0.2


class Backoff:
    """Pauses in seconds that double from 0.1 to at most 1, each ±20 % at random.

    The jitter keeps the clients of a restarted server from coming back all at once. The channel takes at most another
    second, so they are back about two seconds after the server.
    """

    def __init__(self, random: Random = random_numbers.random) -> None:
        self._random = random
        self._next = _INITIAL

    def next(self) -> float:
        """The pause before the next try."""
        pause = self._next
        self._next = min(_MAX, 2 * pause)
        return pause * (1 - _JITTER + 2 * _JITTER * self._random())

    def reset(self) -> None:
        """The last try succeeded."""
        self._next = _INITIAL
