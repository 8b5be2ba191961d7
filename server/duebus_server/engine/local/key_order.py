"""Which event of each key is delivered next: the rule of order, over the indexes of one group."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from duebus_server.domain.states import EventState
from duebus_server.engine.local.due_index import sort_key

if TYPE_CHECKING:
    from duebus_server.engine.local.indexes import StateIndexes
    from duebus_server.engine.local.records import Entry


class KeyOrder:
    """Moves the events of a group that have a key between READY and BLOCKED.

    An event becomes READY or BLOCKED in ``come_due``. Whatever ends the turn of a key's head calls ``leave``, which
    brings in the next.

    Args:
        indexes: those of the group. ``indexes.keys`` knows the head of each key and what waits behind it.
    """

    __slots__ = ("_indexes", "_keys")

    def __init__(self, indexes: StateIndexes) -> None:
        self._indexes = indexes
        self._keys = indexes.keys

    def takes_free_key(self, entry: Entry) -> bool:
        """Make a new event the head of its key if that has none. Returns whether it is."""
        key = self._keys.obtain(entry.key)
        if key.head is None:
            key.head = entry
        return key.head is entry

    def come_due(self, entry: Entry, at_us: int) -> None:
        """Put an event with a key, which is due and in no index, where it belongs: READY as the head of its key, or
        BLOCKED.
        """
        head = self._keys.obtain(entry.key).head
        if head is not None and (head.pinned or head.sort_key < sort_key(at_us, entry.seq)):
            self._indexes.put(entry, EventState.BLOCKED, at_us)
            return
        if head is not None:
            self._indexes.move(head, EventState.BLOCKED, head.at_us)
        self._make_head(entry, at_us)

    def move_due(self, entry: Entry, at_us: int) -> None:
        """SCHEDULED -> READY or BLOCKED for an event with a key."""
        self._indexes.remove(entry)
        self.come_due(entry, at_us)

    def _make_head(self, entry: Entry, at_us: int) -> None:
        self._keys.obtain(entry.key).head = entry
        self._indexes.put(entry, EventState.READY, at_us)

    def take_out(self, entry: Entry, now_us: int) -> None:
        """Take an event that is not LEASED out of its index, and out of the order of its key."""
        self._indexes.remove(entry)
        if entry.key and entry.state is not EventState.DEAD:
            self.leave(entry, now_us)

    def leave(self, entry: Entry, now_us: int) -> None:
        """An event that is in no index, or DEAD, no longer holds up the others of its key. If it was the head, the
        first of those that are due becomes READY.

        Every step that ends an event's turn calls this: ack, death, cancel, reschedule.
        """
        entry.unpin()
        keys = self._keys
        key = keys.obtain(entry.key)
        if key.head is entry:
            key.head = None
            first = keys.first_due(key, now_us)
            if first is not None:
                at_us, following = first
                self._indexes.remove(following)
                self._make_head(following, at_us)
        keys.drop_if_empty(key)

    def check_heads(self, limit: int, now_us: int) -> None:
        """Let SCHEDULED events that are due, but not moved yet, go before the heads of their keys, as far as a lease of
        ``limit`` events may take those.
        """
        ready = self._indexes.all_of(EventState.READY)
        for head in [entry for index in ready for entry in islice(index, limit)]:
            key = self._keys.find(head.key) if head.key and not head.pinned else None
            first = None if key is None else self._keys.first_due(key, now_us)
            if first is not None:
                self.move_due(first[1], first[0])
