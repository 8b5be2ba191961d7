"""Events and names that are unique to a test."""

from __future__ import annotations

from itertools import count
from uuid import uuid4

from duebus_server.domain.event_ids import EventIds
from duebus_server.domain.model import NewEvent

_numbers = count(1)


def unique_name(word: str = "topic") -> str:
    """A topic name that no other test uses, in this run or any other."""
    return f"{word}.{uuid4().hex[:12]}"


def new_event(
    event_id: str | None = None,
    *,
    body: bytes | None = None,
    delay_us: int | None = None,
    deliver_at_us: int | None = None,
    max_retries: int | None = None,
    key: str = "",
    priority: int = 0,
) -> NewEvent:
    """An event with its own body; without an id it gets one as the server would make it."""
    number = next(_numbers)
    chosen = event_id or EventIds(0, "").at(number % 4096)
    return NewEvent(
        id=chosen,
        body=f"body of {chosen}, {number}".encode() if body is None else body,
        delay_us=delay_us,
        deliver_at_us=deliver_at_us,
        max_retries=max_retries,
        id_is_generated=event_id is None,
        key=key,
        priority=priority,
    )


def new_events(
    how_many: int, *, delay_us: int | None = None, deliver_at_us: int | None = None, max_retries: int | None = None
) -> list[NewEvent]:
    """``count`` events that differ only in their ids."""
    return [new_event(delay_us=delay_us, deliver_at_us=deliver_at_us, max_retries=max_retries) for _ in range(how_many)]
