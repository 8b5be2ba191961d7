"""A step through the dead letters of a group as arguments of its script, and the script's answer as progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain.administration import DeadLetterProgress
from duebus_server.domain.errors import InvalidArgument
from duebus_server.engine.redis.codec.ids import pack_id
from duebus_server.engine.redis.codec.positions import Position, after

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
    try:
        score, member = after(None if chosen.event_ids else step.cursor)
    except ValueError:
        raise _bad_cursor() from None
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
        cursor = Position.of(score, member).cursor() if more else None
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


def _bad_cursor() -> InvalidArgument:
    return InvalidArgument("cursor", "is not a cursor that an earlier step returned")
