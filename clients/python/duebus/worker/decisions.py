"""The exceptions by which a handler decides about its event."""

from datetime import timedelta

from duebus._core.fields import Span, duration
from duebus.errors import InvalidArgument

__all__ = ["MAX_DELAY", "DeadLetter", "Release", "RetryAfter"]

MAX_DELAY = timedelta(days=3650)


class RetryAfter(Exception):
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


class DeadLetter(Exception):
    """Raised by a handler to make the event a dead letter at once, because retrying is useless.

    Args:
        reason: Becomes the event's last error.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Release(Exception):
    """Raised by a handler to release the event: it is ready again at once, and the attempt is not counted.

    Args:
        reason: For the log of this worker.
    """

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "given back")
