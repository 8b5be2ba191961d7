"""Keeps the garbage collector from pausing the server in proportion to its backlog.

A full collection examines every object, and a waiting event is several: half a second at a million of them, in which
nothing is delivered. Events hold no reference cycles, so there is nothing to find among them. Objects that have lived
through a full collection are therefore set aside (``gc.freeze``): the next one examines only newer objects. They are
still freed as soon as nothing refers to them.

Calls that were under way then are set aside, too, and some of them become cycles. They are small, but each keeps a
whole arena of Python's allocator (1 MiB) in use after the events around it are gone. So when most of the memory has
been released, everything is examined: by then, little is left.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time

FULL = 2
"""The oldest generation. Collecting it is a full collection."""

THAW_S = 3_600.0
"""How often a full collection examines everything, to find cycles that became garbage after they were set aside."""

CHECK_S = 10.0
"""How often to check whether memory was released."""

RELEASED = 0.5
"""The share of the highest number of blocks that must be released before everything is examined."""

FEW_BLOCKS = 200_000
"""How many more blocks than at the start may be in use then. Examining more would be a noticeable pause."""


class PauseKeeper:
    """A ``gc.callbacks`` entry. A process needs one."""

    def __init__(self) -> None:
        self._thawed_s = time.monotonic()
        self._most_blocks = self._first_blocks = 0

    def install(self) -> None:
        """Set aside all present objects, and after each full collection those that survived it."""
        gc.collect()
        gc.freeze()
        self._first_blocks = sys.getallocatedblocks()
        gc.callbacks.append(self._collected)

    def uninstall(self) -> None:
        """Restore the collector."""
        gc.callbacks.remove(self._collected)
        gc.unfreeze()

    async def run(self) -> None:
        """Examine everything whenever most of the memory has been released, until it is cancelled."""
        while True:
            self.check()
            await asyncio.sleep(CHECK_S)

    def check(self) -> None:
        """Examine everything if most of the memory has been released since the last time."""
        blocks = sys.getallocatedblocks()
        self._most_blocks = max(blocks, self._most_blocks)
        if blocks <= min(self._first_blocks + FEW_BLOCKS, self._most_blocks * (1 - RELEASED)):
            gc.unfreeze()
            gc.collect()
            self._most_blocks = sys.getallocatedblocks()

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] != FULL:
            return
        if phase == "stop":
            gc.freeze()
        elif time.monotonic() - self._thawed_s > THAW_S:
            self._thawed_s = time.monotonic()
            gc.unfreeze()
