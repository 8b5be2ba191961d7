"""The events of one group in order: by state, and by time within a state."""

from __future__ import annotations

from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from duebus_server.domain.states import EventState
from duebus_server.engine.local.due_index import DueIndex, sort_key
from duebus_server.engine.local.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duebus_server.domain.model import LeaseRequest
    from duebus_server.engine.local.host_time import HostTime
    from duebus_server.engine.local.records import Entry


class Capacity:
    """What is left of the capacity of a lease request.

    Attributes:
        is_used_up: an event did not fit, so no later one is taken either.
    """

    __slots__ = ("_at_least_one", "_bytes", "_events", "is_used_up")

    def __init__(self, request: LeaseRequest) -> None:
        self._events = request.max_events
        self._bytes = request.max_bytes
        self._at_least_one = request.at_least_one
        self.is_used_up = False

    def take(self, entries: Iterable[Entry], before: int | None = None) -> int:
        """How many of these events fit, from the first on; their share of the capacity is used up.

        Args:
            entries: in the order in which they are leased.
            before: an event that comes later than this sort key is not taken.
        """
        events, bytes_left, count = self._events, self._bytes, 0
        at_least_one = self._at_least_one
        for entry in entries:
            bytes_left -= entry.event.body_size
            if (
                count == events
                or (bytes_left < 0 and not at_least_one)
                or (before is not None and entry.sort_key > before)
            ):
                self.is_used_up = True
                bytes_left += entry.event.body_size
                break
            at_least_one = False
            count += 1
        self._events, self._bytes, self._at_least_one = events - count, bytes_left, at_least_one
        return count


