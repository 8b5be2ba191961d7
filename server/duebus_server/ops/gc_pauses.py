"""Keeps the garbage collector from pausing the server in proportion to its backlog.

A full collection looks at every object, and a waiting event is several: half a second at a million of them, in which
nothing is delivered. Events hold no reference cycles, so there is nothing to find among them. Objects that have lived
through a full collection are therefore set aside (``gc.freeze``): the next one looks only at newer objects. They are
still freed as soon as nothing refers to them.
"""

from __future__ import annotations

import gc
import time

FULL = 2
"""The oldest generation. Collecting it is a full collection."""

THAW_S = 3_600.0
"""How often a full collection looks at everything, to find cycles that became garbage after they were set aside."""


class PauseKeeper:
    """A ``gc.callbacks`` entry. A process needs one."""

    def __init__(self) -> None:
        self._thawed_s = time.monotonic()

    def install(self) -> None:
        """Set aside all present objects, and after each full collection those that survived it."""
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._collected)

    def uninstall(self) -> None:
        """Restore the collector."""
        gc.callbacks.remove(self._collected)
        gc.unfreeze()

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] != FULL:
            return
        if phase == "stop":
            gc.freeze()
        elif time.monotonic() - self._thawed_s > THAW_S:
            self._thawed_s = time.monotonic()
            gc.unfreeze()
