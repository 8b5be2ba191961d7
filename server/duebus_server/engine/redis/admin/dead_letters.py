"""A step through the dead letters of a group as arguments of its script, and the script's answer as progress."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

from duebus_server.domain.administration import DeadLetterProgress
from duebus_server.domain.errors import InvalidArgument
from duebus_server.engine.redis.codec.ids import pack_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.administration import DeadLetterFilter, DeadLetterStep


def arguments(
    group: str, chosen: DeadLetterFilter, step: DeadLetterStep, max_retries: int, own: tuple[Any, Any]
) -> list[Any]:
    """A step as arguments of ``dead_letters.lua``; ``own`` are the calling script's further arguments.

    Raises:
        InvalidArgument: the cursor is not one of this engine.
    """
    score, member = ("", b"") if chosen.event_ids else _read_cursor(step.cursor)
    began = "" if step.began_us is None else step.began_us
    what = (chosen.min_age_us, chosen.error_contains)
    where = (score, member, max_retries, chosen.key)
    return [group, step.limit, began, *what, *where, *own, *map(pack_id, _named(chosen, step))]


def progress(chosen: DeadLetterFilter, step: DeadLetterStep, answer: Sequence[Any]) -> DeadLetterProgress:
    """The script's progress: moved, began, more, and score and member of the last dead letter that it examined."""
    moved, began, more, score, member = answer
    if chosen.event_ids:
        behind = _start(step.cursor) + step.limit
        cursor = str(behind) if behind < len(chosen.event_ids) else None
    else:
        cursor = _cursor(score, member) if more else None
    return DeadLetterProgress(moved, int(began), cursor)


def _named(chosen: DeadLetterFilter, step: DeadLetterStep) -> Sequence[str]:
    """The events of the filter that belong to this step."""
    if not chosen.event_ids:
        return ()
    start = _start(step.cursor)
    return chosen.event_ids[start : start + step.limit]


def _start(cursor: str | None) -> int:
    """The position among the filter's events where the step begins."""
    if cursor is not None and not cursor.isdecimal():
        raise _bad_cursor()
    return int(cursor or 0)


def _cursor(score: bytes, member: bytes) -> str:
    return f"{int(float(score))}.{urlsafe_b64encode(member).decode()}"


def _read_cursor(cursor: str | None) -> tuple[str, bytes]:
    if cursor is None:
        return "", b""
    try:
        score, member = cursor.split(".")
        return str(int(score)), urlsafe_b64decode(member)
    except ValueError:
        raise _bad_cursor() from None


def _bad_cursor() -> InvalidArgument:
    return InvalidArgument("cursor", "is not a cursor that an earlier step returned")
