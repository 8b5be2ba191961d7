"""Files that are reread when they change, without a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from duebus_server.security.errors import BadFileError, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

CHECK_S = 1.0
"""The shortest interval between checks for changed files."""

log = structlog.get_logger()


class Reloading(Generic[T]):
    """A value read from files, at most about a second old.

    A change that can't be used is logged once, and the previous value stays in force.

    Args:
        paths: the files; a change to any of them counts.
        read: makes a value of them; raises BadFileError.
        check_s: the shortest time between two checks, in seconds.

    Raises:
        BadFileError: the files can't be used when this is made.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], T], check_s: float = CHECK_S) -> None:
        self._paths = paths
        self._read = read
        self._check_s = check_s
        self._checked_s = time.monotonic()
        self._state = self._stat()
        self._value = read()

    def current(self) -> T:
        """The current value."""
        now_s = time.monotonic()
        if now_s - self._checked_s >= self._check_s:
            self._checked_s = now_s
            self._reload_if_changed()
        return self._value

    def _reload_if_changed(self) -> None:
        try:
            state = self._stat()
            if state == self._state:
                return
            self._state = state
            self._value = self._read()
        except BadFileError as error:
            log.error("changed file not used", error=str(error))  # noqa: TRY400  # the line is complete without a traceback
        else:
            log.info("changed file in use", file=str(self._paths[0]))

    def _stat(self) -> list[tuple[int, int, int, int]]:
        """A value that changes with every file, even if one is replaced behind a symbolic link."""
        found = []
        for path in self._paths:
            try:
                stat = path.stat()
            except OSError as error:
                raise unreadable(path, error) from error
            found.append((stat.st_mtime_ns, stat.st_ino, stat.st_size, stat.st_mode))
        return found
