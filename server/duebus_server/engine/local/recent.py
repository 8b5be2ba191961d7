"""Values that are remembered for a window of time."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class RecentMemory(Generic[V]):
    """Values by key, each kept until its time has passed.

    Forgetting an item costs O(1), because items are added in the order in which they expire.
    """

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: OrderedDict[str, tuple[int, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def remember(self, key: str, value: V, until_us: int) -> None:
        """Keep ``value`` until ``until_us``, in place of an older value of the key."""
        self._items[key] = (until_us, value)
        self._items.move_to_end(key)

    def get(self, key: str, now_us: int) -> V | None:
        """The value; None if it is unknown or its time has passed."""
        return self._items[key][1] if self.knows(key, now_us) else None

    def knows(self, key: str, now_us: int) -> bool:
        """Whether the key was remembered and its time has not passed."""
        item = self._items.get(key)
        return item is not None and item[0] > now_us

    def first_us(self) -> int | None:
        """When the first item expires; None if there is none."""
        return next(iter(self._items.values()))[0] if self._items else None

    def until_us(self, key: str) -> int | None:
        """Until when the key is remembered; None if it is not."""
        item = self._items.get(key)
        return None if item is None else item[0]

    def sort(self) -> None:
        """Put the items into the order in which they expire, after they were added in another."""
        self._items = OrderedDict(sorted(self._items.items(), key=lambda item: item[1][0]))

    def forget_some(self, count: int) -> None:
        """Drop up to ``count`` items, whether or not they have expired."""
        for _ in range(min(count, len(self._items))):
            self._items.popitem()

    def forget_before(self, now_us: int) -> None:
        """Drop what has expired."""
        while self._items:
            key, (until_us, _) = next(iter(self._items.items()))
            if until_us > now_us:
                return
            del self._items[key]
