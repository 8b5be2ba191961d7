"""Where an event stands in a sorted set, and the cursor of a list that begins after it."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple


class Position(NamedTuple):
    """The sort key of an event in a list."""

    score: int
    member: bytes

    @classmethod
    def of(cls, score: bytes, member: bytes) -> Position:
        """A position in the answer of a script."""
        return cls(int(float(score)), member)

    def cursor(self) -> str:
        """The cursor of what begins after this event."""
        return f"{self.score}.{urlsafe_b64encode(self.member).decode()}"


def after(cursor: str | None) -> tuple[str, bytes]:
    """A cursor as the arguments of a script: score and member, both empty at the beginning.

    Raises:
        ValueError: it is not a cursor.
    """
    if cursor is None:
        return "", b""
    score, member = cursor.split(".")
    return str(int(score)), urlsafe_b64decode(member)
