"""Log an outage once when it begins and once when it ends, however often something is tried in between."""

from __future__ import annotations


class Outage:
    """Whether something that is tried again and again fails at the moment."""

    def __init__(self) -> None:
        self._lasts = False

    def begins(self) -> bool:
        """It has failed. Returns whether that is new."""
        before, self._lasts = self._lasts, True
        return not before

    def ends(self) -> bool:
        """It has succeeded. Returns whether that is new."""
        before, self._lasts = self._lasts, False
        return before
