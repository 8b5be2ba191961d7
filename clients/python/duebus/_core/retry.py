"""Decides when a call is retried, and which error is reported."""

from collections.abc import Callable

import grpc

from duebus._core.backoff import Backoff, Random
from duebus.errors import (
    ClientClosed,
    DeadlineExceeded,
    DueBusError,
    InvalidArgument,
    NoDispatcherSpecified,
    PermissionDenied,
    TlsHandshakeFailed,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    from_rpc_error,
)

Clock = Callable[[], float]
"""A monotonic clock, in seconds."""


# Errors that repeating the same call can't cure.
_PERMANENT = (
    ClientClosed,
    InvalidArgument,
    NoDispatcherSpecified,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)


def is_permanent(error: DueBusError) -> bool:
    """Whether no retry can cure this error: a worker stops with it."""
    return isinstance(error, _PERMANENT)


class Tries:
    """The tries of one call, within one deadline.

    Unavailable is retried after a backoff, or later if the server asks for it, unless the server's certificate is not
    trusted. A call that the server cancelled is retried too: it cancels calls if there are too many at once.
    Everything else is reported at once.

    Attributes:
        last: Why the latest try failed; None if none has.
    """

    def __init__(self, *, repeatable: bool, timeout: float | None, clock: Clock, random: Random) -> None:
        self._repeatable = repeatable
        self._deadline = None if timeout is None else clock() + timeout
        self._clock = clock
        self.last: DueBusError | None = None
        self._backoff = Backoff(random)

    @property
    def retried(self) -> bool:
        """True if an earlier try failed."""
        return self.last is not None

    def remaining(self) -> float | None:
        """How many seconds the next try may take; None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    def pause_after(self, failure: grpc.RpcError | DueBusError) -> float:
        """How many seconds to wait before the next try.

        Raises:
            DueBusError: there is no next try. If the deadline cut a try short, this is the failure of the try before,
                which says more than DeadlineExceeded.
        """
        if isinstance(failure, DueBusError):
            error, cause = failure, failure.__cause__
        else:
            error, cause = from_rpc_error(failure), failure
        if isinstance(error, DeadlineExceeded) and self.last is not None:
            raise self.last
        pause = self._next_pause(error)
        remaining = self.remaining()
        if pause is None or (remaining is not None and pause >= remaining):
            try:
                raise error from cause
            finally:
                # Its traceback refers to this frame: together they would wait for the garbage collector.
                del error, failure
        self.last = error
        error.__cause__ = cause
        return pause

    def _next_pause(self, error: DueBusError) -> float | None:
        is_temporary = isinstance(error, Unavailable) or error.code is grpc.StatusCode.CANCELLED
        if not (self._repeatable and is_temporary) or isinstance(error, TlsHandshakeFailed):
            return None
        asked_for = 0.0 if error.retry_after is None else error.retry_after.total_seconds()
        return max(self._backoff.next(), asked_for)
