"""Schedules as an engine stores them, and what it takes to fire one.

Times are integer microseconds of the engine's wall clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duebus_server.domain.model import NewEvent

MAX_SCHEDULE_NAME_BYTES = 200

MAX_ANSWER_BYTES = 1 << 20
"""An engine returns no more schedules at once when their bodies have this many bytes together."""


class Overlap(StrEnum):
    """What happens to a firing while the event of an earlier one is unfinished: held and not dead in a lasting group,
    or waiting for the first one.
    """

    ALLOW = "allow"
    SKIP = "skip"
    """It is skipped if the last event is unfinished."""
    BUFFER_ONE = "buffer_one"
    """It is skipped if the last two events are unfinished."""


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """All that an engine stores of a schedule.

    Attributes:
        name: unique in the engine.
        topic: where its events go; never changes.
        key: the key of its events; empty for none. Where a topic has partitions, the schedule is in that of its key, or
            else of its name.
        body: its rule and its event, encoded; engines store it unread.
        version: grows with every change. Set by the engine, and at least its time at the change, so a schedule that was
            deleted and made again has no version twice.
        paused: whether it is paused.
        next_us: the nominal time that fires next; None if there is none.
        due_us: when that is to be fired; None while it is paused, and if there is none.
        runs: how many nominal times have dispatched an event.
        skipped: how many were skipped because of the overlap.
        missed: how many were given up.
        last_fired_us: the nominal time of the last event; None if there was none.
        last_event_ids: the ids of the last two events at most, the newest last.
    """

    name: str
    topic: str
    key: str
    body: bytes
    version: int = 0
    paused: bool = False
    next_us: int | None = None
    due_us: int | None = None
    runs: int = 0
    skipped: int = 0
    missed: int = 0
    last_fired_us: int | None = None
    last_event_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Firing:
    """One step of a schedule that is due.

    Attributes:
        record: the schedule as it was read. If it has another version by now, nothing happens.
        nominal_us: the nominal time of the event. Later than ``record.next_us`` if times in between are given up.
        event: what is dispatched; None if every nominal time up to ``nominal_us`` is given up.
        overlap: whether the event is dispatched while earlier ones are unfinished.
        missed: how many nominal times are given up.
        next_us: as in ScheduleRecord, afterwards.
        due_us: as in ScheduleRecord, afterwards.
        ends: there is no next time if the event is dispatched.
    """

    record: ScheduleRecord
    nominal_us: int
    event: NewEvent | None
    overlap: Overlap = Overlap.ALLOW
    missed: int = 0
    next_us: int | None = None
    due_us: int | None = None
    ends: bool = False


class FiringOutcome(StrEnum):
    """What became of a firing. The schedule has moved on to its next time after the first three, and is unchanged after
    the others.
    """

    FIRED = "fired"
    """The event is stored, or was before: the topic knows its id."""
    SKIPPED = "skipped"
    """Not dispatched because of the overlap."""
    MISSED = "missed"
    """There was no event to dispatch."""
    CHANGED = "changed"
    """The schedule has another version, or is gone: another replica has fired it, or somebody has changed it."""
    EARLY = "early"
    """It is not due yet by the engine's clock."""
    FULL = "full"
    """The topic has no room for the event."""


ADVANCED = (FiringOutcome.FIRED, FiringOutcome.SKIPPED, FiringOutcome.MISSED)
"""The outcomes after which a schedule has moved on."""


@dataclass(frozen=True, slots=True)
class DueSchedules:
    """Schedules that are due, the longest due first, and when the next of the others is due; None if there is none."""

    records: Sequence[ScheduleRecord]
    next_due_us: int | None


def fills_answer(records: Sequence[ScheduleRecord], limit: int) -> bool:
    """Whether an engine returns no more schedules than these at once, so that there may be others."""
    return len(records) >= limit or sum(len(record.body) for record in records) >= MAX_ANSWER_BYTES


def for_one_answer(records: Iterable[ScheduleRecord], limit: int) -> list[ScheduleRecord]:
    """As many of the first schedules as an engine returns at once: up to ``limit``, and at most MAX_ANSWER_BYTES but
    for the last one.
    """
    chosen: list[ScheduleRecord] = []
    size = 0
    for record in islice(records, limit):
        chosen.append(record)
        size += len(record.body)
        if size >= MAX_ANSWER_BYTES:
            break
    return chosen
