"""When a call is tried again, and which error is the one to report."""

from collections.abc import Callable

import grpc

from duebus.errors import DeadlineExceeded, DueBusError, Unavailable, from_rpc_error

Clock = Callable[[], float]
"""Seconds since some fixed moment; never jumps."""

Random = Callable[[], float]
"""A number from 0 up to, not including, 1."""

_BACKOFF_INITIAL = 0.1
_BACKOFF_MAX = 2.0
_JITTER = 0.2


class Tries:
    """The tries of one call, within one deadline.

    An Unavailable is tried again, after a backoff that doubles from 0.1 s to at most 2 s, each ±20 % at random, or
    later when the server asks for it. Everything else is reported at once.

    Attributes:
        last: Why the latest try failed; None before one has.
    """

    def __init__(self, *, repeatable: bool, timeout: float | None, clock: Clock, random: Random) -> None:
        self._repeatable = repeatable
        self._deadline = None if timeout is None else clock() + timeout
        self._clock = clock
        self._random = random
        self.last: DueBusError | None = None
        self._backoff = _BACKOFF_INITIAL

    @property
    def retried(self) -> bool:
        """True when a try has failed before this one."""
        return self.last is not None

    def remaining(self) -> float | None:
        """How many seconds the next try may take; None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    def pause_after(self, failure: grpc.RpcError) -> float:
        """How many seconds to wait before the next try.

        Raises:
            DueBusError: there is to be none. When the deadline cut a try short, the failure of the try before, which
                says what is wrong, rather than DeadlineExceeded, which does not.
        """
        error = from_rpc_error(failure)
        if isinstance(error, DeadlineExceeded) and self.last is not None:
            raise self.last
        pause = self._next_pause(error)
        remaining = self.remaining()
        if pause is None or (remaining is not None and pause >= remaining):
            raise error from failure
        self.last = error
        error.__cause__ = failure
        return pause

    def _next_pause(self, error: DueBusError) -> float | None:
        if not (self._repeatable and isinstance(error, Unavailable)):
            return None
        backoff = self._backoff * (1 - _JITTER + 2 * _JITTER * self._random())
        self._backoff = min(2 * self._backoff, _BACKOFF_MAX)
        asked_for = 0.0 if error.retry_after is None else error.retry_after.total_seconds()
        return max(backoff, asked_for)
