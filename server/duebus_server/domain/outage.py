"""Log an outage once when it begins and once when it ends, no matter how often something is tried in between."""

from __future__ import annotations


class Outage:
    """Whether something that is tried repeatedly is failing now."""

    def __init__(self) -> None:
        self._lasts = False

    def begins(self) -> bool:
        """Record a failure. Returns whether the outage is new."""
        before, self._lasts = self._lasts, True
        return not before

    def ends(self) -> bool:
        """Record a success. Returns whether an outage has ended."""
        before, self._lasts = self._lasts, False
        return before
