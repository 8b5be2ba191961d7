"""The order of one group's events by key.

A key lets some of its events through: those have a slot of it, and are READY, LEASED, or wait for their retry. Where
keys are in order, that is one, the head. The others wait: BLOCKED, or SCHEDULED until they are due. ``KeyOrder`` moves
events between states; this is what it looks up.
"""

from __future__ import annotations

from heapq import merge
from itertools import chain, count, islice
from typing import TYPE_CHECKING

from duebus_server.domain.rates import NO_TAT
from duebus_server.engine.local.due_index import SEQ_BITS, SEQ_MASK, DueIndex, sort_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duebus_server.engine.local.host_time import HostTime
    from duebus_server.engine.local.records import Entry

    Listed = tuple[int, int, Entry]
    """Time, ``seq``, and the event itself."""

KEY_SHIFT = SEQ_BITS + 64
"""How far the number of a key is shifted to come before the sort key of an event."""

FORGET_AT_ONCE = 1_000
"""How many keys of a deleted group are dropped in one step. It keeps the step short."""


class Key:
    """One key in one group.

    Attributes:
        name: the key.
        number: unique in the group; orders the events that wait by key.
        head: an event that has a slot: the only one, where keys are in order.
        others: the other events that have a slot; None if there are none.
        blocked: how many events are BLOCKED.
        waiting: how many events have no slot: BLOCKED, or SCHEDULED.
        held: the dead letter that closes the key, if the policy is to hold.
        tat_us: the theoretical arrival time of its rate; see ``domain.rates``.
        paused_until_us: until when a nack has paused it; 0 if none has.
        opens_us: its time in ``Keys.opens`` or ``Keys.idle``; 0 if it is in neither.
        is_idle: whether that is ``Keys.idle``.
    """

    __slots__ = (
        "blocked",
        "head",
        "held",
        "is_idle",
        "name",
        "number",
        "opens_us",
        "others",
        "paused_until_us",
        "tat_us",
        "waiting",
    )

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.head: Entry | None = None
        self.others: set[Entry] | None = None
        self.blocked = 0
        self.waiting = 0
        self.held: Entry | None = None
        self.tat_us = NO_TAT
        self.paused_until_us = 0
        self.opens_us = 0
        self.is_idle = False

    @property
    def slots_taken(self) -> int:
        """How many events have a slot."""
        return (self.head is not None) + (len(self.others) if self.others else 0)

    def with_slots(self) -> list[Entry]:
        """The events that have a slot."""
        return ([] if self.head is None else [self.head]) + list(self.others or ())

    def has_slot(self, entry: Entry) -> bool:
        """Whether an event has a slot."""
        return self.head is entry or (self.others is not None and entry in self.others)

    def give_slot(self, entry: Entry) -> None:
        """Give a slot to an event."""
        if self.head is None:
            self.head = entry
        elif self.others is None:
            self.others = {entry}
        else:
            self.others.add(entry)

    def take_slot(self, entry: Entry) -> bool:
        """Take the slot of an event. Returns whether it had one."""
        if self.head is entry:
            self.head = self.others.pop() if self.others else None
        elif self.others is not None and entry in self.others:
            self.others.remove(entry)
        else:
            return False
        self.others = self.others or None
        return True


