"""The data directory: its lock, its secret and its manifest.

::

    lock                       held while a server uses the directory; names the process
    secret                     the key that signs lease tokens
    manifest.json              the layout, and the segments in order with their sizes
    0000000001.log, ...        the segments
    reserve                    keeps space, so that acks can be written when the disk is full
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from duebus_server.domain.errors import DuplicateInitialized, UnusableStorage
from duebus_server.engine.local.journal.frames import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duebus_server.engine.local.journal.disk import Disk

SECRET_BYTES = 32

Manifest = dict[int, int | None]
"""The segments in order: number -> size in bytes, None for the last one, which still grows."""


class DataDirectory:
    """One data directory.

    Attributes:
        path: where it is.
        reserve: the file that keeps space free for acks.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.reserve = path / "reserve"
        self._disk = disk
        self._manifest = path / "manifest.json"
        self._lock: int | None = None

    def segment(self, number: int) -> Path:
        """The file of a segment."""
        return self.path / f"{number:010}.log"

    def open(self) -> None:
        """Make the directory if there is none, and lock it.

        Raises:
            DuplicateInitialized: a process uses it.
            UnusableStorage: it can't be written to.
        """
        with self.naming_errors():
            missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in missing:
                self._disk.sync_directory(path.parent)
            lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 300, 0).decode(errors="replace").strip() or "another process"
            os.close(lock)
            raise DuplicateInitialized(
                f"data directory {self.path} is in use by {holder}", metadata={"data_dir": str(self.path)}
            ) from None
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        with self.naming_errors():
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret(self) -> bytes:
        """The key that signs lease tokens, created on first use.

        Raises:
            UnusableStorage: the file is damaged.
        """
        path = self.path / "secret"
        if not path.exists():
            self._disk.replace(path, secrets.token_bytes(SECRET_BYTES))
        found = path.read_bytes()
        if len(found) != SECRET_BYTES:
            raise UnusableStorage(f"{path} has {len(found)} bytes instead of {SECRET_BYTES}: it is damaged")
        return found

    def read_manifest(self) -> Manifest:
        """The segments; none in a new directory.

        Raises:
            UnusableStorage: the manifest is damaged or missing, or its layout is newer.
        """
        if not self._manifest.exists():
            if self._files():
                raise UnusableStorage(f"{self._manifest} is missing, but {self.path} has segments")
            return {}
        try:
            found = json.loads(self._manifest.read_bytes())
            layout, segments = found["layout"], {int(number): size for number, size in found["segments"]}
        except (ValueError, KeyError, TypeError) as error:
            raise UnusableStorage(f"{self._manifest} is damaged: {error}") from error
        check_layout(layout, self.path)
        return segments

    def write_manifest(self, segments: Manifest) -> None:
        """Replace the manifest."""
        text = json.dumps({"layout": LAYOUT, "segments": list(segments.items())})
        self._disk.replace(self._manifest, text.encode())

    def remove_strays(self, segments: Manifest) -> None:
        """Remove segment files that the manifest does not name: a crash came before their removal."""
        for number in self._files():
            if number not in segments:
                self._disk.remove(self.segment(number))

    def _files(self) -> list[int]:
        """The numbers of the segments that have a file."""
        return [int(path.stem) for path in self.path.glob("[0-9]*.log") if path.stem.isdecimal()]

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Turn an error of the operating system into one line that names the directory.

        Raises:
            UnusableStorage: there was one.
        """
        try:
            yield
        except OSError as error:
            where = "" if error.filename in (None, str(self.path)) else f"{error.filename}: "
            raise UnusableStorage(f"data directory {self.path}: {where}{str(error.strerror).lower()}") from error


def check_layout(layout: int, path: Path) -> None:
    """Refuse what a newer build wrote.

    Raises:
        UnusableStorage: this build can't read the layout.
    """
    if layout > LAYOUT:
        raise UnusableStorage(
            f"{path} has layout {layout}, and this build reads up to {LAYOUT}: start the newer DueBus that wrote it"
        )
