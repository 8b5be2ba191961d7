"""An outage is told once when it begins and once when it is over, however often something is tried meanwhile."""

from __future__ import annotations


class Outage:
    """Whether what is tried again and again fails at the moment."""

    def __init__(self) -> None:
        self._lasts = False

    def begins(self) -> bool:
        """It has failed; whether it did not the last time."""
        before, self._lasts = self._lasts, True
        return not before

    def ends(self) -> bool:
        """It has gone well; whether it did not the last time."""
        before, self._lasts = self._lasts, False
        return before
