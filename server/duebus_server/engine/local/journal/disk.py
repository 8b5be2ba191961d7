"""The file operations of the journal. Tests override a method to simulate a full or broken disk."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FULL_SYNC = getattr(fcntl, "F_FULLFSYNC", None)
"""On macOS, fsync leaves the bytes in the drive's cache; this command writes them out."""


class Disk:
    """Files and directories. Every method blocks, and raises OSError."""

    def create(self, path: Path) -> int:
        """Make an empty file that only this user can read, or empty the one that is there. Returns a descriptor."""
        return os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``. If it raises, some of it may have been written."""
        left = memoryview(data)
        while left:
            written = os.pwrite(descriptor, left, offset)
            left, offset = left[written:], offset + written

    def read(self, path: Path, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of a file at these places, each an offset and a size; fewer where the file ends."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return [os.pread(descriptor, size, offset) for offset, size in places]
        finally:
            os.close(descriptor)

    def sync(self, descriptor: int) -> None:
        """Return when what was written to the file is on the disk."""
        if FULL_SYNC is not None:
            fcntl.fcntl(descriptor, FULL_SYNC)
        else:
            os.fdatasync(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def allocate(self, path: Path, size: int) -> None:
        """Make a file that occupies ``size`` bytes of the disk."""
        descriptor = self.create(path)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            else:
                self.write(descriptor, bytes(size), 0)
        finally:
            os.close(descriptor)

    def replace(self, path: Path, data: bytes) -> None:
        """Replace a file's contents. A crash leaves either the old or the new contents."""
        fresh = path.with_name(f"{path.name}.new")
        descriptor = self.create(fresh)
        try:
            self.write(descriptor, data, 0)
            self.sync(descriptor)
        finally:
            os.close(descriptor)
        fresh.rename(path)
        self.sync_directory(path.parent)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to ``size`` bytes, and sync it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file; harmless if there is none."""
        path.unlink(missing_ok=True)
