"""How a handler says what becomes of its event, and how several handlers' words become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from duebus._core.fields import Span, duration
from duebus._core.model import Nack
from duebus.errors import InvalidArgument
from duebus.worker.registry import Registration

__all__ = [
    "DeadLetter",
    "Failure",
    "Release",
    "RetryAfter",
    "describe",
    "failure_of",
    "nack_of",
    "timed_out",
]

MAX_ERROR_BYTES = 4096
_MAX_DELAY = timedelta(days=3650)


class RetryAfter(Exception):
    """Raised by a handler: the event is to be delivered again after `delay`, or dead when no retries are left.

    Args:
        delay: A timedelta or seconds, 0 to 10 years.
        reason: Becomes the event's last error.

    Raises:
        InvalidArgument: The delay is out of range.
    """

    def __init__(self, delay: Span, reason: str = "") -> None:
        self.delay = duration("delay", delay).ToTimedelta()
        if not timedelta(0) <= self.delay <= _MAX_DELAY:
            raise InvalidArgument.of_field("delay", f"must be 0 to 10 years, not {delay}")
        self.reason = reason
        super().__init__(reason or f"retry after {self.delay.total_seconds():g} s")


class DeadLetter(Exception):
    """Raised by a handler: retrying is of no use, the event goes to the dead letters at once.

    Args:
        reason: Becomes the event's last error.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Release(Exception):
    """Raised by a handler: the event is given back unhandled, ready again at once, and the attempt is not counted.

    Args:
        reason: For the log of this worker.
    """

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "given back")


@dataclass(frozen=True, slots=True)
class Failure:
    """How one handler failed: what it wants of the event, and why."""

    registration: Registration
    message: str
    delay: timedelta | None = None
    dead: bool = False
    release: bool = False
    error: BaseException | None = None


def failure_of(registration: Registration, error: BaseException, attempt: int) -> Failure:
    """What a handler's exception means for the event, given how often it has been delivered."""
    release = isinstance(error, Release)
    dead = isinstance(error, DeadLetter) or (not release and _used_up(registration, attempt))
    delay = error.delay if isinstance(error, RetryAfter) else None
    return Failure(registration, describe(error), delay, dead, release, error)


def timed_out(registration: Registration, max_execution: float, attempt: int) -> Failure:
    """A handler was cancelled because it ran for too long."""
    message = f"cancelled: the handler ran for longer than {max_execution:g} s"
    return Failure(registration, message, dead=_used_up(registration, attempt))


def nack_of(token: str, failures: Sequence[Failure], *, several: bool) -> Nack:
    """The one nack of an event that handlers failed; `several`: their names are needed to tell them apart.

    It is released when nobody asked for anything else. It is dead when one failure wants it dead; otherwise the longest
    delay that one asked for holds.
    """
    if all(failure.release for failure in failures):
        return Nack(delivery=token, release=True)
    error = cut(_combined(failures, several=several))
    if any(failure.dead for failure in failures):
        return Nack(delivery=token, error=error, dead_letter=True)
    delay = max((failure.delay for failure in failures if failure.delay is not None), default=None)
    return Nack(delivery=token, error=error, delay=delay)


def describe(error: BaseException) -> str:
    """An exception in one line: its type and message; of RetryAfter, DeadLetter and Release the message alone."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an exception that can't be printed is still the handler's failure
        message = ""
    if message and isinstance(error, RetryAfter | DeadLetter | Release):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def cut(text: str) -> str:
    """The text in at most 4 KiB of UTF-8."""
    return text.encode(errors="replace")[:MAX_ERROR_BYTES].decode(errors="ignore")


def _used_up(registration: Registration, attempt: int) -> bool:
    return registration.retries is not None and attempt > registration.retries


def _combined(failures: Sequence[Failure], *, several: bool) -> str:
    if not several:
        return failures[0].message
    return "; ".join(f"{failure.registration.name}: {failure.message}" for failure in failures)
