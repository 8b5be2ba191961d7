"""The local engine's records of events in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duebus_server.domain.retry import FREE_EXPIRIES
from duebus_server.domain.views import MAX_HISTORY, Attempt, AttemptOutcome

if TYPE_CHECKING:
    from duebus_server.domain.states import EventState


@dataclass(slots=True)
class StoredEvent:
    """An event, stored once for all groups.

    Attributes:
        seq: grows with every event of the engine; orders events of equal times.
        holders: how many groups are not done with it. The event goes with the last one.
        waiting: in how many of them that are not ephemeral it is not dead. While there is one, the event counts as
            queued.
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


@dataclass(slots=True)
class Lease:
    """Who holds an event, and since when. It expires at the entry's ``at_us``.

    Attributes:
        stalled: see ``LeaseRequest.stalled``.
    """

    session_id: str
    consumer: str
    fencing_token: int
    started_us: int
    stalled: bool = False


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
