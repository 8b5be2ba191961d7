"""Writes records to the last segment. All methods may block; the group commit says which thread runs them."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from duebus_server.engine.local.journal.frames import header

if TYPE_CHECKING:
    from collections import deque

    from duebus_server.engine.local.journal.directory import DataDirectory, Manifest
    from duebus_server.engine.local.journal.disk import Disk

RESERVE_BYTES = 16 << 20
"""The size of the reserve: enough for the acks of half a million events."""


class SyncError(OSError):
    """A sync failed. What was written before may not be on the disk, and a later sync would not show it."""


class Run(NamedTuple):
    """Consecutive records for one segment: the kind and body of each."""

    segment: int
    records: list[tuple[int, bytes]]


@dataclass(slots=True)
class _Growing:
    """The last segment while it grows.

    Attributes:
        end: how many bytes are written.
        synced: how many of them are on the disk.
    """

    number: int
    descriptor: int
    end: int = 0
    synced: int = 0


def is_full(error: OSError) -> bool:
    """Whether the disk had no space, which is a fault that can pass."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) and not isinstance(error, SyncError)


class Appender:
    """The last segment, and the manifest.

    Args:
        directory: where the segments are.
        disk: the operating system.
        manifest: the segments, each with its size.
    """

    def __init__(self, directory: DataDirectory, disk: Disk, manifest: Manifest) -> None:
        self._directory = directory
        self._disk = disk
        self._manifest = manifest
        self._growing: _Growing | None = None
        # Held while the descriptor is closed or copied.
        self._changing = threading.Lock()

    def continues(self, runs: deque[Run]) -> bool:
        """Whether these records all belong to the last segment, so that none has to begin."""
        return self._growing is not None and all(run.segment == self._growing.number for run in runs)

    def write(self, runs: deque[Run], *, sync: bool) -> None:
        """Write records, and remove from ``runs`` what is written. After an error, call it again with the same runs.

        Raises:
            SyncError: a sync failed.
            OSError: a write failed; see ``is_full``.
        """
        while runs:
            number, records = runs[0]
            segment = self._growing
            if segment is None or segment.number != number:
                segment = self._begin(number)
            parts: list[bytes] = []
            for kind, body in records:
                parts += (header(kind, body, segment.synced), body)
            data = b"".join(parts)
            self._disk.write(segment.descriptor, data, segment.end)
            segment.end += len(data)
            runs.popleft()
        if sync and self._growing is not None:
            self._sync(self._growing)

    def sync_behind(self) -> None:
        """Sync what has been written so far. Another thread may write meanwhile.

        Raises:
            SyncError: it failed.
        """
        with self._changing:
            segment = self._growing
            if segment is None:
                return
            end, descriptor = segment.end, os.dup(segment.descriptor)
        try:
            self._sync_file(descriptor)
        finally:
            os.close(descriptor)
        segment.synced = max(segment.synced, end)

    def remove(self, number: int) -> None:
        """Remove a segment that is no longer needed."""
        left = {one: size for one, size in self._manifest.items() if one != number}
        self._directory.write_manifest(left)
        self._manifest = left
        self._disk.remove(self._directory.segment(number))

    def take_reserve(self) -> None:
        """Reserve the space, if there is enough.

        Raises:
            OSError: there is not.
        """
        try:
            self._disk.allocate(self._directory.reserve, RESERVE_BYTES)
        except OSError:
            self._disk.remove(self._directory.reserve)
            raise

    def free_reserve(self) -> bool:
        """Free the reserved space. Returns whether there was any."""
        held = self._directory.reserve.exists()
        self._disk.remove(self._directory.reserve)
        return held

    def close(self) -> None:
        """Close the segment."""
        with self._changing:
            if self._growing is not None:
                os.close(self._growing.descriptor)
                self._growing = None

    def _begin(self, number: int) -> _Growing:
        """Seal the segment and begin the next. If it raises, nothing has changed."""
        sealed: Manifest = {}
        if self._growing is not None:
            self._sync(self._growing)
            sealed = {self._growing.number: self._growing.end}
        fresh = self._disk.create(self._directory.segment(number))
        try:
            self._disk.sync_directory(self._directory.path)
            manifest = self._manifest | sealed | {number: None}
            self._directory.write_manifest(manifest)
        except BaseException:
            os.close(fresh)
            raise
        self.close()
        self._manifest = manifest
        self._growing = segment = _Growing(number, fresh)
        return segment

    def _sync(self, segment: _Growing) -> None:
        if segment.synced < segment.end:
            self._sync_file(segment.descriptor)
            segment.synced = segment.end

    def _sync_file(self, descriptor: int) -> None:
        try:
            self._disk.sync(descriptor)
        except OSError as error:
            raise SyncError(error.errno, error.strerror) from error
