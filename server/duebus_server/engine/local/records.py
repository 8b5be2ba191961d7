"""The local engine's records of events in memory.

A million waiting events are common, so each takes up few and small objects: one with its body and id in the first
group that gets it, a smaller one in each further group, and one for all events that arrived together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from duebus_server.domain.clock import SECOND
from duebus_server.domain.retry import FREE_EXPIRIES
from duebus_server.domain.states import EventState
from duebus_server.domain.views import MAX_HISTORY, Attempt, AttemptOutcome
from duebus_server.engine.local.due_index import SEQ_BITS, SEQ_MASK

SIZE_BITS = 32
SIZE_MASK = (1 << SIZE_BITS) - 1
"""The lowest bits of the number that stands for a body on the disk are the size of the body."""

EVENT_BYTES = 20
"""About how many bytes the journal needs for an event, beside its id and its body."""


class Segment:
    """One segment of the journal.

    Attributes:
        number: grows from segment to segment.
        size: its bytes, including those that are not written yet.
        live: the bytes of its events that a restart needs from this segment.
        kept: the bytes of other records that were copied into it because a restart needs them.
    """

    __slots__ = ("kept", "live", "number", "size")

    def __init__(self, number: int, size: int = 0) -> None:
        self.number = number
        self.size = size
        self.live = 0
        self.kept = 0


@dataclass(slots=True, eq=False)
class Arrival:
    """What events of one request or record have in common.

    Attributes:
        dispatched_us: when they were dispatched.
        max_retries: as in ``NewEvent``.
        id_is_generated: as in ``NewEvent``.
        key: as in ``NewEvent``.
        priority: as in ``NewEvent``.
        origin: as in ``DispatchRequest``.
        segment: the segment of the journal that a restart needs for them; None without a journal.
        state_bytes: how many bytes the states of one of them take up there, if they were copied; the average of all.
    """

    dispatched_us: int
    max_retries: int | None
    id_is_generated: bool
    key: str
    priority: int
    origin: str
    segment: Segment | None = None
    state_bytes: int = 0


class Arrivals:
    """Makes one arrival for all events of a request or a record whose arrivals are equal."""

    __slots__ = ("_known", "_state_bytes")

    def __init__(self, state_bytes: int = 0) -> None:
        self._known: dict[tuple[int, int | None, bool, str, int, str], Arrival] = {}
        self._state_bytes = state_bytes

    def of(
        self, dispatched_us: int, max_retries: int | None, id_is_generated: bool, key: str, priority: int, origin: str
    ) -> Arrival:
        """The arrival with these fields."""
        fields = (dispatched_us, max_retries, id_is_generated, key, priority, origin)
        arrival = self._known.get(fields)
        if arrival is None:
            arrival = self._known[fields] = Arrival(*fields, state_bytes=self._state_bytes)
        return arrival


@dataclass(slots=True)
class Lease:
    """Who holds an event, and since when. It expires at the entry's ``at_us``.

    Attributes:
        stalled: see ``LeaseRequest.stalled``.
        grace_us: how long it lasts after the session's stream has broken.
    """

    session_id: str
    consumer: str
    fencing_token: int
    started_us: int
    stalled: bool = False
    grace_us: int = 0


class Past(NamedTuple):
    """The deliveries of an event in a group that have ended.

    Attributes:
        last_error: the error of the last one that failed.
        free_attempts: how many attempts use up no retry, because their lease ran out.
        history: the attempts, oldest first.
        pinned: an event with a key is still the first of its key, because it was leased; or a dead one holds its key.
    """

    last_error: str = ""
    free_attempts: int = 0
    history: tuple[Attempt, ...] = ()
    pinned: bool = False


NO_PAST = Past()

LEASED = EventState.LEASED
"""Looked up once: Python 3.11 takes 0.06 us for each lookup of a member of an enum."""


class Entry:
    """One event in one group.

    Attributes:
        state: its state.
        sort_key: its position in the index of its state: ``at_us`` and ``seq`` as one number.
        by_host_clock: whether it is SCHEDULED for a time of the host's clock.
        attempt: how many deliveries count, including the one under way.
        lease: set while it is LEASED.
        past: the deliveries that have ended.

    Args:
        state: its state.
        sort_key: made by ``due_index.sort_key``.
    """

    __slots__ = ("_due_us", "attempt", "by_host_clock", "lease", "past", "sort_key", "state")

    def __init__(self, state: EventState, sort_key: int) -> None:
        self.state = state
        self.sort_key = sort_key
        self.by_host_clock = False
        self.attempt = 0
        self.lease: Lease | None = None
        self.past = NO_PAST
        # The due time; None if that is ``at_us``, as for every event that waits for its first delivery.
        self._due_us: int | None = None

    @property
    def event(self) -> StoredEvent:
        """The event."""
        raise NotImplementedError

    @property
    def at_us(self) -> int:
        """Its time in the index of its state: due time, lease expiry, or time of death."""
        return self.sort_key >> SEQ_BITS

    @at_us.setter
    def at_us(self, at_us: int) -> None:
        if self._due_us is None:
            self._due_us = self.sort_key >> SEQ_BITS
        if self._due_us == at_us:
            self._due_us = None
        self.sort_key = at_us << SEQ_BITS | self.sort_key & SEQ_MASK

    @property
    def seq(self) -> int:
        """Grows with every event of the engine; orders events of equal times."""
        return self.sort_key & SEQ_MASK

    @property
    def deliver_at_us(self) -> int:
        """When it is due."""
        return self.sort_key >> SEQ_BITS if self._due_us is None else self._due_us

    @deliver_at_us.setter
    def deliver_at_us(self, due_us: int) -> None:
        self._due_us = None if due_us == self.at_us else due_us

    def begin(self, lease: Lease, expires_us: int) -> int:
        """READY -> LEASED. Returns when it was due."""
        before, due_us = self.sort_key, self._due_us
        if due_us is None:
            due_us = self._due_us = before >> SEQ_BITS
        self.sort_key = expires_us << SEQ_BITS | before & SEQ_MASK
        self.state = LEASED
        self.attempt += 1
        self.lease = lease
        return due_us

    @property
    def key(self) -> str:
        """As in ``NewEvent``."""
        return self.event.arrival.key

    @property
    def rank(self) -> int:
        """Its position among the READY events: its sort key, as if it had been due earlier by its priority."""
        return self.sort_key - (self.event.arrival.priority * SECOND << SEQ_BITS)

    @property
    def is_blocked(self) -> bool:
        """Whether it is BLOCKED."""
        return self.state is EventState.BLOCKED

    @property
    def pinned(self) -> bool:
        """Whether no other event of its key is delivered before it is done, because it was leased, or is dead and holds
        its key.
        """
        return self.state is EventState.LEASED or self.past.pinned

    @property
    def waits_in_key(self) -> bool:
        """Whether it has a key and is not the head of it: BLOCKED, or SCHEDULED and not pinned."""
        if self.state is EventState.SCHEDULED:
            return not self.past.pinned and self.key != ""
        return self.state is EventState.BLOCKED

    def pin(self) -> None:
        """It holds up the others of its key."""
        self.past = self.past._replace(pinned=True)

    def unpin(self) -> None:
        """It no longer holds up the others of its key."""
        if self.past.pinned:
            self.past = self.past._replace(pinned=False)

    @property
    def is_suspect(self) -> bool:
        """Whether so many leases have run out that the next uses up a retry. No session takes two such events."""
        return self.past.free_attempts >= FREE_EXPIRIES

    @property
    def failures(self) -> int:
        """How many attempts use up a retry, including the one under way."""
        return self.attempt - self.past.free_attempts

    def record(self, lease: Lease, outcome: AttemptOutcome, error: str, now_us: int) -> None:
        """Add the attempt that ends now to the history. Unless it is released, its error is the last one."""
        ended = Attempt(self.attempt, lease.started_us, now_us, lease.consumer, outcome, error)
        last_error = self.past.last_error if outcome is AttemptOutcome.RELEASED else error
        history = (*self.past.history, ended)[-MAX_HISTORY:]
        self.past = Past(last_error, self.past.free_attempts, history, pinned=True)

    def note_free_attempt(self) -> None:
        """The attempt that ends now uses up no retry."""
        self.past = self.past._replace(free_attempts=self.past.free_attempts + 1)

    def note_redrive(self, now_us: int) -> None:
        """The event is redriven, with all its retries; record that in the history."""
        *before, last = self.past.history or (None,)
        history = (*before, replace(last, redriven_us=now_us)) if last else ()
        self.attempt, self.past = 0, self.past._replace(free_attempts=0, history=history)


class StoredEvent(Entry):
    """An event, stored once for all groups. It is also the event's entry in the first group that got it.

    Attributes:
        id: as in ``NewEvent``.
        content: its body; or a number that stands for it, while the journal has it and memory has not.
        arrival: what it has in common with others.
        holders: how many groups are not done with it. After the last one, the event is gone.
        waiting: in how many of them it is not dead, ephemeral groups not counted. While there is one, the event counts
            as queued.
    """

    __slots__ = ("arrival", "content", "holders", "id", "waiting")

    def __init__(self, event_id: str, body: bytes, arrival: Arrival, state: EventState, sort_key: int) -> None:
        # As in Entry, whose constructor takes time to call.
        self.state = state
        self.sort_key = sort_key
        self.by_host_clock = False
        self.attempt = 0
        self.lease = None
        self.past = NO_PAST
        self._due_us = None
        self.id = event_id
        self.content: bytes | int = body
        self.arrival = arrival
        self.holders = self.waiting = 0

    @property
    def event(self) -> StoredEvent:
        """See ``Entry.event``."""
        return self

    @property
    def is_on_disk(self) -> bool:
        """Whether its body is not in memory."""
        return isinstance(self.content, int)

    @property
    def body(self) -> bytes:
        """As in ``NewEvent``; empty while it is on the disk."""
        return b"" if isinstance(self.content, int) else self.content

    @property
    def body_size(self) -> int:
        """How many bytes its body has."""
        content = self.content
        return content & SIZE_MASK if isinstance(content, int) else len(content)

    @property
    def size(self) -> int:
        """How many bytes it takes up in the journal."""
        return EVENT_BYTES + len(self.id) + self.body_size + len(self.arrival.key) + self.arrival.state_bytes

    def enters(self, segment: Segment) -> None:
        """A restart needs it from this segment."""
        self.arrival.segment = segment
        segment.live += self.size

    def leaves(self) -> None:
        """A restart no longer needs it, or not from its segment."""
        if self.arrival.segment is not None:
            self.arrival.segment.live -= self.size


class EventCopy(Entry):
    """The entry of an event in another group, at first in the same state."""

    __slots__ = ("_event",)

    def __init__(self, event: StoredEvent) -> None:
        super().__init__(event.state, event.sort_key)
        self.by_host_clock = event.by_host_clock
        self._event = event

    @property
    def event(self) -> StoredEvent:
        """See ``Entry.event``."""
        return self._event
