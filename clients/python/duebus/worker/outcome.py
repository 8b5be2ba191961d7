"""How a handler decides what becomes of its event, and how the failures of several handlers become one nack."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

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
# Of a traceback the innermost calls, without the worker's own.
_MAX_CALLS = 3
_HERE = str(Path(__file__).parent)


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


_DECISIONS = (RetryAfter, DeadLetter, Release)


@dataclass(frozen=True, slots=True)
class Failure:
    """How one handler failed.

    Attributes:
        registration: The handler.
        message: Why, in one line.
        delay: When the handler wants its event again; None: after the topic's backoff.
        dead: The event goes to the dead letters.
        release: The event is given back.
        error: What the handler raised, unless it is the handler's decision about the event.
    """

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
    # A subclass may have forgotten to call our __init__.
    delay = getattr(error, "delay", None) if isinstance(error, RetryAfter) else None
    unexpected = None if isinstance(error, _DECISIONS) else error
    return Failure(registration, describe(error), delay, dead, release, unexpected)


def timed_out(registration: Registration, max_execution: float, attempt: int) -> Failure:
    """A handler was cancelled because it ran for too long."""
    message = f"cancelled: the handler ran for longer than {max_execution:g} s"
    return Failure(registration, message, dead=_used_up(registration, attempt))


def nack_of(token: str, failures: Sequence[Failure], *, several: bool) -> Nack:
    """The one nack of an event that handlers failed. Its error ends with where each of them failed.

    The event is released when all failures ask for that, dead when one does, and otherwise retried after the longest
    delay that one asked for.

    Args:
        token: The lease token.
        failures: At least one.
        several: The event has several handlers, so the error has to name those that failed.
    """
    if all(failure.release for failure in failures):
        return Nack(delivery=token, release=True)
    error = cut(_combined(failures, several=several))
    if any(failure.dead for failure in failures):
        return Nack(delivery=token, error=error, dead_letter=True)
    delay = max((failure.delay for failure in failures if failure.delay is not None), default=None)
    return Nack(delivery=token, error=error, delay=delay)


def describe(error: BaseException) -> str:
    """An exception in one line: its type and message; of RetryAfter, DeadLetter and Release the message alone.

    Of a group, those that are in it follow.
    """
    try:
        message = " ".join(str(error).split())
        if isinstance(error, BaseExceptionGroup):
            message += ": " + "; ".join(map(describe, error.exceptions))
    except BaseException:  # noqa: BLE001 - an exception that can't be printed is still the handler's failure
        message = ""
    if message and isinstance(error, _DECISIONS):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def cut(text: str) -> str:
    """The text in at most 4 KiB of UTF-8."""
    return text.encode(errors="replace")[:MAX_ERROR_BYTES].decode(errors="ignore")


def _used_up(registration: Registration, attempt: int) -> bool:
    return registration.max_retries is not None and attempt > registration.max_retries


def _combined(failures: Sequence[Failure], *, several: bool) -> str:
    messages = (f"{each.registration.name}: {each.message}" if several else each.message for each in failures)
    return "\n".join(["; ".join(messages), *(line for each in failures for line in _last_calls(each.error))])


def _last_calls(error: BaseException | None) -> list[str]:
    """Where it was raised: a line for each call, and one for its code."""
    if error is None:
        return []
    # Two more than are shown: those of the worker come first.
    calls = traceback.extract_tb(error.__traceback__, limit=-_MAX_CALLS - 2)
    own = [call for call in calls if not call.filename.startswith(_HERE)][-_MAX_CALLS:]
    return [f'  File "{call.filename}", line {call.lineno}, in {call.name}\n    {call.line}' for call in own]
