"""The journal of each process of a fault test: JSON lines, flushed before the process continues.

A killed process may leave an unfinished last line, which is skipped.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Line = dict[str, Any]


def now_us() -> int:
    """The host's clock, which is Redis's own as well, in microseconds."""
    return time.time_ns() // 1000


class Journal:
    """The history of one process.

    Args:
        path: its file; lines are appended.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, kind: str, *, at: int | None = None, **fields: Any) -> None:
        """Write a line. Once this returns, killing the process does not lose it."""
        line = {"kind": kind, "at": now_us() if at is None else at, **fields}
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_journal(path: Path) -> Iterator[Line]:
    """The lines of a file, in order."""
    *whole, unfinished = path.read_bytes().split(b"\n")
    del unfinished  # empty, unless the process was killed in the middle of a line
    for line in whole:
        yield json.loads(line)
