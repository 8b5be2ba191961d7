"""What the failures of handlers mean for their event: the nack."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from duebus._core.fields import duration
from duebus._core.limits import Pause, PauseScope
from duebus._core.model import Nack
from duebus.worker.decisions import (
    MAX_DELAY,
    MAX_PAUSE,
    MIN_PAUSE,
    DeadLetter,
    Decision,
    RateLimited,
    Release,
    RetryAfter,
)
from duebus.worker.registry import Registration

__all__ = [
    "Failure",
    "describe",
    "failure_of",
    "instead_of_pause",
    "nack_of",
    "timed_out",
]

MAX_ERROR_BYTES = 4096
# How many of the innermost calls of a traceback are kept, without the worker's own.
_MAX_CALLS = 3
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Failure:
    """How one handler failed.

    Attributes:
        registration: The handler.
        message: The reason, in one line.
        delay: When to retry the event; None: after the topic's backoff.
        dead: The event becomes a dead letter.
        release: The event is released.
        pause: What is paused, and for how long; the event is then released.
        error: The handler's exception, unless it is one of the decisions above.
    """

    registration: Registration
    message: str
    delay: timedelta | None = None
    dead: bool = False
    release: bool = False
    error: BaseException | None = None
    pause: Pause | None = None


def failure_of(registration: Registration, error: BaseException, attempt: int) -> Failure:
    """What a handler's exception means for the event, given the number of its attempt."""
    try:
        return _read(registration, error, attempt)
    except BaseException:  # noqa: BLE001 - an exception whose attributes raise is still the handler's failure
        unreadable = RuntimeError("the handler's exception can't be read")
        return Failure(registration, describe(unreadable), dead=_used_up(registration, attempt), error=unreadable)


def _read(registration: Registration, error: BaseException, attempt: int) -> Failure:
    pause = _pause_of(error) if isinstance(error, RateLimited) else None
    release = isinstance(error, Release) or pause is not None
    dead = isinstance(error, DeadLetter) or (not release and _used_up(registration, attempt))
    delay = _delay_of(error) if isinstance(error, RetryAfter) else None
    unexpected = None if isinstance(error, Decision) else error
    return Failure(registration, describe(error), delay, dead, release, unexpected, pause)


def _pause_of(error: RateLimited) -> Pause | None:
    """The pause; None, which is the topic's backoff, if a subclass has set none or a wrong one."""
    try:
        after, scope = duration("after", error.after).ToTimedelta(), PauseScope(error.scope)
    except Exception:  # noqa: BLE001 - as in `_delay_of`
        return None
    return Pause(duration=after, scope=scope) if MIN_PAUSE <= after <= MAX_PAUSE else None


def _delay_of(error: RetryAfter) -> timedelta | None:
    """The delay; None, which is the topic's backoff, if a subclass has set none or a wrong one."""
    try:
        delay = duration("delay", error.delay).ToTimedelta()
    except Exception:  # noqa: BLE001 - the delay may be anything, and a nack with a wrong one would stop the worker
        return None
    return delay if timedelta(0) <= delay <= MAX_DELAY else None


def timed_out(registration: Registration, max_execution: float, attempt: int) -> Failure:
    """The failure of a handler that was cancelled because it ran too long."""
    message = f"cancelled: the handler ran for longer than {max_execution:g} s"
    return Failure(registration, message, dead=_used_up(registration, attempt))


def nack_of(token: str, failures: Sequence[Failure], *, several: bool, has_key: bool = True) -> Nack:
    """The nack of an event that one or more handlers failed. Its error ends with the traceback of each.

    The event is released if all failures ask for that, dead if one does, and otherwise retried after the longest
    requested delay. The longest pause begins, of the group if one is of the group; if all ask for one, the attempt is
    not counted.

    Args:
        token: The lease token.
        failures: At least one.
        several: Whether the event has several handlers, so that the error must name those that failed.
        has_key: Whether the event has a key that can be paused.
    """
    pause = _together([failure.pause for failure in failures if failure.pause is not None])
    if all(failure.release for failure in failures) and pause is None:
        return Nack(delivery=token, release=True)
    error = cut(_combined(failures, several=several))
    if any(failure.dead for failure in failures):
        nack = Nack(delivery=token, error=error, dead_letter=True, pause=pause)
    elif all(failure.release for failure in failures):
        nack = Nack(delivery=token, error=error, pause=pause)
    else:
        delays = [failure.delay for failure in failures if failure.delay is not None]
        delay = max(delays, default=None) if pause is None else max([*delays, pause.duration])
        nack = Nack(delivery=token, error=error, delay=delay, pause=pause)
    no_key = pause is not None and pause.scope is PauseScope.KEY and not has_key
    return instead_of_pause(nack) if no_key else nack


def instead_of_pause(nack: Nack) -> Nack:
    """The nack where there is no key to pause: unless it is dead, the event is retried when the pause would end."""
    if nack.pause is None or nack.dead_letter:
        return replace(nack, pause=None)
    return replace(nack, release=False, delay=nack.delay or nack.pause.duration, pause=None)


def _together(pauses: Sequence[Pause]) -> Pause | None:
    """One pause for all: the longest, of the group if one is of the group."""
    if not pauses:
        return None
    of_group = any(pause.scope is PauseScope.GROUP for pause in pauses)
    longest = max(pauses, key=lambda pause: pause.duration)
    return replace(longest, scope=PauseScope.GROUP) if of_group else longest


def describe(error: BaseException) -> str:
    """An exception in one line: its type and message, or only the message for the decisions of a handler.

    For an exception group, its members follow.
    """
    try:
        message = " ".join(str(error).split())
        if isinstance(error, BaseExceptionGroup):
            message += ": " + "; ".join(map(describe, error.exceptions))
    except BaseException:  # noqa: BLE001 - an exception that can't be printed is still the handler's failure
        message = ""
    if message and isinstance(error, Decision):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def cut(text: str) -> str:
    """The text, cut to 4 KiB of UTF-8."""
    return text.encode(errors="replace")[:MAX_ERROR_BYTES].decode(errors="ignore")


def _used_up(registration: Registration, attempt: int) -> bool:
    return registration.max_retries is not None and attempt > registration.max_retries


def _combined(failures: Sequence[Failure], *, several: bool) -> str:
    messages = (f"{each.registration.name}: {each.message}" if several else each.message for each in failures)
    return "\n".join(["; ".join(messages), *(line for each in failures for line in _last_calls(each.error))])


def _last_calls(error: BaseException | None) -> list[str]:
    """The traceback: two lines for each call, its place and its code."""
    if error is None:
        return []
    # Two more than are shown, because the worker's own come first.
    calls = traceback.extract_tb(error.__traceback__, limit=-_MAX_CALLS - 2)
    own = [call for call in calls if not call.filename.startswith(_HERE)][-_MAX_CALLS:]
    return [f'  File "{call.filename}", line {call.lineno}, in {call.name}\n    {call.line}' for call in own]
