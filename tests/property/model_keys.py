"""The keys of a group in the model: which of their events may be leased, by the key policy in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duebus_server.domain.rates import DEFAULT_KEY_POLICY, KeyPolicy
from duebus_server.domain.states import EventState, Transition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from property.model_group import ModelEntry

UNLIMITED = 1_000_000


@dataclass
class ModelKey:
    """What is known of a key beside its events.

    Attributes:
        tat_us: the theoretical arrival time of its rate.
        paused_until_us: until when it is paused.
        held: the id of the dead letter that holds it; empty for none.
    """

    tat_us: int = 0
    paused_until_us: int = 0
    held: str = ""


class ModelKeys:
    """Moves the events of a group that have a key.

    Args:
        entries: those of the group.
    """

    def __init__(self, entries: Mapping[str, ModelEntry]) -> None:
        self.policy: KeyPolicy = DEFAULT_KEY_POLICY
        self.ever_changed = False
        self._entries = entries
        self._keys: dict[str, ModelKey] = {}

    def names(self) -> set[str]:
        """The keys with events."""
        return {entry.event.key for entry in self._entries.values() if entry.event.key}

    def get(self, name: str) -> ModelKey:
        return self._keys.setdefault(name, ModelKey())

    def of(self, name: str, *states: EventState) -> list[ModelEntry]:
        """The events of a key, in order; of all states if none is given."""
        of_key = [entry for entry in self._entries.values() if entry.event.key == name]
        return sorted([entry for entry in of_key if not states or entry.state in states], key=lambda entry: entry.place)

    def with_slots(self, name: str) -> list[ModelEntry]:
        return [entry for entry in self.of(name) if entry.has_slot]

    def blocked(self, name: str) -> int:
        return len(self.of(name, EventState.BLOCKED))

    def closed_until(self, name: str, now_us: int) -> int:
        """When its rate and a pause let it go on."""
        key, rate = self.get(name), self.policy.rate
        by_rate_us = 0 if rate is None or rate.allows(key.tat_us, now_us) else rate.opens_us(key.tat_us, now_us)
        return max(key.paused_until_us, by_rate_us)

    def holds(self, name: str) -> bool:
        """Whether a dead letter closes it."""
        return self.policy.holds and self.get(name).held != ""

    def room(self, name: str, now_us: int) -> int:
        """How many more events may have a slot."""
        if not self.policy.slots:
            return UNLIMITED
        if self.holds(name) or self.get(name).paused_until_us > now_us:
            return 0
        slots = self.with_slots(name)
        room = self.policy.slots - len(slots)
        if self.policy.rate is not None and room > 0:
            is_one_ready = any(entry.state is not EventState.LEASED for entry in slots)
            return 0 if is_one_ready else min(1, self.policy.rate.allows(self.get(name).tat_us, now_us))
        return room

    def arrange(self, now_us: int) -> None:
        """Let in what has become due, in order, and then what there is room for."""
        for name in self.names():
            for entry in self.of(name, EventState.READY):
                if not entry.admitted:
                    self._come_due(name, entry, now_us)
            self._let_in(name, now_us)

    def _come_due(self, name: str, entry: ModelEntry, now_us: int) -> None:
        entry.admitted = True
        if not self.policy.slots:
            return
        slots = self.with_slots(name)
        if not self.blocked(name) and self.room(name, now_us) > 0:
            self._give_slot(name, entry)
            return
        head = slots[0] if len(slots) == 1 and self.policy.keeps_order else None
        if head and head.state is EventState.READY and not head.pinned and head.place > entry.place:
            head.has_slot = False
            head.move(Transition.BLOCK)
            entry.has_slot = True
        else:
            entry.move(Transition.BLOCK)
            self._let_in(name, now_us)

    def _let_in(self, name: str, now_us: int) -> None:
        while (blocked := self.of(name, EventState.BLOCKED)) and self.room(name, now_us) > 0:
            blocked[0].move(Transition.OPEN)
            blocked[0].admitted = True
            if self.policy.slots:
                self._give_slot(name, blocked[0])

    def _give_slot(self, name: str, entry: ModelEntry) -> None:
        entry.has_slot = True
        if not self.policy.holds:
            self.get(name).held = ""

    def leased(self, entry: ModelEntry, now_us: int) -> None:
        """The event was leased."""
        if entry.event.key and self.policy.rate is not None:
            key = self.get(entry.event.key)
            key.tat_us = self.policy.rate.begun(key.tat_us, now_us, 1)

    def refund(self, entry: ModelEntry, now_us: int) -> None:
        """The event was released."""
        if entry.event.key and self.policy.rate is not None:
            key = self.get(entry.event.key)
            key.tat_us = self.policy.rate.refunded(key.tat_us, now_us)

    def come_back(self, entry: ModelEntry, due_us: int, now_us: int) -> None:
        """The lease of an event has ended without ending its turn; it is SCHEDULED, or READY, and due at this time."""
        entry.at_us = due_us
        if entry.event.key and self.policy.keeps_order and entry.has_slot and not self.holds(entry.event.key):
            opens_us = self.closed_until(entry.event.key, now_us)
            if opens_us > max(due_us, now_us):
                entry.due_at(opens_us)
                if entry.state is EventState.READY:
                    entry.move(Transition.RESCHEDULE)
            elif entry.state is EventState.SCHEDULED and due_us <= now_us:
                entry.move(Transition.DUE)
            return
        entry.has_slot = entry.pinned = False
        if entry.state is EventState.SCHEDULED and due_us <= now_us:
            entry.move(Transition.DUE)
        entry.admitted = not entry.event.key

    def pause(self, entry: ModelEntry, until_us: int) -> None:
        """A nack of this event pauses its key."""
        key = self.get(entry.event.key)
        key.paused_until_us = max(key.paused_until_us, until_us)
        for other in self.with_slots(entry.event.key):
            if other.state is EventState.READY and self.policy.keeps_order and other.pinned:
                other.due_at(key.paused_until_us)
                other.move(Transition.RESCHEDULE)
            elif other.state is EventState.READY:
                other.has_slot = other.pinned = False
                other.move(Transition.BLOCK)

    def died(self, entry: ModelEntry) -> None:
        """The event has become a dead letter."""
        entry.has_slot = entry.pinned = False
        if entry.event.key and self.policy.holds and not self.get(entry.event.key).held:
            self.get(entry.event.key).held = entry.event.id
            for other in self.with_slots(entry.event.key):
                if other.state is not EventState.LEASED:
                    other.has_slot = other.pinned = False
                    other.admitted = other.state is EventState.READY
                if other.state is EventState.READY:
                    other.move(Transition.BLOCK)

    def leave(self, entry: ModelEntry) -> None:
        """The event is gone from the order of its key."""
        entry.has_slot = entry.pinned = False
        if entry.event.key and self.get(entry.event.key).held == entry.event.id:
            self.get(entry.event.key).held = ""

    def is_held_by(self, entry: ModelEntry) -> bool:
        return (
            entry.event.key != "" and self.holds(entry.event.key) and self.get(entry.event.key).held == entry.event.id
        )

    def come_back_in_front(self, entry: ModelEntry, at_us: int, now_us: int) -> None:
        """The dead letter that holds its key is redriven: it is SCHEDULED now."""
        self.get(entry.event.key).held = ""
        entry.has_slot = entry.pinned = entry.admitted = True
        entry.due_at(max(at_us, self.closed_until(entry.event.key, now_us)))
        if entry.at_us <= now_us:
            entry.move(Transition.DUE)

    def restarted(self) -> None:
        """Which of the events that were not leased has a slot follows from the others."""
        for entry in self._entries.values():
            if entry.event.key and entry.state is not EventState.DEAD:
                is_pinned = entry.pinned or entry.state is EventState.LEASED
                entry.has_slot = is_pinned and self.policy.slots > 0
                if entry.state is EventState.READY and not is_pinned and self.policy.slots:
                    entry.move(Transition.BLOCK)

    def opens_us(self, now_us: int) -> list[int]:
        """When the keys open that are closed until a time, and that have blocked events."""
        return [
            closed_us
            for name in self.names()
            if self.blocked(name)
            and (closed_us := self.closed_until(name, now_us)) > now_us
            and not self.holds(name)
            and len(self.with_slots(name)) < self.policy.slots
        ]

    def waits_for(self, name: str) -> set[str]:
        """What an engine may say that the blocked events of a key wait for."""
        if self.holds(name):
            return {self.get(name).held}
        slots = {entry.event.id for entry in self.with_slots(name)}
        return slots if len(slots) == 1 and self.policy.keeps_order else slots | {""}
