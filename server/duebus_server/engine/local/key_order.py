"""Which events of each key may be leased: the rule of order and the key policy, over the indexes of one group."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from duebus_server.domain.limits import MAX_KEY_IN_FLIGHT
from duebus_server.domain.rates import DEFAULT_KEY_POLICY, current
from duebus_server.domain.states import EventState
from duebus_server.engine.local.due_index import sort_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.rates import KeyPolicy
    from duebus_server.engine.local.indexes import StateIndexes
    from duebus_server.engine.local.keys import Key
    from duebus_server.engine.local.records import Entry

UNLIMITED = 1 << 31
"""The room of a key in a group that ignores keys."""


class KeyOrder:
    """Moves the events of a group that have a key between READY and BLOCKED.

    An event becomes READY or BLOCKED in ``come_due``. Whatever ends the turn of an event calls ``leave``, and whatever
    ends its lease without ending its turn ``come_back``. What a key lets through next comes in through ``_let_in``.

    Attributes:
        policy: the key policy in force.
        forgets_slots: whether keys were ever ignored, so that READY and LEASED events may have no slot.

    Args:
        indexes: those of the group. ``indexes.keys`` knows which events of each key have a slot, and which wait.
    """

    __slots__ = ("_indexes", "_keys", "_revised", "forgets_slots", "policy")

    def __init__(self, indexes: StateIndexes) -> None:
        self.policy = DEFAULT_KEY_POLICY
        self.forgets_slots = False
        self._indexes = indexes
        self._keys = indexes.keys
        # The number of the last key that was looked at since the policy changed; None if all were.
        self._revised: int | None = None

    # --- the policy ---------------------------------------------------------------------------------------------------

    def follow(self, policy: KeyPolicy) -> None:
        """Follow this policy from now on. ``revise`` then lets in what it allows."""
        if policy != self.policy:
            self.policy = policy
            self._revised = 0
            self.forgets_slots = self.forgets_slots or not policy.slots

    @property
    def is_revising(self) -> bool:
        """Whether the policy has changed, and keys with BLOCKED events were not looked at since."""
        return self._revised is not None

    def revise(self, now_us: int, limit: int) -> None:
        """Look at more keys after a change of the policy, until so many were looked at or events let in."""
        while self._revised is not None and limit > 0:
            key = self._keys.next_waiting(self._revised)
            if key is None:
                self._revised = None
                return
            limit -= 1 + self._let_in(key, now_us, limit)
            if limit > 0:
                self._revised = key.number

    def restored(self, now_us: int) -> None:
        """All events are where the policy puts them, after a restart. Keys that are closed are looked at again."""
        self._revised = None
        for key in list(self._keys):
            if key.tat_us or key.paused_until_us:
                self._let_in(key, now_us)

    def restore(self, entry: Entry) -> bool:
        """Restore an event with a key after a restart. Returns whether it is due, and READY or BLOCKED."""
        if entry.state is EventState.READY and not entry.pinned:
            return True
        if entry.state is EventState.DEAD:
            if entry.pinned:
                key = self._keys.obtain(entry.key)
                key.held = key.held or entry
        elif entry.pinned and self.policy.slots:
            self._keys.obtain(entry.key).give_slot(entry)
        return False

    # --- an event is due ----------------------------------------------------------------------------------------------

    def takes_free_slot(self, entry: Entry, now_us: int) -> bool:
        """Give a new event that is due a slot, if its key has room. Returns whether the event may be leased."""
        if not self.policy.slots:
            return True
        key = self._keys.find(entry.key)
        if key is None:
            self._keys.obtain(entry.key).head = entry
            return True
        if key.blocked or self._room(key, now_us) <= 0:
            return False
        self._give_slot(key, entry)
        return True

    def come_due(self, entry: Entry, at_us: int, now_us: int) -> None:
        """Put an event with a key that is due and in no index where it belongs: READY, or BLOCKED."""
        if not self.policy.slots:
            self._indexes.put(entry, EventState.READY, at_us)
            return
        key = self._keys.obtain(entry.key)
        head = key.head
        if not key.blocked and self._room(key, now_us) > 0:
            self._give_slot(key, entry)
            self._indexes.put(entry, EventState.READY, at_us)
        elif (
            head is not None
            and self.policy.keeps_order
            and not key.others
            and not head.pinned
            and head.sort_key > sort_key(at_us, entry.seq)
        ):
            self._indexes.move(head, EventState.BLOCKED, head.at_us)
            key.head = entry
            self._indexes.put(entry, EventState.READY, at_us)
        else:
            self._indexes.put(entry, EventState.BLOCKED, at_us)
            self._let_in(key, now_us)

    def move_due(self, entry: Entry, at_us: int, now_us: int) -> None:
        """SCHEDULED -> READY or BLOCKED for an event with a key."""
        self._indexes.remove(entry)
        self.come_due(entry, at_us, now_us)
        if not self.policy.slots and (key := self._keys.find(entry.key)) is not None:
            self._keys.drop_if_empty(key)

    def open(self, key: Key, now_us: int) -> None:
        """Look at a key again, now that the time set for that has come."""
        self._keys.wake(key, 0)
        self._let_in(key, now_us)

    # --- an event is leased, and comes back ---------------------------------------------------------------------------

    def leased(self, entries: Sequence[Entry], now_us: int) -> None:
        """These events were leased. They use up the rates of their keys, which may let in others."""
        if self.policy.rate is None:
            return
        for entry in entries:
            if entry.key:
                self._let_in(self.use_rate(entry, now_us), now_us)

    def use_rate(self, entry: Entry, now_us: int) -> Key:
        """An event was leased. Returns its key, of which it has used up the rate."""
        key = self._keys.obtain(entry.key)
        if self.policy.rate is not None:
            key.tat_us = self.policy.rate.begun(key.tat_us, now_us, 1)
        return key

    def refund(self, entry: Entry, now_us: int) -> None:
        """A leased event is released."""
        key = self._keys.find(entry.key)
        if key is not None and self.policy.rate is not None:
            key.tat_us = self.policy.rate.refunded(key.tat_us, now_us)

    def come_back(self, entry: Entry, due_us: int, now_us: int, *, retry: bool) -> None:
        """The lease of an event has ended, and it is due at this time.

        In order it keeps its slot, and is due no earlier than its key opens. Otherwise it comes in again as others do.

        Args:
            entry: LEASED, but in the index only.
            due_us: when it is due.
            now_us: the time, in microseconds.
            retry: it is SCHEDULED even if it is due.
        """
        key = self._keys.find(entry.key)
        if key is not None and self.policy.keeps_order and key.has_slot(entry) and not self.is_held(key):
            opens_us = self.closed_until(key, now_us)
            if opens_us > max(due_us, now_us):
                due_us = entry.deliver_at_us = opens_us
            waits = retry or due_us > now_us
            self._indexes.move(entry, EventState.SCHEDULED if waits else EventState.READY, due_us)
            return
        self._indexes.remove(entry)
        entry.unpin()
        if key is not None:
            key.take_slot(entry)
        if retry:
            self._indexes.put(entry, EventState.SCHEDULED, due_us)
        else:
            self.come_due(entry, due_us, now_us)
        if (key := self._keys.find(entry.key)) is not None:
            self._let_in(key, now_us)

    def pause(self, entry: Entry, until_us: int, now_us: int) -> list[Entry]:
        """Let nothing of the key of a leased event through until then, or longer if it is paused for longer.

        Returns:
            The other events that have moved.
        """
        key = self._keys.obtain(entry.key)
        key.paused_until_us = max(key.paused_until_us, until_us)
        ready = [other for other in key.with_slots() if other.state is EventState.READY]
        for other in ready:
            if self.policy.keeps_order and other.pinned:
                other.deliver_at_us = key.paused_until_us
                self._indexes.move(other, EventState.SCHEDULED, key.paused_until_us)
            else:
                self._give_way(key, other)
        self._let_in(key, now_us)
        return ready

    # --- an event leaves ----------------------------------------------------------------------------------------------

    def take_out(self, entry: Entry, now_us: int) -> None:
        """Take an event that is not LEASED out of its index, and out of the order of its key."""
        self._indexes.remove(entry)
        if entry.key:
            self.leave(entry, now_us)

    def leave(self, entry: Entry, now_us: int) -> None:
        """An event that is in no index no longer holds up the others of its key.

        Every step that ends an event's turn calls this: ack, cancel, reschedule, purge.
        """
        entry.unpin()
        key = self._keys.find(entry.key)
        if key is not None:
            if key.held is entry:
                key.held = None
            key.take_slot(entry)
            self._let_in(key, now_us)

    def died(self, entry: Entry, now_us: int) -> list[Entry]:
        """An event has become DEAD. It holds its key, or leaves it as others do.

        Returns:
            The other events that have moved: the key is closed to those that got a slot under an earlier policy.
        """
        if self.policy.holds:
            key = self._keys.obtain(entry.key)
            if key.held is None:
                key.held = entry
                entry.pin()
                key.take_slot(entry)
                moved = [other for other in key.with_slots() if other.state is not EventState.LEASED]
                for other in moved:
                    self._give_way(key, other)
                self._let_in(key, now_us)
                return moved
        self.leave(entry, now_us)
        return []

    def is_held_by(self, entry: Entry) -> bool:
        """Whether this dead letter closes its key."""
        key = self._keys.find(entry.key) if entry.key else None
        return key is not None and key.held is entry and self.is_held(key)

    def come_back_in_front(self, entry: Entry, due_us: int, now_us: int) -> None:
        """A dead letter that holds its key is redriven: it is the head, and due no earlier than its key opens."""
        key = self._keys.obtain(entry.key)
        key.held = None
        self._indexes.remove(entry)
        key.give_slot(entry)
        due_us = entry.deliver_at_us = max(due_us, self.closed_until(key, now_us))
        self._indexes.put(entry, EventState.SCHEDULED if due_us > now_us else EventState.READY, due_us)

    # --- what a lease must know ---------------------------------------------------------------------------------------

    def check_heads(self, limit: int, now_us: int) -> None:
        """Let SCHEDULED events that are due, but not moved yet, go before the heads of their keys, as far as a lease of
        ``limit`` events may take those.
        """
        ready = self._indexes.in_lease_order()
        for head in [entry for index in ready for entry in islice(index, limit)]:
            key = self._keys.find(head.key) if head.key and not head.pinned else None
            first = None if key is None or key.head is not head else self._keys.first_due(key, now_us)
            if first is not None and not first[1].is_blocked:
                self.move_due(first[1], first[0], now_us)

    # --- inspection ---------------------------------------------------------------------------------------------------

    def blocked_after(self, name: str, due: int, now_us: int) -> int:
        """How many events of a key would be BLOCKED if ``due`` more were due."""
        key = self._keys.find(name)
        if key is None:
            return due - min(due, first_room(self.policy))
        return key.blocked + due - min(due, max(0, self._room(key, now_us)))

    def waits_for(self, key: Key) -> str:
        """The id of the event that the BLOCKED events of a key wait for; empty if there is none."""
        first = key.held if self.is_held(key) else key.head
        return "" if first is None else first.event.id

    def is_held(self, key: Key) -> bool:
        """Whether a dead letter closes a key. One that did so under an earlier policy may not."""
        return key.held is not None and self.policy.holds

    def closed_until(self, key: Key, now_us: int) -> int:
        """When a pause and the rate let the next of a key be leased; ``now_us`` or earlier if they do now."""
        rate = self.policy.rate
        by_rate_us = 0 if rate is None or rate.allows(key.tat_us, now_us) else rate.opens_us(key.tat_us, now_us)
        return max(key.paused_until_us, by_rate_us)

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _give_way(self, key: Key, entry: Entry) -> None:
        """Take the slot of an event that is not LEASED: READY -> BLOCKED. One that is SCHEDULED will be BLOCKED."""
        key.take_slot(entry)
        self._indexes.remove(entry)
        entry.unpin()
        state = EventState.BLOCKED if entry.state is EventState.READY else EventState.SCHEDULED
        self._indexes.put(entry, state, entry.at_us)

    def _room(self, key: Key, now_us: int) -> int:
        """How many more events of a key may have a slot now."""
        policy = self.policy
        slots = policy.slots
        if not slots:
            return UNLIMITED
        if self.is_held(key) or key.paused_until_us > now_us:
            return 0
        room = slots - key.slots_taken
        if policy.rate is not None and room > 0:
            is_one_ready = any(entry.state is not EventState.LEASED for entry in key.with_slots())
            return 0 if is_one_ready else min(1, policy.rate.allows(key.tat_us, now_us))
        return room

    def _give_slot(self, key: Key, entry: Entry) -> None:
        if key.held is not None and not self.policy.holds:
            key.held.unpin()
            key.held = None
        key.give_slot(entry)

    def _let_in(self, key: Key, now_us: int, limit: int = MAX_KEY_IN_FLIGHT) -> int:
        """Make the first of a key's events that are due READY, as far as it has room. Afterwards the key is looked at
        again when it opens, or forgotten if it is empty.

        This is the only way from BLOCKED to READY, besides ``come_due``.

        Args:
            key: the key.
            now_us: the time, in microseconds.
            limit: how many come in at most. Where keys are ignored there may be more: ``revise`` lets those in.

        Returns:
            How many came in.
        """
        count = 0
        while (
            key.waiting
            and count < limit
            and self._room(key, now_us) > 0
            and (first := self._keys.first_due(key, now_us)) is not None
        ):
            at_us, entry = first
            self._indexes.remove(entry)
            if self.policy.slots:
                self._give_slot(key, entry)
            self._indexes.put(entry, EventState.READY, at_us)
            count += 1
        if key.tat_us or key.paused_until_us or key.opens_us:
            self._set_wake(key, now_us)
        self._keys.drop_if_empty(key)
        return count

    def _set_wake(self, key: Key, now_us: int) -> None:
        tat_us, key.paused_until_us = current(key.tat_us, now_us), current(key.paused_until_us, now_us)
        if not key.slots_taken:  # Otherwise the next delivery may be one that is late: see ``Rate``.
            key.tat_us = tat_us
        opens_us = self.closed_until(key, now_us)
        if key.blocked and opens_us > now_us and key.slots_taken < self.policy.slots:
            self._keys.wake(key, opens_us)
        else:
            self._keys.wake(key, max(tat_us, key.paused_until_us), is_idle=True)


def first_room(policy: KeyPolicy) -> int:
    """How many events of a key that has none come in at once."""
    if not policy.slots:
        return UNLIMITED
    return policy.slots if policy.rate is None else 1
