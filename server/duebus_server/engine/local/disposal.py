"""Releases deleted memory in pieces: a million events at once would block everything else."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Disposal:
    """Does work in pieces of a few milliseconds."""

    def __init__(self) -> None:
        self._work: deque[Iterator[None]] = deque()

    def add(self, pieces: Iterator[None]) -> None:
        """Add work. Each step of the iterator does one piece."""
        self._work.append(pieces)

    async def run(self) -> None:
        """Return when all work is done; other tasks run between the pieces. Several calls may run at once; the next one
        does what a cancelled one left.
        """
        while self._work:
            if next(self._work[0], self) is self:
                self._work.popleft()
            await asyncio.sleep(0)
