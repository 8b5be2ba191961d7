"""Operations on the events of a topic: cancel, reschedule, redrive, purge. Each is one synchronous step."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from duebus_server.domain.administration import CancelAnswer, DeadLetterProgress
from duebus_server.domain.errors import ConcurrentModification, InvalidArgument, NotFound
from duebus_server.domain.states import EventState
from duebus_server.engine.local.views import find_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duebus_server.domain.administration import DeadLetterFilter, DeadLetterStep, NewDueTime
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.records import Entry
    from duebus_server.engine.local.topic import Topic

    Copies = list[tuple[Group, Entry]]

WAITING = (EventState.SCHEDULED, EventState.READY, EventState.BLOCKED)


def cancel(topic: Topic, event_ids: Sequence[str], group: str | None, now_us: int) -> CancelAnswer:
    """Remove scheduled, ready and blocked copies; see ``Engine.cancel``."""
    groups = _groups(topic, group)
    cancelled = 0
    left_alone: list[str] = []
    missing: list[str] = []
    for event_id in event_ids:
        copies = _copies(groups, event_id)
        waiting = [copy for copy in copies if copy[1].state in WAITING]
        for holder, entry in waiting:
            holder.remove(entry, now_us)
        cancelled += bool(waiting)
        if not copies:
            missing.append(event_id)
        elif len(waiting) < len(copies):
            left_alone.append(event_id)
    return CancelAnswer(cancelled, left_alone, missing)


def reschedule(topic: Topic, event_ids: Sequence[str], group: str | None, due: NewDueTime, now_us: int) -> None:
    """Change due times, all or none; see ``Engine.reschedule``."""
    groups = _groups(topic, group)
    copies = [copy for event_id in event_ids for copy in _waiting_copies(topic, groups, event_id)]
    for holder, entry in copies:
        holder.reschedule(entry, due, now_us)


def redrive(
    topic: Topic, group: str, chosen: DeadLetterFilter, step: DeadLetterStep, now_us: int
) -> DeadLetterProgress:
    """Redrive some dead letters; see ``Engine.redrive``."""
    holder = find_group(topic, group)
    found = _find(holder, chosen, step, now_us)
    for index, entry in enumerate(found.entries):
        holder.redrive(entry, step.due_us(index, found.began_us), now_us)
    return found.progress()


def purge(topic: Topic, group: str, chosen: DeadLetterFilter, step: DeadLetterStep, now_us: int) -> DeadLetterProgress:
    """Purge some dead letters; see ``Engine.purge``."""
    holder = find_group(topic, group)
    found = _find(holder, chosen, step, now_us)
    for entry in found.entries:
        holder.remove(entry, now_us)
    return found.progress()


# --- copies of an event ----------------------------------------------------------------------------------------------


def _groups(topic: Topic, group: str | None) -> Sequence[Group]:
    """The groups of a call: one, or all."""
    return topic.all_groups() if group is None else [find_group(topic, group)]


def _copies(groups: Sequence[Group], event_id: str) -> Copies:
    return [(group, group.entries[event_id]) for group in groups if event_id in group.entries]


def _waiting_copies(topic: Topic, groups: Sequence[Group], event_id: str) -> Copies:
    """The copies of an event, all scheduled, ready or blocked.

    Raises:
        NotFound: there are none.
        ConcurrentModification: one is leased or dead.
    """
    copies = _copies(groups, event_id)
    if not copies:
        raise NotFound("event", event_id, topic=topic.name)
    for group, entry in copies:
        if entry.state not in WAITING:
            raise ConcurrentModification(
                f"event {event_id!r} is {entry.state} in group {group.name!r}",
                metadata={"event": event_id, "topic": topic.name, "group": group.name, "state": entry.state},
            )
    return copies


# --- dead letters ----------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """The dead letters that a step selected, and where the next step begins."""

    entries: list[Entry]
    began_us: int
    cursor: str | None

    def progress(self) -> DeadLetterProgress:
        return DeadLetterProgress(len(self.entries), self.began_us, self.cursor)


def _find(group: Group, chosen: DeadLetterFilter, step: DeadLetterStep, now_us: int) -> _Found:
    """Select from up to ``step.limit`` dead letters: the named ones, or else in the order in which they died."""
    began_us = now_us if step.began_us is None else step.began_us
    until_us = began_us - chosen.min_age_us
    looked_at = islice(
        _named(group, chosen, step) if chosen.event_ids else _in_order(group, step, until_us), step.limit
    )
    entries: list[Entry] = []
    cursor, count = None, 0
    for count, (cursor, entry) in enumerate(looked_at, start=1):  # noqa: B007  # the last cursor counts
        if entry is not None and entry.at_us <= until_us and _is_chosen(entry, chosen):
            entries.append(entry)
    return _Found(entries, began_us, cursor if count == step.limit else None)


def _is_chosen(entry: Entry, chosen: DeadLetterFilter) -> bool:
    return chosen.error_contains in entry.past.last_error and chosen.key in ("", entry.key)


def _in_order(group: Group, step: DeadLetterStep, until_us: int) -> Iterator[tuple[str, Entry]]:
    """The dead letters that died by ``until_us``, in that order, each with the cursor after it."""
    after = _numbers(step.cursor, 2)
    for at_us, seq, entry in group.indexes.by_state[EventState.DEAD].ascending((after[0], after[1]) if after else None):
        if at_us > until_us:
            return
        yield f"{at_us}.{seq}", entry


def _named(group: Group, chosen: DeadLetterFilter, step: DeadLetterStep) -> Iterator[tuple[str, Entry | None]]:
    """The events that the filter names, in its order, each with the cursor after it; None if it is not dead."""
    (start,) = _numbers(step.cursor, 1) or (0,)
    for index, event_id in enumerate(chosen.event_ids[start:], start=start + 1):
        entry = group.entries.get(event_id)
        yield str(index), entry if entry is not None and entry.state is EventState.DEAD else None


def _numbers(cursor: str | None, count: int) -> tuple[int, ...]:
    """The numbers in a cursor; none at the beginning.

    Raises:
        InvalidArgument: it is not a cursor of this engine.
    """
    if cursor is None:
        return ()
    parts = cursor.split(".")
    if len(parts) != count or not all(part.isdecimal() for part in parts):
        raise InvalidArgument("cursor", "is not a cursor that an earlier step returned")
    return tuple(map(int, parts))
