"""Disks for tests: one that keeps a log of every write, and one that fails when a test says so."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from duebus_server.engine.local.journal.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SIGNAL_TIMEOUT_S = 30

Files = dict[str, bytearray]
"""The contents of a directory, by name."""


class Written(NamedTuple):
    """One change of a directory.

    Attributes:
        name: the file.
        offset: where ``data`` was written; None if it has replaced the contents, or the file was removed.
        data: the bytes that were written; None if the file was removed.
    """

    name: str
    offset: int | None
    data: bytes | None

    @property
    def steps(self) -> int:
        """In how many steps a crash can find it: a write may end after each byte, the others are atomic."""
        return 1 if self.offset is None or self.data is None else len(self.data)

    def apply(self, files: Files, steps: int) -> None:
        """Make the first ``steps`` steps of the change."""
        if self.data is None:
            files.pop(self.name, None)
        elif self.offset is None:
            files[self.name] = bytearray(self.data)
        else:
            files[self.name][self.offset :] = self.data[:steps]


class QuickDisk(Disk):
    """Syncs nothing: a test that kills no host need not wait for the disk."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass

    def allocate(self, path: Path, size: int) -> None:  # noqa: ARG002  # a reserve of no bytes
        os.close(self.create(path))


class MeasuredDisk(QuickDisk):
    """Knows how large the segments are, and lets a test wait until they are smaller, or gone.

    Attributes:
        sizes: of the segments, by name.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._changed = threading.Condition()

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._names[descriptor] = path.name
        return descriptor

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        super().write(descriptor, data, offset)
        name = self._names[descriptor]
        if name.endswith(".log"):
            self.sizes[name] = offset + len(data)

    def remove(self, path: Path) -> None:
        super().remove(path)
        with self._changed:
            self.sizes.pop(path.name, None)
            self._changed.notify_all()

    async def until(self, condition: Callable[[dict[str, int]], bool]) -> None:
        """Wait until a removal has made this true of the sizes."""
        assert await asyncio.to_thread(self._wait, condition)

    def _wait(self, condition: Callable[[dict[str, int]], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.sizes), SIGNAL_TIMEOUT_S)


class LoggingDisk(QuickDisk):
    """Logs every change, in order. The journal appends to its files, so a write begins where the file ends.

    Attributes:
        log: the changes.
        position: how many steps they have; see ``Written.steps``.
    """

    def __init__(self) -> None:
        self.log: list[Written] = []
        self.position = 0
        self._names: dict[int, str] = {}

    def create(self, path: Path) -> int:
        """Logged, but for the temporary file of ``replace``."""
        descriptor = super().create(path)
        self._names[descriptor] = path.name
        if path.suffix == ".log":
            self._add(Written(path.name, None, b""))
        return descriptor

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        super().write(descriptor, data, offset)
        if self._names[descriptor].endswith(".log"):
            self._add(Written(self._names[descriptor], offset, data))

    def replace(self, path: Path, data: bytes) -> None:
        super().replace(path, data)
        self._add(Written(path.name, None, data))

    def remove(self, path: Path) -> None:
        super().remove(path)
        if path.suffix == ".log":
            self._add(Written(path.name, None, None))

    def _add(self, change: Written) -> None:
        self.log.append(change)
        self.position += change.steps


class FaultyDisk(Disk):
    """Works until a test sets a fault.

    Attributes:
        on_write: called with the file's descriptor and the data before each write to a segment, and may raise.
        on_read: called in the reading thread before bodies are read, and may raise.
        on_sync: called before each sync of a segment, and may raise.
        on_allocate: called before the reserve is taken, and may raise.
        syncs: how many syncs were asked for.
    """

    def __init__(self) -> None:
        self.on_write: Callable[[bytes], None] = lambda _: None
        self.on_read: Callable[[], None] = lambda: None
        self.on_sync: Callable[[], None] = lambda: None
        self.on_allocate: Callable[[], None] = lambda: None
        self.syncs = 0

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        """Fails if the test says so, after the first half was written."""
        try:
            self.on_write(data)
        except OSError:
            super().write(descriptor, data[: len(data) // 2], offset)
            raise
        super().write(descriptor, data, offset)

    def read(self, path: Path, places: Sequence[tuple[int, int]]) -> list[bytes]:
        self.on_read()
        return super().read(path, places)

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        self.on_sync()
        super().sync(descriptor)

    def allocate(self, path: Path, size: int) -> None:
        self.on_allocate()
        super().allocate(path, size)


def no_space(*_: object) -> None:
    """Raise what a full disk raises."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def out_of_memory(*_: object) -> None:
    """Raise what a process without memory raises."""
    raise MemoryError("no memory")


def broken(*_: object) -> None:
    """Raise what a broken disk raises."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))
