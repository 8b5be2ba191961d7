"""What was deleted is given back little by little: a million events at once would hold up everything else."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Disposal:
    """Work that has to be done some time, in pieces of some milliseconds."""

    def __init__(self) -> None:
        self._work: deque[Iterator[None]] = deque()

    def add(self, pieces: Iterator[None]) -> None:
        """Each step of the iterator does one piece."""
        self._work.append(pieces)

    async def run(self) -> None:
        """Return when all is done; between the pieces others have their turn. Several may run at a time, and what is
        left by one that is cancelled is done by the next.
        """
        while self._work:
            if next(self._work[0], self) is self:
                self._work.popleft()
            await asyncio.sleep(0)
