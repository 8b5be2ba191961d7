"""The fields of a record as bytes. A field is a column: one value for each event, packed in one call."""

from __future__ import annotations

import struct
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NONE = -1
"""Stands for None in a column of numbers that are not negative."""


class Columns:
    """Builds a body. Numbers are signed, of 64 bits; text is UTF-8; every column begins with its length."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def numbers(self, *values: int) -> Columns:
        """Add a column of numbers."""
        self._parts.append(struct.pack(f"<I{len(values)}q", len(values), *values))
        return self

    def optional(self, *values: int | None) -> Columns:
        """Add a column of numbers that are not negative, or None."""
        return self.numbers(*[NONE if value is None else value for value in values])

    def blobs(self, values: Sequence[bytes]) -> Columns:
        """Add a column of bytes."""
        self._parts.append(struct.pack(f"<I{len(values)}I", len(values), *map(len, values)))
        self._parts += values
        return self

    def texts(self, *values: str) -> Columns:
        """Add a column of texts."""
        return self.blobs([value.encode() for value in values])

    @property
    def size(self) -> int:
        """How many bytes the columns have so far."""
        return sum(map(len, self._parts))

    def body(self) -> bytes:
        """All columns, one after the other."""
        return b"".join(self._parts)


class ColumnReader:
    """Reads a body, column by column, in the order in which it was built."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are not read yet."""
        return len(self._body) - self._at

    def numbers(self) -> tuple[int, ...]:
        """The next column, of numbers."""
        (count,) = struct.unpack_from("<I", self._body, self._at)
        values = struct.unpack_from(f"<{count}q", self._body, self._at + 4)
        self._at += 4 + 8 * count
        return values

    def optional(self) -> list[int | None]:
        """The next column, of numbers or None."""
        return [None if value == NONE else value for value in self.numbers()]

    def blobs(self) -> list[bytes]:
        """The next column, of bytes."""
        body = self._body
        (count,) = struct.unpack_from("<I", body, self._at)
        lengths = struct.unpack_from(f"<{count}I", body, self._at + 4)
        start = self._at + 4 + 4 * count
        ends = list(accumulate(lengths, initial=start))
        self._at = ends[-1]
        return [body[begin:end] for begin, end in pairwise(ends)]

    def texts(self) -> list[str]:
        """The next column, of texts."""
        return [value.decode() for value in self.blobs()]


def split(values: Sequence[str], counts: Iterable[int]) -> list[Sequence[str]]:
    """Undo ``joined``: the values in runs of these lengths."""
    return [values[begin:end] for begin, end in pairwise(accumulate(counts, initial=0))]


def joined(runs: Iterable[Iterable[str]]) -> list[str]:
    """The values of all runs in one list."""
    return list(chain.from_iterable(runs))
