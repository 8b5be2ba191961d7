"""What the layers pass to each other. Times and durations are integer microseconds, sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence


DEFAULT_GROUP = "default"


class EngineName(StrEnum):
    """Where events wait."""

    LOCAL = "local"
    REDIS = "redis"


# --- dispatch ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class NewEvent:
    """An event on its way in.

    Attributes:
        id: unique within the topic.
        body: the rest of the event, encoded; engines store it and hand it out unread.
        delay_us: due this long after it is stored; None when ``deliver_at_us`` says.
        deliver_at_us: due at this time; without it and a delay, due at once.
        max_retries: overrides the retry policy; None does not.
        id_is_generated: the id was filled in by the server; such an id can't come twice, so it need not be
            remembered once the event is gone.
    """

    id: str
    body: bytes
    delay_us: int | None = None
    deliver_at_us: int | None = None
    max_retries: int | None = None
    id_is_generated: bool = False


@dataclass(slots=True)
class DispatchRequest:
    """Events for one topic, of which all are stored or none.

    Attributes:
        request_id: makes the request safe to repeat; empty when the caller gave none.
        require_subscriber: refuse with NoHandlerFound unless the topic has a live subscriber.
        origin: who dispatched them, for display; empty if unknown.
    """

    events: Sequence[NewEvent]
    request_id: str = ""
    require_subscriber: bool = False
    origin: str = ""

    def identity(self) -> int:
        """A checksum of 32 bits that is the same for every repetition of a request: of the number of its events, and of
        the ids that the caller chose. Nothing else is in it, because a repetition may differ in its encoding, and in
        what the caller computes again, such as a delay.
        """
        chosen = ("" if event.id_is_generated else event.id for event in self.events)
        return crc32("\n".join(chosen).encode())


@dataclass(frozen=True, slots=True)
class DispatchAnswer:
    """The ids of the events in request order, and which of them added nothing."""

    event_ids: Sequence[str]
    duplicate_event_ids: Sequence[str] = ()


# --- delivery ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubscriberInfo:
    """One open stream.

    Attributes:
        session_id: identifies the stream among those of all replicas.
        consumer: the name the subscriber gave itself; may be empty.
        connected_us: when the stream was opened.
        in_flight: how many deliveries it holds.
    """

    session_id: str
    consumer: str
    connected_us: int
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """How much one session can take, and for how long.

    Attributes:
        max_events: how many events, at most.
        max_bytes: how many bytes of event bodies, at most.
        at_least_one: the first event may exceed ``max_bytes``.
        lease_us: how long each event is leased; None for the topic's lease.
    """

    max_events: int
    max_bytes: int
    at_least_one: bool = True
    lease_us: int | None = None


@dataclass(slots=True)
class LeasedEvent:
    """An event as one session got it, under a lease."""

    event_id: str
    body: bytes
    fencing_token: int
    attempt: int
    deliver_at_us: int
    dispatched_us: int
    lease_expires_us: int
    last_error: str


@dataclass(frozen=True, slots=True)
class LeaseBatch:
    """What a session was given.

    Attributes:
        events: leased to it, the longest due first.
        next_due_us: when there may be more, which may be now or earlier; None if nothing waits.
        left_for_want_of_room: an event is ready for which the request had no room.
        is_paused: the group is, so that nothing was given, whatever is ready.
    """

    events: Sequence[LeasedEvent]
    next_due_us: int | None
    left_for_want_of_room: bool = False
    is_paused: bool = False


class LeaseRef(NamedTuple):
    """Names one lease of a known topic and group: the event, and the fencing token the lease was given."""

    event_id: str
    fencing_token: int


@dataclass(frozen=True, slots=True)
class AdoptedLease:
    """A lease that was moved to another session, and the size of its event's body."""

    fencing_token: int
    size: int


# --- settle -----------------------------------------------------------------------------------------------------------


class LeaseFailureReason(StrEnum):
    """Why a lease could not be settled or extended. Nothing was changed."""

    EXPIRED = "expired"
    """The event is still there, but no longer under this lease."""
    SETTLED = "settled"
    """The event is gone from the group: acked, dead or cancelled, or the group was deleted."""
    MALFORMED = "malformed"
    """Not a lease token of this bus."""
    ENGINE_STOPPED = "engine_stopped"
    """The engine is stopped, or this server does not run it."""


class NackAction(StrEnum):
    """What happens to an event that is given back."""

    RETRY = "retry"
    """Ready after ``delay_us``, or the retry policy's backoff; dead if no retries are left."""
    DEAD_LETTER = "dead_letter"
    RELEASE = "release"
    """Ready again at once; the attempt is not counted."""


@dataclass(frozen=True, slots=True)
class NackRef:
    """A delivery to give back, and how."""

    lease: LeaseRef
    action: NackAction = NackAction.RETRY
    delay_us: int | None = None
    error: str = ""
