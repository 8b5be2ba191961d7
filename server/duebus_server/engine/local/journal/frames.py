"""Records as bytes in a file: a header with a checksum, then the body.

::

    magic 2 | layout 1 | kind 1 | length 4 | synced 4 | CRC-32 4 | body, ``length`` bytes

Numbers are unsigned and little-endian. The checksum covers everything but itself. ``synced`` is how many bytes of the
file were on the disk when the record was written. It distinguishes a torn tail from damage: if a later record says that
the bytes were on the disk, no crash can have lost them.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYOUT = 1
"""The layout of the files and records that this build writes, and the newest that it reads."""

MAGIC = b"\xdb\x1e"
HEADER = struct.Struct("<2sBBII")
CHECKSUM = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CHECKSUM.size


class Kind(IntEnum):
    """What a record says. Numbers are never reused."""

    SEGMENT = 1
    """The first record of a segment."""
    MARK = 2
    """The highest fencing token that may be in use, and how the clocks differ."""
    DISPATCHED = 3
    """Events of one request, new in their groups."""
    LEASED = 4
    """Events that are leased to a session."""
    REMOVED = 5
    """Events that a group is done with: acked, cancelled or purged."""
    CHANGED = 6
    """The state of events in a group."""
    COPIED = 7
    """Events with their state in every group, from a segment that is to be removed."""
    GROUP = 8
    """A group: new, or with other settings."""
    GROUP_DELETED = 9
    TOPIC = 10
    """A topic's settings."""
    TOPIC_DELETED = 11
    REMEMBERED = 12
    """Ids and answers that are remembered to detect duplicates, from a segment that is to be removed."""
    SKIPPED = 13
    """Bytes that ``duebus journal repair`` discarded."""
    KEY_TIMES = 14
    """How far keys have used up their rates, and until when they are paused."""
    SCHEDULE = 20
    """A schedule: new, or changed."""
    SCHEDULE_ADVANCED = 21
    """A schedule has moved on to its next time."""
    SCHEDULE_DELETED = 22


class Frame(NamedTuple):
    """One record in a file, and its position."""

    kind: int
    body: bytes
    offset: int
    end: int
    layout: int


class Damage(NamedTuple):
    """Bytes that are not a record.

    Attributes:
        offset: where they begin.
        end: where the next readable record begins, or the file ends.
        was_synced: whether a later record says that they were on the disk.
    """

    offset: int
    end: int
    was_synced: bool


def header(kind: int, body: bytes, synced: int) -> bytes:
    """The header of a record."""
    head = HEADER.pack(MAGIC, LAYOUT, kind, len(body), synced)
    return head + CHECKSUM.pack(crc32(body, crc32(head)))


def frame_at(data: bytes, offset: int) -> Frame | None:
    """The record at ``offset``; None if no complete one is there."""
    start = offset + HEADER_BYTES
    if start > len(data):
        return None
    magic, layout, kind, length, _ = HEADER.unpack_from(data, offset)
    end = start + length
    if magic != MAGIC or end > len(data):
        return None
    (checksum,) = CHECKSUM.unpack_from(data, offset + HEADER.size)
    body = data[start:end]
    if crc32(body, crc32(data[offset : offset + HEADER.size])) != checksum:
        return None
    return Frame(kind, body, offset, end, layout)


def read_frames(data: bytes, offset: int = 0) -> Iterator[Frame | Damage]:
    """The records of a file in order, and the damage between them."""
    while offset < len(data):
        found = frame_at(data, offset)
        if found is None:
            damage = _damage_at(data, offset)
            yield damage
            offset = damage.end
        else:
            yield found
            offset = found.end


def _damage_at(data: bytes, offset: int) -> Damage:
    """How many bytes from ``offset`` on are not a record. Searches the rest of the file."""
    end, index = len(data), offset
    while (index := data.find(MAGIC, index + 1)) >= 0:
        found = frame_at(data, index)
        if found is None:
            continue
        end = min(end, index)
        if HEADER.unpack_from(data, index)[4] > offset:
            return Damage(offset, end, was_synced=True)
        index = found.end - 1
    return Damage(offset, end, was_synced=False)
