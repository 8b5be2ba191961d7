"""One event in one group, and the events of a group, as the model has them."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import LeaseFailureReason
from duebus_server.domain.rates import NO_LIMITS
from duebus_server.domain.states import TRANSITIONS, EventState, Transition
from property.model_keys import UNLIMITED, ModelKeys

if TYPE_CHECKING:
    from duebus_server.domain.model import LeaseRef, LeaseRequest, NewEvent
    from duebus_server.domain.rates import Limits
    from duebus_server.domain.views import AttemptOutcome

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
        has_slot: whether its key has let it through.
        admitted: whether its key has been asked since it was due.
        request: the number of its request.
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
    has_slot: bool = False
    admitted: bool = False
    request: int = 0
    history: list[AttemptOutcome] = field(default_factory=list)

    @property
    def place(self) -> tuple[int, int]:
        """What orders the events of a key."""
        return self.due_us, self.seq

    @property
    def rank(self) -> tuple[int, int]:
        """What orders the events that are ready."""
        head_start_us = 0 if self.is_suspect else self.event.priority * SECOND
        return self.due_us - head_start_us, self.seq

    def due_at(self, at_us: int) -> None:
        """It gets another due time."""
        self.at_us = self.due_us = at_us
        self.order_us = UNKNOWN

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
        self.limits: Limits = NO_LIMITS
        self.tat_us = 0
        self.paused_until_us = 0
        self.keys = ModelKeys(self.entries)

    def room(self, now_us: int) -> int:
        """How many events its limits and a pause let it lease now."""
        if self.paused_until_us > now_us:
            return 0
        in_flight, rate = len(self.in_state(EventState.LEASED)), self.limits.rate
        room = max(0, self.limits.max_in_flight - in_flight) if self.limits.max_in_flight else UNLIMITED
        return room if rate is None else min(room, rate.allows(self.tat_us, now_us))

    def opens_us(self, now_us: int) -> float:
        """When its limits let it lease; now or earlier if they do; never if that takes the end of a lease."""
        if 0 < self.limits.max_in_flight <= len(self.in_state(EventState.LEASED)):
            return math.inf
        rate = self.limits.rate
        by_rate_us = 0 if rate is None or rate.allows(self.tat_us, now_us) else rate.opens_us(self.tat_us, now_us)
        return max(self.paused_until_us, by_rate_us)

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
        """The ready events that a lease may hand out, in order: at most one suspect, and all others."""
        ready = self.in_state(EventState.READY)
        suspects = [entry for entry in ready if entry.is_suspect]
        left_out = suspects[1:] if request.with_suspect else suspects
        return sorted([entry for entry in ready if entry not in left_out], key=lambda entry: entry.rank)

    def batch(self, request: LeaseRequest, now_us: int) -> list[ModelEntry]:
        """The entries that a lease should hand out."""
        return self._that_fit(self.open_to(request), request, now_us)

    def handed_over(self, request: LeaseRequest, now_us: int) -> list[list[ModelEntry]]:
        """The entries that a dispatch may hand over: by rank, or by rank within each of its requests."""
        by_rank = self.open_to(request)
        by_request = sorted(by_rank, key=lambda entry: entry.request)
        return [self._that_fit(ordered, request, now_us) for ordered in (by_rank, by_request)]

    def _that_fit(self, ordered: list[ModelEntry], request: LeaseRequest, now_us: int) -> list[ModelEntry]:
        if self.paused:
            return []
        found: list[ModelEntry] = []
        size = 0
        for entry in ordered[: min(request.max_events, self.room(now_us))]:
            size += len(entry.event.body)
            if size > request.max_bytes and (found or not request.at_least_one):
                break
            found.append(entry)
        return found

    def accept(self, request: LeaseRequest, event_ids: list[str], now_us: int) -> list[ModelEntry]:
        """What a lease from several partitions has handed out, if that is possible: the first events of each partition
        in turn, until none is left or one has no room.
        """
        taken = [self.entries[event_id] for event_id in event_ids]
        suspects = [entry for entry in taken if entry.is_suspect]
        assert len(suspects) <= request.with_suspect
        first = []
        for partition, ready in self._ready_by_partition().items():
            own = [entry for entry in taken if entry.partition == partition]
            own_suspects = sorted([entry for entry in ready if entry.is_suspect], key=lambda entry: entry.place)
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
        if first and not self.paused and self.room(now_us) > 0:
            fits = [entry for entry in first if size + len(entry.event.body) <= request.max_bytes]
            assert len(taken) == request.max_events or len(fits) < len(first)
            assert taken or not request.at_least_one or not request.max_events
        assert not (taken and (self.paused or self.paused_until_us > now_us))
        return taken

    def _ready_by_partition(self) -> dict[int, list[ModelEntry]]:
        ready: dict[int, list[ModelEntry]] = defaultdict(list)
        for entry in sorted(self.in_state(EventState.READY), key=lambda entry: entry.rank):
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
