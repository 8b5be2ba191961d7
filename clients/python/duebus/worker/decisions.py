"""The exceptions by which a handler decides about its event."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from duebus._core.fields import Span, duration
from duebus._core.limits import PauseScope
from duebus.errors import InvalidArgument

__all__ = ["MAX_DELAY", "DeadLetter", "Decision", "RateLimited", "Release", "RetryAfter"]

_D = TypeVar("_D", bound="Decision")

MAX_DELAY = timedelta(days=3650)
MIN_PAUSE, MAX_PAUSE = timedelta(milliseconds=1), timedelta(hours=1)


class Decision(Exception):
    """What the exceptions below have in common: a process pool can pass them on to the handler."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """For pickle, which would call the class with the message as its only argument."""
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(kind: type[_D], args: tuple[Any, ...]) -> _D:
    return kind.__new__(kind, *args)


class RetryAfter(Decision):
    """Raised by a handler to retry the event after `delay`; it is dead if no retries are left.

    Args:
        delay: A timedelta or seconds, 0 to 10 years.
        reason: Becomes the event's last error.

    Raises:
        InvalidArgument: The delay is out of range.
    """

    def __init__(self, delay: Span, reason: str = "") -> None:
        self.delay = duration("delay", delay).ToTimedelta()
        if not timedelta(0) <= self.delay <= MAX_DELAY:
            raise InvalidArgument.of_field("delay", f"must be 0 to 10 years, not {delay}")
        self.reason = reason
        super().__init__(reason or f"retry after {self.delay.total_seconds():g} s")


class RateLimited(Decision):
    """Raised by a handler because a service that it calls has answered "too many requests".

    For a while, nothing of the event's key, or of the group, is delivered to any worker. The event is released: the
    attempt is not counted. If its key is to be paused and it has none, it is retried after that time instead.

    Args:
        after: How long: a timedelta or seconds. Less than 1 ms counts as 1 ms, and more than 1 h as 1 h.
        scope: "key" or "group".
        reason: For the log of this worker.

    Raises:
        InvalidArgument: `after` is not a number, or there is no such scope.
    """

    def __init__(self, after: Span, scope: PauseScope | str = PauseScope.KEY, reason: str = "") -> None:
        self.after = min(max(duration("after", after).ToTimedelta(), MIN_PAUSE), MAX_PAUSE)
        try:
            self.scope = PauseScope(scope)
        except ValueError:
            raise InvalidArgument.of_field("scope", f'must be "key" or "group", not {scope!r}') from None
        self.reason = reason
        super().__init__(reason or f"rate limited: {self.scope} paused for {self.after.total_seconds():g} s")


class DeadLetter(Decision):
    """Raised by a handler to make the event a dead letter at once, because retrying is useless.

    Args:
        reason: Becomes the event's last error.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Release(Decision):
    """Raised by a handler to release the event: it is ready again at once, and the attempt is not counted.

    Args:
        reason: For the log of this worker.
    """

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "given back")