class StateIndexes:
    """One index for each state, and more where a state needs them.

    Attributes:
        by_state: SCHEDULED events only if their due time is by the engine's clock and they do not wait in a key, READY
            ones only if they have no priority and are not suspects.
        by_host_clock: the events that are SCHEDULED by the host's clock and do not wait in a key.
        keyed, keyed_by_host_clock: the events that are SCHEDULED and wait in a key, by the clock of their due time.
            They have indexes of their own so that those which are due, but not moved yet, hold up no events without a
            key.
        keys: the events that wait in a key, by key.
        suspects: the READY events that are suspects. They have an index of their own because a lease takes at most one.
            Their priority does not count.
        prioritized, ranked: the READY events with a priority that are no suspects: by due time, and by rank.

    Args:
        host: the host's clock.
    """

    __slots__ = (
        "_host",
        "by_host_clock",
        "by_state",
        "keyed",
        "keyed_by_host_clock",
        "keys",
        "prioritized",
        "ranked",
        "suspects",
    )

    def __init__(self, host: HostTime) -> None:
        self.by_state: dict[EventState, DueIndex[Entry]] = {state: DueIndex() for state in EventState}
        self.by_host_clock: DueIndex[Entry] = DueIndex()
        self.keyed: DueIndex[Entry] = DueIndex()
        self.keyed_by_host_clock: DueIndex[Entry] = DueIndex()
        self.keys = Keys(host)
        self.suspects: DueIndex[Entry] = DueIndex()
        self.prioritized: DueIndex[Entry] = DueIndex()
        self.ranked: DueIndex[Entry] = DueIndex()
        self._host = host

    def all_of(self, state: EventState) -> list[DueIndex[Entry]]:
        """All indexes with events of a state."""
        aside = {
            EventState.SCHEDULED: [self.by_host_clock, self.keyed, self.keyed_by_host_clock],
            EventState.READY: [self.suspects, self.prioritized],
        }
        return [self.by_state[state], *aside.get(state, ())]

    def in_lease_order(self) -> list[DueIndex[Entry]]:
        """The indexes of the READY events, each in the order in which its events are leased."""
        return [self.by_state[EventState.READY], self.suspects, self.ranked]

    def count(self, state: EventState) -> int:
        """How many events are in a state."""
        return sum(map(len, self.all_of(state)))

    def counts(self) -> dict[EventState, int]:
        """How many events are in each state."""
        counts = {state: len(index) for state, index in self.by_state.items()}
        counts[EventState.SCHEDULED] += len(self.by_host_clock) + len(self.keyed) + len(self.keyed_by_host_clock)
        counts[EventState.READY] += len(self.suspects) + len(self.prioritized)
        return counts

    def add(self, entry: Entry) -> None:
        """Add an event, by its state and its time."""
        index = self._index_of(entry)
        index.add(entry.sort_key, entry)
        if index is self.prioritized:
            self.ranked.add(entry.rank, entry)
        if entry.waits_in_key:
            self.keys.add(entry)

    def add_all(self, state: EventState, entries: Sequence[Entry]) -> None:
        """Add events of the same state and time, in one call: they are neighbours. None is a suspect, and none is READY
        with a priority.
        """
        self.by_state[state].add_all([entry.sort_key for entry in entries], entries)

    def remove(self, entry: Entry) -> None:
        """Remove an event."""
        index = self._index_of(entry)
        index.remove(entry.sort_key)
        if index is self.prioritized:
            self.ranked.remove(entry.rank)
        if entry.waits_in_key:
            self.keys.remove(entry)

    def remove_leased(self, entries: Sequence[Entry]) -> None:
        """Remove LEASED events, neighbours together."""
        self.by_state[EventState.LEASED].remove_all([entry.sort_key for entry in entries])

    def move(self, entry: Entry, state: EventState, at_us: int, *, by_host_clock: bool = False) -> None:
        """Move an event to another state and time."""
        self.remove(entry)
        self.put(entry, state, at_us, by_host_clock=by_host_clock)

    def put(self, entry: Entry, state: EventState, at_us: int, *, by_host_clock: bool = False) -> None:
        """Add an event that is in no index, in this state and at this time."""
        entry.state, entry.at_us, entry.by_host_clock = state, at_us, by_host_clock
        self.add(entry)

    def take(self, request: LeaseRequest) -> tuple[list[Entry], Entry | None]:
        """Remove the first READY events that fit.

        Returns:
            The events in order, and the one of them that is a suspect.
        """
        capacity, before = Capacity(request), self._next_scheduled()
        ready = self.by_state[EventState.READY]
        first = self.suspects.first() if request.with_suspect else None
        if first is None and not self.ranked:
            return ready.take_first(capacity.take(ready, before)), None
        suspect = None if first is None else first[1]
        ordered = list(islice(self._ordered(suspect), request.max_events))
        taken = ordered[: capacity.take(ordered, before)]
        ranked = [entry for entry in taken if entry is not suspect and entry.event.arrival.priority]
        self.ranked.take_first(len(ranked))
        self.prioritized.remove_all([entry.sort_key for entry in ranked])
        if suspect not in taken:
            suspect = None
        else:
            self.suspects.take_first(1)
        ready.take_first(len(taken) - len(ranked) - (suspect is not None))
        return taken, suspect

    def _ordered(self, suspect: Entry | None) -> Iterator[Entry]:
        """The READY events in the order in which they are leased, with one suspect at most."""
        rows = [ready.rows() for ready in (self.by_state[EventState.READY], self.ranked)]
        if suspect is not None:
            rows.append(iter([(suspect.sort_key, suspect)]))
        return (entry for _, entry in merge(*rows, key=itemgetter(0)))

    def has_ready(self, *, with_suspects: bool) -> bool:
        """Whether there is a READY event for a session that may take suspects, or may not."""
        return bool(self.by_state[EventState.READY] or self.ranked or (with_suspects and self.suspects))

    def next_due(self, *, with_suspects: bool, opens_us: int | None = 0) -> int | None:
        """When something can next be leased: the due time of an event, or the expiry of a lease.

        Args:
            with_suspects: for a session that may take a suspect.
            opens_us: no event can be leased before; None for none before a lease has expired.
        """
        due_us = None if opens_us is None else self._next_waiting(with_suspects=with_suspects)
        times = [] if due_us is None else [max(due_us, opens_us or due_us)]
        if (first := self.by_state[EventState.LEASED].first()) is not None:
            times.append(first[0])
        return min(times, default=None)

    def _next_waiting(self, *, with_suspects: bool) -> int | None:
        """When something can next be leased, as ``next_due``, but for the expiry of leases."""
        times = [
            first[0]
            for state in (EventState.READY, EventState.SCHEDULED)
            if (first := self.by_state[state].first()) is not None
        ]
        if (first := self.by_host_clock.first()) is not None:
            times.append(first[0] - self._host.ahead_us)
        if (first := self.keyed.first()) is not None:
            times.append(first[0])
        if (first := self.keyed_by_host_clock.first()) is not None:
            times.append(first[0] - self._host.ahead_us)
        if (first := self.prioritized.first()) is not None:
            times.append(first[0])
        if (opens := self.keys.opens.first()) is not None:
            times.append(opens[0])
        if with_suspects and (first := self.suspects.first()) is not None:
            times.append(first[0])
        return min(times, default=None)

    def needs_announcing(self) -> bool:
        """Whether an event is READY, or is due by the host's clock, which can jump."""
        return bool(self.count(EventState.READY) or self.by_host_clock or self.keyed_by_host_clock)

    def next_change(self, ahead_us: int) -> int | None:
        """When the next event is due, the next lease expires, or the next key opens.

        Args:
            ahead_us: how long before its due time a scheduled event counts as due.
        """
        by_host_us = ahead_us + self._host.ahead_us
        indexes: list[tuple[DueIndex[Any], int]] = [
            (self.by_state[EventState.SCHEDULED], ahead_us),
            (self.keyed, ahead_us),
            (self.by_host_clock, by_host_us),
            (self.keyed_by_host_clock, by_host_us),
            (self.by_state[EventState.LEASED], 0),
            (self.keys.opens, 0),
            (self.keys.idle, 0),
        ]
        return min((first[0] - early_us for index, early_us in indexes if (first := index.first())), default=None)

    def has_unmoved(self, now_us: int) -> bool:
        """Whether a SCHEDULED event that waits in a key is due: more were due than one step moves."""
        keyed, by_host = self.keyed.first(), self.keyed_by_host_clock.first()
        return (keyed is not None and keyed[0] <= now_us) or (by_host is not None and by_host[0] <= self._host.now_us)

    def _next_scheduled(self) -> int | None:
        """The sort key, by the engine's clock, of the SCHEDULED event that becomes READY next and does not wait in a
        key. It may be due already, if more was due than one step moves.
        """
        keys: list[int] = []
        if (first := self.by_state[EventState.SCHEDULED].first()) is not None:
            keys.append(first[1].sort_key)
        if (first := self.by_host_clock.first()) is not None:
            keys.append(sort_key(first[0] - self._host.ahead_us, first[1].seq))
        return min(keys, default=None)

    def _index_of(self, entry: Entry) -> DueIndex[Entry]:
        if entry.state is EventState.SCHEDULED and entry.waits_in_key:
            return self.keyed_by_host_clock if entry.by_host_clock else self.keyed
        if entry.by_host_clock:
            return self.by_host_clock
        if entry.state is EventState.READY:
            if entry.is_suspect:
                return self.suspects
            if entry.event.arrival.priority:
                return self.prioritized
        return self.by_state[entry.state]
