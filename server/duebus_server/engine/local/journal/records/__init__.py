"""The records of the journal, one class for each kind, with their encoding as bytes.

Records refer to events by ``seq``, which is unique in an engine. Times are in microseconds by the engine's clock; an
event scheduled by the host's clock has times by that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, get_args

from duebus_server.engine.local.journal.columns import ColumnReader
from duebus_server.engine.local.journal.frames import Kind
from duebus_server.engine.local.journal.records.answers import Answered, Remembered
from duebus_server.engine.local.journal.records.entries import EntryState
from duebus_server.engine.local.journal.records.events import (
    ENTRY_BYTES,
    Changed,
    Copied,
    CopiedGroup,
    Dispatched,
    Leased,
    Removed,
)
from duebus_server.engine.local.journal.records.marks import Mark, SegmentStart
from duebus_server.engine.local.journal.records.schedules import ScheduleAdvanced, ScheduleDeleted, ScheduleState
from duebus_server.engine.local.journal.records.topics import (
    GroupDeleted,
    GroupState,
    KeyTimes,
    TopicDeleted,
    TopicState,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ENTRY_BYTES",
    "Answered",
    "AnyRecord",
    "Changed",
    "Copied",
    "CopiedGroup",
    "Dispatched",
    "EntryState",
    "GroupDeleted",
    "GroupState",
    "KeyTimes",
    "Leased",
    "Mark",
    "Record",
    "Remembered",
    "Removed",
    "ScheduleAdvanced",
    "ScheduleDeleted",
    "ScheduleState",
    "SegmentStart",
    "TopicDeleted",
    "TopicState",
    "read_record",
]


class Record(Protocol):
    """One record."""

    kind: ClassVar[Kind]

    def body(self) -> bytes:
        """The record's body."""


AnyRecord = (
    SegmentStart
    | Mark
    | Dispatched
    | Leased
    | Removed
    | Changed
    | Copied
    | GroupState
    | GroupDeleted
    | KeyTimes
    | TopicState
    | TopicDeleted
    | Remembered
    | ScheduleState
    | ScheduleAdvanced
    | ScheduleDeleted
)
_READERS: dict[Kind, Callable[[ColumnReader], AnyRecord]] = {each.kind: each.read for each in get_args(AnyRecord)}


def read_record(kind: int, body: bytes) -> AnyRecord:
    """The record of this kind that has this body.

    Raises:
        KeyError: no such kind, or one without a meaning of its own.
    """
    return _READERS[Kind(kind)](ColumnReader(body))
