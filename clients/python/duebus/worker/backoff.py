"""Growing delays between tries."""

import random

__all__ = ["Backoff"]


class Backoff:
    """Delays in seconds that double from `initial` to at most `maximum`, each cut at random by up to half.

    The jitter keeps the workers of a server that restarts from coming back all at one moment. With the second that the
    channel needs at most, the maximum makes a worker come back within two seconds of the server.
    """

    def __init__(self, initial: float = 0.1, maximum: float = 1.0):
        self._initial = initial
        self._maximum = maximum
        self._next = initial

    def next(self) -> float:
        """The delay before the next try."""
        delay = self._next
        self._next = min(self._maximum, delay * 2)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    def reset(self) -> None:
        """Begins again with `initial`: the last try succeeded."""
        self._next = self._initial
