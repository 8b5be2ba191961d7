"""What the local engine keeps in memory for each event."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duebus_server.domain.views import MAX_HISTORY, Attempt, AttemptOutcome

if TYPE_CHECKING:
    from duebus_server.domain.states import EventState


@dataclass(slots=True)
class StoredEvent:
    """An event, kept once however many groups wait for it.

    Attributes:
        seq: grows with every event of the engine; breaks ties between equal times.
        holders: groups that are not done with it; the event is dropped with the last one.
        waiting: those of them in which it is not dead; while there is one, it counts as queued.
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
    """Who holds an event, and since when. The expiry is the entry's ``at_us``."""

    session_id: str
    consumer: str
    fencing_token: int
    started_us: int


@dataclass(slots=True)
class Entry:
    """One event in one group.

    Attributes:
        at_us: its place in the index of its state: due time, lease expiry, or time of death.
        by_host_clock: it is SCHEDULED, and due by the host's clock.
        attempt: deliveries that count, the one under way included.
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

    def record(self, lease: Lease, outcome: AttemptOutcome, error: str, now_us: int) -> None:
        """Add the attempt that ends now to the story."""
        history = self.history = self.history or []
        history.append(Attempt(self.attempt, lease.started_us, now_us, lease.consumer, outcome, error))
        del history[:-MAX_HISTORY]

    def note_redrive(self, now_us: int) -> None:
        """Add to the story that the event, dead since its last attempt, is redriven."""
        if self.history:
            self.history[-1] = replace(self.history[-1], redriven_us=now_us)
