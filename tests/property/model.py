"""A model of an engine: events in groups, moved by the transitions of ``domain.states``.

Times are nominal: microseconds since the machine began, by its own count. If the engine's clock runs during a test,
they match the engine's up to a grain; see ``support.engines.Harness``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import count, groupby
from typing import TYPE_CHECKING
from zlib import crc32

from duebus_server.domain.errors import DueBusError, MaxQueuedEventsReached, NoHandlerFound, RequestIdReused
from duebus_server.domain.model import DispatchAnswer, LeaseFailureReason, LeaseRef, NackAction
from duebus_server.domain.states import TRANSITIONS, EventState, Transition
from duebus_server.domain.views import AttemptOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duebus_server.domain.model import DispatchRequest, LeaseRequest, NewEvent
    from duebus_server.domain.views import TopicConfig

EXPIRED = "lease expired"
"""Stands for any reason that an engine gives for an expired lease."""

UNKNOWN = -1

Failure = frozenset[LeaseFailureReason]
"""The reasons that an engine may give."""


@dataclass
class ModelEntry:
    """One event in one group.

    Attributes:
        at_us: when it is due, or when its lease runs out.
        due_us: when it was due, in any state.
        order_us: the same as reported by the engine, which orders events on a running clock; UNKNOWN until asked.
        died_unseen: whether it is dead because its last lease ran out, which an engine may notice later.
        due_unseen: whether it has become due, which an engine may notice later.
        free_attempts: the attempts that used up no retry, because their lease ran out.
        stalled: whether its lease was given to a stalled session.
        pinned: whether it has a key and was leased, so no other event of the key is delivered before it is done.
    """

    event: NewEvent
    partition: int
    seq: int
    max_retries: int
    at_us: int
    state: EventState = EventState.SCHEDULED
    due_us: int = 0
    order_us: int = UNKNOWN
    attempt: int = 0
    session_id: str = ""
    fencing_token: int = 0
    last_error: str = ""
    died_unseen: bool = False
    due_unseen: bool = False
    free_attempts: int = 0
    stalled: bool = False
    pinned: bool = False
    history: list[AttemptOutcome] = field(default_factory=list)

    @property
    def place(self) -> tuple[float, int]:
        """What orders the events of a key. What is not known yet has just become due."""
        return (math.inf if self.order_us == UNKNOWN else self.order_us), self.seq

    @property
    def is_suspect(self) -> bool:
        """Whether two leases have run out."""
        return self.free_attempts >= 2

    @property
    def has_failed_for_good(self) -> bool:
        """Whether the attempt that fails now was the last one."""
        return self.attempt - self.free_attempts > self.max_retries

    def move(self, transition: Transition) -> None:
        """Make a transition, which must exist and lead to a state."""
        target = TRANSITIONS[self.state, transition]
        assert target is not None
        self.state = target


class ModelGroup:
    """The events of one group."""

    def __init__(self, *, ephemeral: bool = False) -> None:
        self.entries: dict[str, ModelEntry] = {}
        self.sessions: set[str] = set()
        self.paused = False
        self.ephemeral = ephemeral
        self.kept_until_us = 0

    def arrange(self) -> None:
        """Of the events of a key that are due, the first is ready unless one was leased; the others are blocked."""
        for key in self.keys_held():
            entries = [entry for entry in self.entries.values() if entry.event.key == key]
            due = [entry for entry in entries if entry.state in (EventState.READY, EventState.BLOCKED)]
            pinned = [entry for entry in entries if entry.pinned]
            assert len(pinned) <= 1
            first = pinned or sorted(due, key=lambda entry: entry.place)[:1]
            for entry in due:
                if entry in first and entry.state is EventState.BLOCKED:
                    entry.move(Transition.OPEN)
                elif entry not in first and entry.state is EventState.READY:
                    entry.move(Transition.BLOCK)

    def keys_held(self) -> set[str]:
        """The keys of its events."""
        return {entry.event.key for entry in self.entries.values() if entry.event.key}

    def head(self, key: str) -> ModelEntry | None:
        """The event that the blocked ones of a key wait for."""
        states = (EventState.READY, EventState.LEASED)
        of_key = [entry for entry in self.entries.values() if entry.event.key == key]
        return next((entry for entry in of_key if entry.pinned or entry.state in states), None)

    def blocked(self, key: str) -> int:
        """How many events of a key are blocked."""
        return sum(entry.event.key == key for entry in self.in_state(EventState.BLOCKED))

    def is_over(self, now_us: int) -> bool:
        """Whether the next sweep removes it."""
        is_left = not self.sessions and not self.in_state(EventState.LEASED)
        return self.ephemeral and is_left and self.kept_until_us <= now_us

    def in_state(self, state: EventState) -> list[ModelEntry]:
        """The entries in a state, in the order in which they are due."""
        found = [entry for entry in self.entries.values() if entry.state is state]
        return sorted(found, key=lambda entry: (entry.order_us, entry.seq))

    def held_by(self, session_id: str) -> list[ModelEntry]:
        """The entries that a session holds."""
        return [entry for entry in self.in_state(EventState.LEASED) if entry.session_id == session_id]

    def known_sessions(self) -> list[str]:
        """The sessions that have joined, or have left but still hold something."""
        return sorted(self.sessions | {entry.session_id for entry in self.in_state(EventState.LEASED)})

    def open_to(self, request: LeaseRequest) -> list[ModelEntry]:
        """The ready events that a lease may hand out: at most one suspect, and all others."""
        ready = self.in_state(EventState.READY)
        suspects = [entry for entry in ready if entry.is_suspect]
        left_out = suspects[1:] if request.with_suspect else suspects
        return [entry for entry in ready if entry not in left_out]

    def batch(self, request: LeaseRequest) -> list[ModelEntry]:
        """The entries that a lease should hand out."""
        if self.paused:
            return []
        found: list[ModelEntry] = []
        size = 0
        for entry in self.open_to(request)[: request.max_events]:
            size += len(entry.event.body)
            if size > request.max_bytes and (found or not request.at_least_one):
                break
            found.append(entry)
        return found

    def accept(self, request: LeaseRequest, event_ids: list[str]) -> list[ModelEntry]:
        """What a lease from several partitions has handed out, if that is possible: the first events of each partition
        in turn, until none is left or one has no room.
        """
        taken = [self.entries[event_id] for event_id in event_ids]
        suspects = [entry for entry in taken if entry.is_suspect]
        assert len(suspects) <= request.with_suspect
        first = []
        for partition, ready in self._ready_by_partition().items():
            own = [entry for entry in taken if entry.partition == partition]
            own_suspects = [entry for entry in ready if entry.is_suspect]
            left_out = [entry for entry in own_suspects if entry not in own_suspects[:1]]
            if not request.with_suspect or (suspects and suspects[0].partition != partition):
                left_out = own_suspects
            could_have = [entry for entry in ready if entry not in left_out]
            assert own == could_have[: len(own)]
            first += could_have[len(own) : len(own) + 1]
        order = [partition for partition, _ in groupby(entry.partition for entry in taken)]
        assert len(order) == len(set(order))
        size = sum(len(entry.event.body) for entry in taken)
        assert len(taken) <= request.max_events
        assert size <= request.max_bytes or (len(taken) == 1 and request.at_least_one)
        if first and not self.paused:
            fits = [entry for entry in first if size + len(entry.event.body) <= request.max_bytes]
            assert len(taken) == request.max_events or len(fits) < len(first)
            assert taken or not request.at_least_one or not request.max_events
        assert not (taken and self.paused)
        return taken

    def _ready_by_partition(self) -> dict[int, list[ModelEntry]]:
        ready: dict[int, list[ModelEntry]] = defaultdict(list)
        for entry in self.in_state(EventState.READY):
            ready[entry.partition].append(entry)
        return ready

    def judge(self, ref: LeaseRef) -> ModelEntry | Failure:
        """The entry that a lease holds, or why it holds none."""
        entry = self.entries.get(ref.event_id)
        if entry is None:
            return Failure({LeaseFailureReason.SETTLED})
        if entry.state is EventState.DEAD:
            late = {LeaseFailureReason.EXPIRED} if entry.died_unseen else set()
            return Failure({LeaseFailureReason.SETTLED, *late})
        if entry.state is EventState.LEASED and entry.fencing_token == ref.fencing_token:
            return entry
        return Failure({LeaseFailureReason.EXPIRED})


@dataclass(frozen=True)
class Partial:
    """Some events of a request to several partitions were refused."""

    cause: type[DueBusError]
    event_ids: list[str]


class Model:
    """One topic.

    Attributes:
        partitions: how many it has.
        ended: for each session the leases that have ended since this was last emptied.
    """

    def __init__(self, config: TopicConfig, partitions: int = 1) -> None:
        self.config = config
        self.partitions = partitions
        self.now_us = 0
        self.groups: dict[str, ModelGroup] = {}
        self.unclaimed = ModelGroup()
        self.ended: dict[str, set[int]] = defaultdict(set)
        self._seqs = count()
        self._gone: dict[str, int] = {}
        self._answers: dict[tuple[str, int], tuple[int, list[tuple[str, str | None]], DispatchAnswer]] = {}

    # --- what there is ------------------------------------------------------------------------------------------------

    def has_lasting_group(self) -> bool:
        """Whether it has a group that is not ephemeral: without one, new events wait for it."""
        return not all(group.ephemeral for group in self.groups.values())

    def holders(self) -> dict[str, ModelGroup]:
        """The groups by name, and without one the events that no lasting one has claimed."""
        return self.groups if self.has_lasting_group() else {"": self.unclaimed} | self.groups

    def holding(self, event_id: str) -> Iterator[tuple[str, ModelEntry]]:
        """The groups that hold an event, and its entry there."""
        for name, group in self.holders().items():
            if event_id in group.entries:
                yield name, group.entries[event_id]

    def event_ids(self) -> set[str]:
        """The events that some group holds."""
        return {event_id for group in self.holders().values() for event_id in group.entries}

    def queued(self, partition: int | None = None) -> int:
        """The events that some lasting group holds, not dead, or that wait for one: all, or those in one partition."""
        holders = self.holders()
        return sum(
            any(
                entry.state is not EventState.DEAD and partition in (None, entry.partition)
                for name, entry in self.holding(event_id)
                if not holders[name].ephemeral
            )
            for event_id in self.event_ids()
        )

    def places_with(self, state: EventState) -> list[str]:
        """The groups that have an event in this state."""
        return [name for name, group in self.groups.items() if group.in_state(state)]

    def can_hold(self) -> list[str]:
        """The groups in which something is held, or can be at once."""
        ready = [
            name
            for name in self.places_with(EventState.READY)
            if self.groups[name].sessions and not self.groups[name].paused
        ]
        return self.places_with(EventState.LEASED) or ready

    def judge(self, group: str, ref: LeaseRef) -> ModelEntry | Failure:
        return self.groups[group].judge(ref) if group in self.groups else Failure({LeaseFailureReason.SETTLED})

    # --- time ---------------------------------------------------------------------------------------------------------

    def pass_time(self, by_us: int) -> None:
        """Due events become ready, and leases run out."""
        self.now_us += by_us
        for group in self.holders().values():
            for entry in group.entries.values():
                if entry.at_us <= self.now_us:
                    self._time_has_come(entry)
            group.arrange()

    def next_time(self) -> int | None:
        """When time next changes something: an event is due, a lease runs out, an id is forgotten."""
        waiting = (EventState.SCHEDULED, EventState.LEASED)
        entries = [entry for group in self.holders().values() for entry in group.entries.values()]
        times = [entry.at_us for entry in entries if entry.state in waiting]
        times += [group.kept_until_us for group in self.groups.values() if not group.sessions]
        times += [*self._gone.values(), *(until_us for until_us, _, _ in self._answers.values())]
        return min((at_us for at_us in times if at_us > self.now_us), default=None)

    def _time_has_come(self, entry: ModelEntry) -> None:
        if entry.state is EventState.SCHEDULED:
            entry.due_unseen = True
            entry.move(Transition.DUE)
        elif entry.state is EventState.LEASED:
            if entry.stalled or not entry.is_suspect:
                entry.free_attempts += 1
                self._end(entry, Transition.EXPIRE, AttemptOutcome.EXPIRED)
                entry.last_error = EXPIRED
            else:
                entry.died_unseen = entry.has_failed_for_good
                self._fail(entry, EXPIRED, Transition.EXPIRE, AttemptOutcome.EXPIRED)

    # --- in -----------------------------------------------------------------------------------------------------------

    def dispatch(self, request: DispatchRequest) -> DispatchAnswer | type[DueBusError] | Partial:
        """The expected answer or error."""
        ids: dict[int, str] = {}
        duplicates: list[str] = []
        refused: dict[int, type[DueBusError]] = {}
        for partition, indexes in self._parts(request).items():
            outcome = self._dispatch_part(request, partition, [request.events[index] for index in indexes])
            if isinstance(outcome, DispatchAnswer):
                ids.update(zip(indexes, outcome.event_ids, strict=True))
                duplicates += outcome.duplicate_event_ids
            else:
                refused[indexes[0]] = outcome
        stored = [ids[index] for index in sorted(ids)]
        if not refused:
            return DispatchAnswer(stored, duplicates)
        cause = refused[min(refused)]
        return Partial(cause, stored) if stored else cause

    def _parts(self, request: DispatchRequest) -> dict[int, list[int]]:
        """The indexes of a request's events by partition."""
        parts: dict[int, list[int]] = defaultdict(list)
        for index, event in enumerate(request.events):
            chosen = event.id if not event.id_is_generated else request.request_id or request.events[0].id
            text = event.key or chosen
            parts[crc32(text.encode()) % self.partitions].append(index)
        return parts

    def _dispatch_part(
        self, request: DispatchRequest, partition: int, events: list[NewEvent]
    ) -> DispatchAnswer | type[DueBusError]:
        chosen = [(event.key, None if event.id_is_generated else event.id) for event in request.events]
        until_us, chosen_then, known = self._answers.get((request.request_id, partition), (0, [], None))
        if known is not None and until_us > self.now_us:
            return known if chosen == chosen_then else RequestIdReused
        if request.require_subscriber and not any(group.sessions for group in self.groups.values()):
            return NoHandlerFound
        fresh, duplicates = self._sort_out(events)
        share = math.ceil(self.config.max_queued / self.partitions)
        if fresh and share and self.queued(partition) + len(fresh) > share:
            return MaxQueuedEventsReached
        if self._blocks_too_many(fresh, replace(self.config, max_queued=share).max_blocked):
            return MaxQueuedEventsReached
        for event in fresh:
            self._store(event, partition)
        self._arrange()
        answer = DispatchAnswer([event.id for event in events], duplicates)
        if request.request_id:
            until_us = self.now_us + self.config.dedupe_window_us
            self._answers[request.request_id, partition] = (until_us, chosen, answer)
        return answer

    def _blocks_too_many(self, events: list[NewEvent], most: int) -> bool:
        for key in {event.key for event in events if event.key}:
            due = sum(event.key == key and self._due_us(event) <= self.now_us for event in events)
            for group in self.holders().values():
                is_free = group.head(key) is None
                if not group.ephemeral and group.blocked(key) + due - (is_free and due > 0) > most:
                    return True
        return False

    def _due_us(self, event: NewEvent) -> int:
        asked_us = event.deliver_at_us if event.delay_us is None else self.now_us + event.delay_us
        return self.now_us if asked_us is None else max(asked_us, self.now_us)

    def _sort_out(self, events: list[NewEvent]) -> tuple[list[NewEvent], list[str]]:
        fresh: dict[str, NewEvent] = {}
        duplicates = []
        held = self.event_ids()
        for event in events:
            if event.id in held or event.id in fresh or self._gone.get(event.id, 0) > self.now_us:
                duplicates.append(event.id)
            else:
                fresh[event.id] = event
        return list(fresh.values()), duplicates

    def _store(self, event: NewEvent, partition: int) -> None:
        due_us = self._due_us(event)
        retries = self.config.retry_policy.max_retries if event.max_retries is None else event.max_retries
        seq = next(self._seqs)
        for group in self.holders().values():
            entry = group.entries[event.id] = ModelEntry(event, partition, seq, retries, due_us, due_us=due_us)
            if due_us <= self.now_us:
                entry.move(Transition.DUE)

    # --- sessions -----------------------------------------------------------------------------------------------------

    def join(self, name: str, session_id: str, *, ephemeral: bool) -> None:
        """The first lasting group takes what waited for it."""
        if name not in self.groups:
            is_first = not ephemeral and not self.has_lasting_group()
            self.groups[name] = self.unclaimed if is_first else ModelGroup(ephemeral=ephemeral)
        self.groups[name].sessions.add(session_id)

    def lease(self, entry: ModelEntry, session_id: str, fencing_token: int, lease_us: int, *, stalled: bool) -> None:
        """The engine has handed the event to a session."""
        entry.move(Transition.LEASE)
        entry.attempt += 1
        entry.pinned = entry.event.key != ""
        entry.session_id = session_id
        entry.fencing_token = fencing_token
        entry.stalled = stalled
        entry.at_us = self.now_us + lease_us

    def extend(self, entry: ModelEntry, lease_us: int) -> None:
        """Its holder has extended the lease."""
        entry.stalled = False
        entry.at_us = self.now_us + lease_us

    def leave(self, name: str, session_id: str, ephemeral_us: int) -> None:
        """The session is gone, but keeps its leases."""
        group = self.groups.get(name)
        if group and session_id in group.sessions:
            group.sessions.discard(session_id)
            group.kept_until_us = self.now_us + ephemeral_us

    def restart(self, grace_us: int, ephemeral_us: int) -> None:
        """The engine restarts: every stream breaks, and workers may adopt their leases again.

        It has to notice again what is due and blocked, because it records no step for that.
        """
        self.ended.clear()
        for group in self.groups.values():
            group.sessions.clear()
            group.kept_until_us = self.now_us + ephemeral_us
            for entry in group.in_state(EventState.LEASED):
                entry.at_us = self.now_us + grace_us
            for entry in group.in_state(EventState.BLOCKED):
                entry.due_unseen = True

    def sweep(self) -> list[str]:
        """Removes ephemeral groups. Returns which."""
        over = [name for name, group in self.groups.items() if group.is_over(self.now_us)]
        for name in over:
            self.delete_group(name)
        return over

    def shorten(self, name: str, session_id: str, grace_us: int) -> None:
        """The session's leases run out soon."""
        if name in self.groups:
            for entry in self.groups[name].held_by(session_id):
                entry.at_us = min(entry.at_us, self.now_us + grace_us)
            self.pass_time(0)

    def adopt(self, entry: ModelEntry, session_id: str, lease_us: int) -> None:
        """Another session takes it over."""
        if entry.session_id != session_id:
            self.ended[entry.session_id].add(entry.fencing_token)
        entry.session_id = session_id
        self.extend(entry, lease_us)

    # --- out ----------------------------------------------------------------------------------------------------------

    def ack(self, group: ModelGroup, entry: ModelEntry) -> None:
        """The event is settled in the group."""
        assert TRANSITIONS[entry.state, Transition.ACK] is None
        self.ended[entry.session_id].add(entry.fencing_token)
        self.remove(group, entry)

    def remove(self, group: ModelGroup, entry: ModelEntry) -> None:
        """The group no longer holds it; its id is remembered once no group does."""
        del group.entries[entry.event.id]
        group.arrange()
        if entry.event.id not in self.event_ids() and not entry.event.id_is_generated:
            self._gone[entry.event.id] = self.now_us + self.config.dedupe_window_us

    def nack(self, entry: ModelEntry, action: NackAction, delay_us: int, error: str) -> None:
        """The event is nacked."""
        if action is NackAction.RETRY:
            self._fail(entry, error, Transition.RETRY, AttemptOutcome.NACKED)
            if entry.state is EventState.SCHEDULED:
                entry.at_us = entry.due_us = self.now_us + delay_us
                entry.order_us = UNKNOWN
                if not delay_us:
                    entry.move(Transition.DUE)
        elif action is NackAction.DEAD_LETTER:
            self._end(entry, Transition.DIE, AttemptOutcome.DEAD)
            entry.last_error = error
        else:
            self._end(entry, Transition.RELEASE, AttemptOutcome.RELEASED)
            entry.attempt -= 1
        self._arrange()

    def _arrange(self) -> None:
        for group in self.holders().values():
            group.arrange()

    # --- operators ----------------------------------------------------------------------------------------------------

    def due_at(self, entry: ModelEntry, at_us: int) -> None:
        """A scheduled, ready or blocked event gets a new due time."""
        entry.move(Transition.RESCHEDULE)
        entry.pinned = False
        entry.at_us = entry.due_us = at_us
        entry.order_us = UNKNOWN
        if at_us <= self.now_us:
            entry.move(Transition.DUE)
        self._arrange()

    def redrive(self, entry: ModelEntry, at_us: int) -> None:
        """A dead event waits again, with all its retries."""
        entry.move(Transition.REDRIVE)
        entry.attempt = entry.free_attempts = 0
        self.due_at(entry, at_us)

    def delete_group(self, name: str) -> None:
        """The group is removed with its events."""
        group = self.groups.pop(name)
        for entry in group.in_state(EventState.LEASED):
            self.ended[entry.session_id].add(entry.fencing_token)
        if not group.ephemeral and not self.has_lasting_group():
            self.unclaimed = ModelGroup()
        for entry in list(group.entries.values()):
            self.remove(group, entry)

    def delete(self) -> None:
        """The topic is removed, including its remembered ids."""
        for name in list(self.groups):
            self.delete_group(name)
        self.unclaimed = ModelGroup()
        self._gone.clear()
        self._answers.clear()

    def _fail(self, entry: ModelEntry, error: str, transition: Transition, outcome: AttemptOutcome) -> None:
        if entry.has_failed_for_good:
            transition, outcome = Transition.DIE, AttemptOutcome.DEAD
        self._end(entry, transition, outcome)
        entry.last_error = error

    def _end(self, entry: ModelEntry, transition: Transition, outcome: AttemptOutcome) -> None:
        entry.move(transition)
        entry.pinned = entry.pinned and entry.state is not EventState.DEAD
        entry.history.append(outcome)
        self.ended[entry.session_id].add(entry.fencing_token)
        entry.session_id = ""
