"""Bounds the memory that the bodies of all events of one engine take up."""

from __future__ import annotations


class BodyRoom:
    """How many bytes of event bodies an engine holds.

    Attributes:
        max_bytes: how many it may hold; 0 is unlimited.
        used: how many it holds, each body once for all groups, and those of dead letters too.
    """

    __slots__ = ("max_bytes", "used")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0

    def fits(self, size: int) -> bool:
        """Whether there is room for this many more bytes."""
        return not self.max_bytes or self.used + size <= self.max_bytes
