"""Finds damage in a data directory that no server uses, and removes it so that a server can start."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from duebus_server.domain.errors import UnusableStorage
from duebus_server.engine.local.journal.directory import DataDirectory
from duebus_server.engine.local.journal.disk import Disk
from duebus_server.engine.local.journal.frames import HEADER_BYTES, Kind, header
from duebus_server.engine.local.journal.reading import BadPart, read_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Check:
    """What was found.

    Attributes:
        segments: how many segments there are.
        records: how many records can be read.
        torn: the end of the last segment, if a crash has torn it. The next start cuts it off.
        damaged: everything else that can't be read. While there is any, a server does not start.
    """

    segments: int = 0
    records: int = 0
    torn: list[BadPart] = field(default_factory=list)
    damaged: list[BadPart] = field(default_factory=list)


def verify(path: Path) -> Check:
    """Read every record of a data directory.

    Raises:
        DuplicateInitialized: a process uses it.
        UnusableStorage: there is not a data directory, its manifest is damaged, or its layout is newer.
    """
    with existing_directory(path) as directory:
        return _check(directory)


def repair(path: Path) -> Check:
    """Cut or skip what can't be read, so that a server can start. What was readable stays as it is.

    Returns:
        What was found before the repair.

    Raises:
        DuplicateInitialized, UnusableStorage: as ``verify``.
    """
    with existing_directory(path) as directory:
        check = _check(directory)
        with directory.naming_errors():
            for part in reversed(check.torn + check.damaged):
                _give_up(directory, part)
        return check


@contextmanager
def existing_directory(path: Path) -> Iterator[DataDirectory]:
    """A data directory that no other process can use during the block.

    Raises:
        DuplicateInitialized: a process uses it.
        UnusableStorage: there is none.
    """
    if not (path / "manifest.json").exists():
        raise UnusableStorage(f"{path} is not a data directory: it has no manifest.json")
    directory = DataDirectory(path, Disk())
    directory.open()
    try:
        yield directory
    finally:
        directory.close()


def _check(directory: DataDirectory) -> Check:
    manifest = directory.read_manifest()
    check = Check(segments=len(manifest))
    with directory.naming_errors():
        for number, size in manifest.items():
            for found in read_segment(directory, number, size):
                if not isinstance(found, BadPart):
                    check.records += 1
                elif found.is_tail:
                    check.torn.append(found)
                else:
                    check.damaged.append(found)
    return check


def _give_up(directory: DataDirectory, part: BadPart) -> None:
    """Cut off a torn part, drop a missing segment from the manifest, and turn other damage into a record to skip."""
    number = int(part.path.stem)
    manifest = directory.read_manifest()
    size = part.path.stat().st_size if part.path.exists() else None
    if size is None:
        directory.write_manifest({one: known for one, known in manifest.items() if one != number})
    elif part.is_tail or part.size < HEADER_BYTES:
        Disk().truncate(part.path, part.offset)
        if manifest[number] is not None:
            directory.write_manifest(manifest | {number: part.offset})
    elif part.offset == size:
        directory.write_manifest(manifest | {number: size})
    else:
        _skip(part)


def _skip(part: BadPart) -> None:
    """Overwrite the first of the unreadable bytes with the header of a record that is skipped."""
    with part.path.open("r+b") as file:
        file.seek(part.offset + HEADER_BYTES)
        rest = file.read(part.size - HEADER_BYTES)
        file.seek(part.offset)
        file.write(header(Kind.SKIPPED, rest, 0))
        file.flush()
        Disk().sync(file.fileno())
