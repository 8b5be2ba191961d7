"""Records of what a restart needs besides topics, groups and events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from duebus_server.engine.local.journal.columns import Columns
from duebus_server.engine.local.journal.frames import Kind

if TYPE_CHECKING:
    from duebus_server.engine.local.journal.columns import ColumnReader


@dataclass(slots=True)
class Mark:
    """What a restart needs besides events and groups.

    Attributes:
        token: no higher fencing token is handed out before a later mark is on the disk.
        ahead_us: how far the host's clock was ahead of the engine's.
    """

    kind: ClassVar[Kind] = Kind.MARK

    token: int
    ahead_us: int

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().numbers(self.token, self.ahead_us).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> Mark:
        """The record that has this body."""
        return cls(*reader.numbers())


@dataclass(slots=True)
class SegmentStart:
    """The first record of a segment: its number, and what a Mark says."""

    kind: ClassVar[Kind] = Kind.SEGMENT

    number: int
    token: int
    ahead_us: int

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().numbers(self.number, self.token, self.ahead_us).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> SegmentStart:
        """The record that has this body."""
        return cls(*reader.numbers())