class Keys:
    """The keys of one group.

    Attributes:
        opens: the keys with BLOCKED events that are closed until a time.
        idle: other keys that were leased or paused lately, until that no longer matters.

    Args:
        host: the host's clock.
    """

    __slots__ = ("_by_blocked", "_by_host", "_by_name", "_host", "_numbers", "_waiting", "idle", "opens")

    def __init__(self, host: HostTime) -> None:
        self._host = host
        self._by_name: dict[str, Key] = {}
        self._numbers = count(1)
        # The events that wait, by key and then by time: that of the engine's clock, or of the host's.
        self._waiting: DueIndex[Entry] = DueIndex()
        self._by_host: DueIndex[Entry] = DueIndex()
        # The keys with blocked events, by how many.
        self._by_blocked: dict[int, dict[str, Key]] = {}
        self.opens: DueIndex[Key] = DueIndex()
        self.idle: DueIndex[Key] = DueIndex()

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str) -> Key | None:
        """The key of this name, if it has events."""
        return self._by_name.get(name)

    def obtain(self, name: str) -> Key:
        """The key of this name, made if it has no events yet."""
        key = self._by_name.get(name)
        if key is None:
            key = self._by_name[name] = Key(name, next(self._numbers))
        return key

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_name.values())

    def drop_if_empty(self, key: Key) -> None:
        """Forget a key without events, unless it is closed, or was leased or paused lately."""
        if key.head is None and not (key.waiting or key.others or key.held or key.opens_us):
            del self._by_name[key.name]
            if not self._by_name:
                self._by_name = {}  # a dict does not shrink

    # --- the events that wait ---------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Add an event that waits, by its state and its time."""
        key = self.obtain(entry.key)
        key.waiting += 1
        self._index_of(entry).add(key.number << KEY_SHIFT | entry.sort_key, entry)
        if entry.is_blocked:
            self._count_blocked(key, 1)

    def remove(self, entry: Entry) -> None:
        """Remove an event that waits, before its state or time changes."""
        key = self._by_name[entry.key]
        key.waiting -= 1
        self._index_of(entry).remove(key.number << KEY_SHIFT | entry.sort_key)
        if entry.is_blocked:
            self._count_blocked(key, -1)

    def first_due(self, key: Key, now_us: int) -> tuple[int, Entry] | None:
        """The first of the events that wait, and when it was due, by the engine's clock; None if none is due."""
        if not key.waiting:
            return None
        first = _first(self._waiting, key)
        if first is not None and first.at_us > now_us:
            first = None
        by_host = _first(self._by_host, key) if self._by_host else None
        if by_host is not None and by_host.at_us <= self._host.now_us:
            at_us = by_host.at_us - self._host.ahead_us
            if first is None or sort_key(at_us, by_host.seq) < first.sort_key:
                return at_us, by_host
        return None if first is None else (first.at_us, first)

    def next_waiting(self, number: int) -> Key | None:
        """The next key after the one of this number that has BLOCKED events."""
        first = self._waiting.first_from(number + 1 << KEY_SHIFT)
        return None if first is None else self._by_name[first[1].key]

    def wake(self, key: Key, at_us: int, *, is_idle: bool = False) -> None:
        """Look at a key again at this time, or with 0 not at all."""
        if key.opens_us != at_us or key.is_idle is not is_idle:
            if key.opens_us:
                (self.idle if key.is_idle else self.opens).remove(sort_key(key.opens_us, key.number))
            key.opens_us, key.is_idle = at_us, is_idle
            if at_us:
                (self.idle if is_idle else self.opens).add(sort_key(at_us, key.number), key)

    def _index_of(self, entry: Entry) -> DueIndex[Entry]:
        return self._by_host if entry.by_host_clock else self._waiting

    def _count_blocked(self, key: Key, change: int) -> None:
        if key.blocked:
            same = self._by_blocked[key.blocked]
            del same[key.name]
            if not same:
                del self._by_blocked[key.blocked]
        key.blocked += change
        if key.blocked:
            self._by_blocked.setdefault(key.blocked, {})[key.name] = key

    # --- inspection -------------------------------------------------------------------------------------------------

    def waiting(self, name: str, start: tuple[int, int] | None, *, newest_first: bool) -> Iterator[Listed]:
        """The events of a key that wait, by time, beginning after a time and ``seq``."""
        key = self._by_name.get(name)
        if key is None:
            return iter(())
        indexes = (self._waiting, self._by_host)
        return merge(
            *[_of_key(index, key, start, newest_first=newest_first) for index in indexes],
            key=lambda listed: listed[:2],
            reverse=newest_first,
        )

    def page(self, start: int, limit: int, *, with_held: bool) -> list[Key]:
        """The keys that have an event with a slot or a BLOCKED one, those with the most blocked events first; with
        ``with_held`` also those that a dead letter holds.
        """
        with_blocked = chain.from_iterable(self._by_blocked[one].values() for one in sorted(self._by_blocked)[::-1])
        others = (
            key
            for key in self._by_name.values()
            if not key.blocked and (key.head or key.others or (with_held and key.held))
        )
        return list(islice(chain(with_blocked, others), start, start + limit))

    # --- deletion ---------------------------------------------------------------------------------------------------

    def dissolve(self) -> Iterator[None]:
        """Forget everything, one piece a step."""
        for index in (self._waiting, self._by_host, self.opens, self.idle):
            while index.pop_block():
                yield
        self._by_blocked = {}
        while self._by_name:
            for name in list(islice(self._by_name, FORGET_AT_ONCE)):
                del self._by_name[name]
            yield
        self._by_name = {}


def _of_key(index: DueIndex[Entry], key: Key, start: tuple[int, int] | None, *, newest_first: bool) -> Iterator[Listed]:
    """The events of a key in an index, as ``Keys.waiting``."""
    shift = KEY_SHIFT - SEQ_BITS
    begin, end = key.number << shift, key.number + 1 << shift
    behind = None if start is None else (begin | start[0], start[1])
    listed = index.descending(behind or (end, 0)) if newest_first else index.ascending(behind or (begin - 1, SEQ_MASK))
    for at, seq, entry in listed:
        if not begin <= at < end:
            return
        yield at - begin, seq, entry


def _first(index: DueIndex[Entry], key: Key) -> Entry | None:
    """The first event of a key in an index."""
    first = index.first_from(key.number << KEY_SHIFT)
    return first[1] if first is not None and first[0] >> KEY_SHIFT == key.number else None
