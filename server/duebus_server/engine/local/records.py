"""The local engine's records of events in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duebus_server.domain.retry import FREE_EXPIRIES
from duebus_server.domain.views import MAX_HISTORY, Attempt, AttemptOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.domain.states import EventState
    from duebus_server.engine.local.journal.segments import Segment

EVENT_BYTES, ENTRY_BYTES, ATTEMPT_BYTES = 20, 80, 60
"""About how many bytes the journal needs for an event, its state in a group, and an attempt, beside their texts."""


@dataclass(slots=True)
class StoredEvent:
    """An event, stored once for all groups.

    Attributes:
        seq: grows with every event of the engine; orders events of equal times.
        holders: how many groups are not done with it. The event goes with the last one.
        waiting: in how many of them that are not ephemeral it is not dead. While there is one, the event counts as
            queued.
        segment: the segment of the journal that a restart needs for it; None without a journal.
        size: how many bytes it takes up there.
    """

    id: str
    body: bytes
    seq: int
    dispatched_us: int
    max_retries: int | None
    id_is_generated: bool
    origin: str
    holders: int
    waiting: int
    segment: Segment | None = None
    size: int = 0

    def belongs_to(self, segment: Segment, entries: Iterable[Entry] = ()) -> None:
        """It was recorded in this segment, with these states in groups."""
        self.segment = segment
        self.size = EVENT_BYTES + len(self.id) + len(self.body)
        for entry in entries:
            self.size += ENTRY_BYTES + len(entry.last_error) + ATTEMPT_BYTES * len(entry.history or ())
            self.size += sum([len(attempt.error) for attempt in entry.history or ()])
        segment.live += self.size

    def leaves(self) -> None:
        """A restart no longer needs it, or not from this segment."""
        if self.segment is not None:
            self.segment.live -= self.size
            self.segment = None


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


@dataclass(slots=True)
class Entry:
    """One event in one group.

    Attributes:
        at_us: its position in the index of its state: due time, lease expiry, or time of death.
        by_host_clock: whether it is SCHEDULED for a time of the host's clock.
        attempt: how many deliveries count, including the one under way.
        free_attempts: how many of those use up no retry, because their lease ran out.
        history: the attempts that have ended, oldest first; None before the first one.
    """

    event: StoredEvent
    state: EventState
    at_us: int
    deliver_at_us: int
    attempt: int = 0
    last_error: str = ""
    lease: Lease | None = None
    history: list[Attempt] | None = None
    by_host_clock: bool = False
    free_attempts: int = 0

    @property
    def is_suspect(self) -> bool:
        """Whether so many leases have run out that the next uses up a retry. No session takes two such events."""
        return self.free_attempts >= FREE_EXPIRIES

    @property
    def failures(self) -> int:
        """How many attempts use up a retry, including the one under way."""
        return self.attempt - self.free_attempts

    def record(self, lease: Lease, outcome: AttemptOutcome, error: str, now_us: int) -> None:
        """Add the attempt that ends now to the history."""
        history = self.history = self.history or []
        history.append(Attempt(self.attempt, lease.started_us, now_us, lease.consumer, outcome, error))
        del history[:-MAX_HISTORY]

    def note_redrive(self, now_us: int) -> None:
        """Record in the history that the event is redriven."""
        if self.history:
            self.history[-1] = replace(self.history[-1], redriven_us=now_us)
