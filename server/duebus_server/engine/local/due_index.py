"""Items ordered by time: the first is at hand, and any can be removed from the middle.

It does the work of a heap in which each item knows its place. Over an event's life a list of short sorted blocks does
that faster than a binary heap written in Python, because ``bisect`` and ``list.insert`` run in C: among a million
items, taking the first is 8 times as fast and adding at the end 3 times, though adding in between is a third as fast
(``tests/bench/due_index.py``). It can also be read in order from anywhere, which pages of a listing need. The layout is
that of ``sortedcontainers.SortedList``, cut down to what the engine uses.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

BLOCK_SIZE = 512
"""A block splits when it grows past twice this: an insertion then moves at most 8 KiB."""


class DueIndex(Generic[T]):
    """Items by ``(at_us, seq)``: by time, and in order of ``seq`` where times are equal. ``seq`` is unique.

    ``add`` and ``remove`` take O(log n) comparisons; ``first`` and ``len`` take O(1).
    """

    __slots__ = ("_blocks", "_lasts", "_length")

    def __init__(self) -> None:
        self._blocks: list[list[tuple[int, int, T]]] = []
        # The last key of each block, to find a block by bisection.
        self._lasts: list[tuple[int, int, T]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def first(self) -> tuple[int, T] | None:
        """The earliest time and its item, or None."""
        if not self._blocks:
            return None
        at_us, _, item = self._blocks[0][0]
        return at_us, item

    def add(self, at_us: int, seq: int, item: T) -> None:
        """Put an item in its place."""
        key = (at_us, seq, item)
        self._length += 1
        lasts = self._lasts
        if not lasts:
            self._blocks.append([key])
            lasts.append(key)
            return
        if key > lasts[-1]:  # the common case: what is dispatched for now is due after all before it
            place = len(lasts) - 1
            self._blocks[place].append(key)
            lasts[place] = key
        else:
            place = bisect_left(lasts, key)
            insort(self._blocks[place], key)
        if len(self._blocks[place]) > 2 * BLOCK_SIZE:
            self._split(place)

    def remove(self, at_us: int, seq: int) -> None:
        """Take the item with this key out.

        Raises:
            KeyError: there is none.
        """
        key = (at_us, seq)
        place = bisect_left(self._lasts, key)
        if place == len(self._lasts):
            raise KeyError(key)
        block = self._blocks[place]
        index = bisect_left(block, key)
        if block[index][:2] != key:
            raise KeyError(key)
        del block[index]
        self._length -= 1
        self._tidy(place)

    def pop_block(self) -> list[tuple[int, int, T]]:
        """Take some of the latest out at once, at most 1024: a step of emptying it. Empty when it is."""
        if not self._blocks:
            return []
        block = self._blocks.pop()
        self._lasts.pop()
        self._length -= len(block)
        return block

    def ascending(self, after: tuple[int, int] | None = None) -> Iterator[tuple[int, int, T]]:
        """``(at_us, seq, item)`` from the earliest, or from just behind ``after``.

        The index must not change meanwhile.
        """
        if after is None:
            place = index = 0
        else:
            behind = (after[0], after[1] + 1)
            place = bisect_left(self._lasts, behind)
            index = bisect_left(self._blocks[place], behind) if place < len(self._blocks) else 0
        for block in islice(self._blocks, place, None):
            yield from islice(block, index, None)
            index = 0

    def descending(self, before: tuple[int, int] | None = None) -> Iterator[tuple[int, int, T]]:
        """``(at_us, seq, item)`` from the latest, or from just ahead of ``before``. As ``ascending``."""
        place = len(self._blocks) - 1
        index = len(self._blocks[place]) if self._blocks else 0
        if before is not None and self._blocks:
            place = min(bisect_left(self._lasts, before), place)
            index = bisect_left(self._blocks[place], before)
        while place >= 0:
            yield from reversed(self._blocks[place][:index])
            place -= 1
            index = 2 * BLOCK_SIZE + 1  # all of the block

    def _split(self, place: int) -> None:
        block = self._blocks[place]
        self._blocks.insert(place + 1, block[BLOCK_SIZE:])
        del block[BLOCK_SIZE:]
        self._lasts.insert(place, block[-1])

    def _tidy(self, place: int) -> None:
        """Keep ``_lasts`` true after a removal, and leave no empty block."""
        block = self._blocks[place]
        if block:
            self._lasts[place] = block[-1]
        else:
            del self._blocks[place]
            del self._lasts[place]
