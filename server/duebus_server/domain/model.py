"""The data that the layers pass to each other. Times and durations are integer microseconds, sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
        body: the rest of the event, encoded; engines store and deliver it unread.
        delay_us: due this long after it is stored; None if ``deliver_at_us`` is set.
        deliver_at_us: due at this time. Without this or a delay, the event is due at once.
        max_retries: overrides that of the retry policy, unless it is None.
        id_is_generated: the server made the id. No caller can send it again, so it is forgotten with the event.
        key: events with the same key are delivered one at a time, in order, unless the group has another key policy;
            empty for none.
        priority: how many seconds earlier it counts as due among the events that are due, from -86,400 to 86,400.
    """

    id: str
    body: bytes
    delay_us: int | None = None
    deliver_at_us: int | None = None
    max_retries: int | None = None
    id_is_generated: bool = False
    key: str = ""
    priority: int = 0

    @property
    def is_due_at_once(self) -> bool:
        """Whether it has no due time of its own, so that it is due when it is stored."""
        return not self.delay_us and self.deliver_at_us is None


@dataclass(slots=True)
class DispatchRequest:
    """Events for one topic, all of which are stored, or none.

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
        """A 32-bit checksum that is the same for every repetition of a request: of the number of its events, of their
        keys and of the ids that the caller chose. It covers nothing else, because a repetition may differ in its
        encoding and in values that the caller computes again, such as a delay.
        """
        lines = [  # neither an id nor a key has a tab or a newline
            ("" if event.id_is_generated else event.id) + (f"\t{event.key}" if event.key else "")
            for event in self.events
        ]
        return crc32("\n".join(lines).encode())


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
        session_id: unique among the streams of all replicas.
        consumer: the subscriber's own name; may be empty.
        connected_us: when the stream was opened.
        in_flight: how many deliveries it holds.
        ephemeral_us: None if its group lasts until it is deleted. Otherwise the group is ephemeral, and is kept this
            long after the stream has ended, so that the subscriber can come back.
        grace_us: how long its leases last after the stream has broken, or the local engine has started again.
        is_pull: it is there for one call, and its leases last until they run out, even if its replica dies.
    """

    session_id: str
    consumer: str
    connected_us: int
    in_flight: int = 0
    ephemeral_us: int | None = None
    grace_us: int = 0
    is_pull: bool = False


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """How much one session can take, and for how long.

    Attributes:
        max_events: how many events at most.
        max_bytes: how many bytes of event bodies at most.
        at_least_one: the first event may exceed ``max_bytes``.
        lease_us: how long each event is leased; None for the topic's lease.
        with_suspect: one of the events may be a suspect; otherwise none.
        stalled: leases of the session have run out, and it has settled and extended nothing since. If those given now
            run out as well, that uses up no retry, unless one of them is extended or adopted.
    """

    max_events: int
    max_bytes: int
    at_least_one: bool = True
    lease_us: int | None = None
    with_suspect: bool = True
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room of a session that a dispatch may fill with the events that it stores.

    Attributes:
        group: the session's group.
        session_id: the session.
        request: the limits of what it can take.
    """

    group: str
    session_id: str
    request: LeaseRequest


@dataclass(frozen=True, slots=True)
class Refill:
    """Room in a session's full window that an ack is about to make, and may fill in the same step.

    At most one event takes the place of each that is settled. So the window is not exceeded if only some of the
    partitions of a topic answer.

    Attributes:
        session_id: the session.
        sizes: the body sizes of those of its leases that the ack settles, in bytes, by fencing token.
        spare_bytes: how many more bytes of bodies fit.
        lease_us: as in ``LeaseRequest``.
        with_suspect: as in ``LeaseRequest``.
    """

    session_id: str
    sizes: Mapping[int, int]
    spare_bytes: int
    lease_us: int | None = None
    with_suspect: bool = True

    def request(self, settled: Sequence[LeaseRef], parts: int = 1, *, with_suspect: bool = True) -> LeaseRequest:
        """What the session can take once these leases are settled.

        Args:
            settled: leases that the ack settles, of any session.
            parts: into how many parts the ack is divided. Each gets the same share of the spare bytes.
            with_suspect: whether this part may bring a suspect; only one of them may.
        """
        sizes = [self.sizes[fence] for _, fence in settled if fence in self.sizes]
        return LeaseRequest(
            len(sizes),
            sum(sizes) + self.spare_bytes // parts,
            at_least_one=False,
            lease_us=self.lease_us,
            with_suspect=self.with_suspect and with_suspect,
        )


@dataclass(slots=True)
class LeasedEvent:
    """An event leased to one session.

    Attributes:
        is_suspect: the event is a suspect, so the session gets no other suspect while it holds it.
    """

    event_id: str
    body: bytes
    fencing_token: int
    attempt: int
    deliver_at_us: int
    dispatched_us: int
    lease_expires_us: int
    last_error: str
    is_suspect: bool = False


@dataclass(frozen=True, slots=True)
class LeaseBatch:
    """The events of one lease call, or those that a dispatch has handed over.

    Attributes:
        events: leased to the session, the longest due first, each counted as due earlier by its priority.
        next_due_us: when there may be more, which may be now or earlier; not before the limits of the group allow it.
            None if nothing waits.
        has_more: an event is ready, and the request had no room for it. False if a limit or a pause holds it up.
        is_paused: the group is paused, so nothing was leased.
        suspect_due_us: for a session that has a suspect, or wants none: when the first suspect that waits is due. Once
            due, it counts neither for ``next_due_us`` nor for ``has_more``. None otherwise.
    """

    events: Sequence[LeasedEvent]
    next_due_us: int | None
    has_more: bool = False
    is_paused: bool = False
    suspect_due_us: int | None = None


class LeaseRef(NamedTuple):
    """Names one lease of a known topic and group: the event and the lease's fencing token."""

    event_id: str
    fencing_token: int


@dataclass(frozen=True, slots=True)
class AdoptedLease:
    """A lease that was moved to another session, the size of its event's body, and whether that is a suspect."""

    fencing_token: int
    size: int
    is_suspect: bool = False


# --- settle -----------------------------------------------------------------------------------------------------------


class LeaseFailureReason(StrEnum):
    """Why a lease was not settled or extended. Nothing was changed."""

    EXPIRED = "expired"
    """The event is still in the group, but no longer under this lease."""
    SETTLED = "settled"
    """The event is gone from the group: acked, dead or cancelled, or the group was deleted."""
    MALFORMED = "malformed"
    """Not a lease token of this bus."""
    ENGINE_STOPPED = "engine_stopped"
    """The engine is stopped, or this server does not run it."""
    NO_KEY = "no_key"
    """A pause of a key, of an event without one or in a group that ignores keys."""


class NackAction(StrEnum):
    """What happens to an event that is given back."""

    RETRY = "retry"
    """Ready after ``delay_us``, or the retry policy's backoff; dead if no retries are left."""
    DEAD_LETTER = "dead_letter"
    RELEASE = "release"
    """Ready again at once; the attempt is not counted."""


class PauseScope(StrEnum):
    """What a nack pauses."""

    KEY = "key"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Pause:
    """Deliver nothing of the event's key, or of the group, for this long."""

    duration_us: int
    scope: PauseScope


@dataclass(frozen=True, slots=True)
class NackRef:
    """A delivery to give back, and what to do with its event."""

    lease: LeaseRef
    action: NackAction = NackAction.RETRY
    delay_us: int | None = None
    error: str = ""
    pause: Pause | None = None
