"""Items ordered by time; any item can be removed.

This is a list of short sorted blocks. It does the job of a heap in which each item knows its index, but faster, because
``bisect`` and ``list.insert`` run in C; ``tests/bench/due_index.py`` measures both. Neighbours are added and removed
together, and a page of a listing can begin anywhere. The layout is that of ``sortedcontainers.SortedKeyList``, reduced
to what the engine uses.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

T = TypeVar("T")

BLOCK_SIZE = 512
"""A block splits when it grows past twice this: an insertion then moves at most 8 KiB."""

SEQ_BITS = 48
"""The bits of a key that hold the sequence number, which is enough for a century of 50,000 events a second."""

SEQ_MASK = (1 << SEQ_BITS) - 1


def sort_key(at_us: int, seq: int) -> int:
    """One number that sorts as ``(at_us, seq)``. It takes less memory than a pair, and less time to compare."""
    return at_us << SEQ_BITS | seq


class DueIndex(Generic[T]):
    """Items by sort key: by time, and in order of ``seq`` where times are equal. ``seq`` is unique.

    ``add`` and ``remove`` take O(log n) comparisons; ``first`` and ``len`` take O(1).
    """

    __slots__ = ("_items", "_keys", "_lasts", "_length")

    def __init__(self) -> None:
        # Blocks of keys, and blocks of their items in the same positions.
        self._keys: list[list[int]] = []
        self._items: list[list[T]] = []
        # The last key of each block, to find a block by bisection.
        self._lasts: list[int] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def first(self) -> tuple[int, T] | None:
        """The earliest time and its item, or None."""
        if not self._keys:
            return None
        return self._keys[0][0] >> SEQ_BITS, self._items[0][0]

    def until(self, until_us: int, limit: int) -> list[T]:
        """The first ``limit`` items whose time is at most ``until_us``."""
        if not self._keys or self._keys[0][0] >> SEQ_BITS > until_us:  # nearly always; quicker than an iteration
            return []
        return [item for _, _, item in takewhile(lambda row: row[0] <= until_us, islice(self.ascending(), limit))]

    def first_from(self, key: int) -> tuple[int, T] | None:
        """The first sort key that is not smaller, and its item, or None. O(log n)."""
        block, index = self._find(key)
        return None if block == len(self._keys) else (self._keys[block][index], self._items[block][index])

    def add(self, key: int, item: T) -> None:
        """Add an item with this sort key."""
        self._length += 1
        lasts = self._lasts
        if not lasts:
            self._keys.append([key])
            self._items.append([item])
            lasts.append(key)
            return
        if key > lasts[-1]:  # the usual case: what is due now comes last
            block = len(lasts) - 1
            self._keys[block].append(key)
            self._items[block].append(item)
            lasts[block] = key
        else:
            block = bisect_left(lasts, key)
            index = bisect_left(self._keys[block], key)
            self._keys[block].insert(index, key)
            self._items[block].insert(index, item)
        if len(self._keys[block]) > 2 * BLOCK_SIZE:
            self._split(block)

    def add_all(self, keys: list[int], items: Sequence[T]) -> None:
        """Add items, each with its sort key; quickly if they come last, in order."""
        if self._lasts and keys and keys[0] > self._lasts[-1] and keys == sorted(keys):
            self._append_run(keys, items)
        else:
            for key, item in zip(keys, items, strict=True):
                self.add(key, item)

    def remove(self, key: int) -> None:
        """Remove the item with this sort key.

        Raises:
            KeyError: there is none.
        """
        block, index = self._find(key)
        keys = self._keys[block] if block < len(self._keys) else ()
        if index == len(keys) or keys[index] != key:
            raise KeyError((key >> SEQ_BITS, key & SEQ_MASK))
        self._delete(block, index, index + 1)

    def remove_all(self, keys: Iterable[int]) -> None:
        """Remove the items with these sort keys, neighbours together.

        Raises:
            KeyError: there is none with one of them.
        """
        left = sorted(keys)
        done = 0
        while done < len(left):
            done += self._remove_run(left, done)

    def take_first(self, count: int) -> list[T]:
        """Remove and return the ``count`` earliest items, or all if there are fewer."""
        taken: list[T] = []
        while self._keys and len(taken) < count:
            missing = count - len(taken)
            taken += self._items[0][:missing]
            self._delete(0, 0, missing)
        return taken

    def __iter__(self) -> Iterator[T]:
        """The items from the earliest. The index must not change meanwhile."""
        return chain.from_iterable(self._items)

    def rows(self) -> Iterator[tuple[int, T]]:
        """The sort keys with their items, from the earliest. The index must not change meanwhile."""
        return zip(chain.from_iterable(self._keys), self, strict=True)

    def pop_block(self) -> Sequence[T]:
        """Remove and return some of the latest items, at most 1024; none if the index is empty."""
        if not self._keys:
            return ()
        self._lasts.pop()
        self._length -= len(self._keys.pop())
        return self._items.pop()

    def ascending(self, after: tuple[int, int] | None = None) -> Iterator[tuple[int, int, T]]:
        """``(at_us, seq, item)`` from the earliest one, or from the first one after ``after``.

        The index must not change meanwhile.
        """
        block, index = (0, 0) if after is None else self._find(sort_key(*after) + 1)
        for keys, items in zip(islice(self._keys, block, None), islice(self._items, block, None), strict=True):
            for key, item in zip(islice(keys, index, None), islice(items, index, None), strict=True):
                yield key >> SEQ_BITS, key & SEQ_MASK, item
            index = 0

    def descending(self, before: tuple[int, int] | None = None) -> Iterator[tuple[int, int, T]]:
        """``(at_us, seq, item)`` from the latest one, or from the last one before ``before``. As ``ascending``."""
        block, index = (len(self._keys), 0) if before is None else self._find(sort_key(*before))
        while True:
            if block < len(self._keys):
                for key, item in zip(self._keys[block][:index][::-1], self._items[block][:index][::-1], strict=True):
                    yield key >> SEQ_BITS, key & SEQ_MASK, item
            if block == 0:
                return
            block -= 1
            index = len(self._keys[block])

    def _append_run(self, keys: list[int], items: Sequence[T]) -> None:
        """Add keys in order that come after all others."""
        last = len(self._keys) - 1
        self._keys[last] += keys
        self._items[last] += items
        self._lasts[last] = keys[-1]
        self._length += len(keys)
        while len(self._keys[-1]) > 2 * BLOCK_SIZE:
            self._split(len(self._keys) - 1)

    def _find(self, key: int) -> tuple[int, int]:
        """The block, and the position in it, of the first key that is not smaller; after the last block without one."""
        block = bisect_left(self._lasts, key)
        return block, bisect_left(self._keys[block], key) if block < len(self._keys) else 0

    def _remove_run(self, wanted: list[int], start: int) -> int:
        """Remove the wanted keys, from ``start`` on, that are neighbours. Returns how many."""
        key = wanted[start]
        block, begin = self._find(key)
        keys = self._keys[block] if block < len(self._keys) else []
        end = begin + _neighbours(keys, begin, wanted, start)
        if end == begin:
            raise KeyError((key >> SEQ_BITS, key & SEQ_MASK))
        self._delete(block, begin, end)
        return end - begin

    def _delete(self, block: int, begin: int, end: int) -> None:
        """Remove a slice of a block, update ``_lasts``, and leave no empty block."""
        keys = self._keys[block]
        before = len(keys)
        del keys[begin:end]
        self._length -= before - len(keys)
        if keys:
            del self._items[block][begin:end]
            self._lasts[block] = keys[-1]
        else:
            del self._keys[block]
            del self._items[block]
            del self._lasts[block]

    def _split(self, block: int) -> None:
        keys, items = self._keys[block], self._items[block]
        self._keys.insert(block + 1, keys[BLOCK_SIZE:])
        self._items.insert(block + 1, items[BLOCK_SIZE:])
        del keys[BLOCK_SIZE:], items[BLOCK_SIZE:]
        self._lasts.insert(block, self._keys[block][-1])


def _neighbours(keys: list[int], begin: int, wanted: list[int], start: int) -> int:
    """How many of the keys from ``begin`` on are the wanted ones from ``start`` on."""
    most = min(len(keys) - begin, len(wanted) - start)
    is_last = most > 0 and keys[begin + most - 1] == wanted[start + most - 1]
    if is_last and keys[begin : begin + most] == wanted[start : start + most]:  # usual, and quicker than one by one
        return most
    count = 0
    while count < most and keys[begin + count] == wanted[start + count]:
        count += 1
    return count
