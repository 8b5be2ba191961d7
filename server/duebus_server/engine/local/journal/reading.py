"""Reads a data directory without changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from duebus_server.domain.errors import UnusableStorage
from duebus_server.engine.local.journal.directory import check_layout
from duebus_server.engine.local.journal.frames import Damage, Kind, read_frames
from duebus_server.engine.local.journal.records import Copied, Dispatched, SegmentStart, read_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duebus_server.engine.local.journal.directory import DataDirectory
    from duebus_server.engine.local.journal.records import AnyRecord


class BadPart(NamedTuple):
    """Bytes of a segment that are not a record, or are missing.

    Attributes:
        path: the segment's file.
        offset: where they begin.
        size: how many bytes.
        is_tail: whether they are the end of the last segment and may never have been on the disk, as after a crash.
    """

    path: Path
    offset: int
    size: int
    is_tail: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.size} bytes at offset {self.offset} can't be read"


def read_segment(directory: DataDirectory, number: int, size: int | None) -> Iterator[AnyRecord | BadPart]:
    """The records of a segment in order, and what is damaged.

    Args:
        directory: the data directory.
        number: the segment.
        size: as in the manifest; None for the last segment, whose end may be torn. What follows a torn part was
            written after it and belongs to it.

    Raises:
        UnusableStorage: its layout is newer, or it is another segment's file.
        OSError: it can't be read.
    """
    path = directory.segment(number)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        yield BadPart(path, 0, size or 0, is_tail=False)
        return
    yield from parse_segment(path, number, size, data)


def parse_segment(path: Path, number: int, size: int | None, data: bytes) -> Iterator[AnyRecord | BadPart]:
    """As ``read_segment``, with the file's contents."""
    for found in read_frames(data):
        if isinstance(found, Damage):
            if size is None and not found.was_synced:
                yield BadPart(path, found.offset, len(data) - found.offset, is_tail=True)
                return
            yield BadPart(path, found.offset, found.end - found.offset, is_tail=False)
            continue
        check_layout(found.layout, path)
        if found.kind == Kind.SKIPPED:
            continue
        record = read_record(found.kind, found.body)
        if isinstance(record, SegmentStart) and record.number != number:
            raise UnusableStorage(f"{path} is segment {record.number} under another name")
        if isinstance(record, Dispatched | Copied):
            record.end = found.end
        yield record
    if size is not None and len(data) < size:
        yield BadPart(path, len(data), size - len(data), is_tail=False)
