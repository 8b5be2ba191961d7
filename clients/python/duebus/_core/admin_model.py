"""What the calls of EventBusAdmin take and return."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from duebus._core.enums import (
    AttemptOutcome,
    Engine,
    EventState,
)
from duebus._core.payload import decode_json, decode_text

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """A page of a list; `next_page_token` is empty on the last."""

    items: list[_T]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """What happens to an event that fails.

    Attributes:
        max_retries: How often it is retried before it is dead.
        backoff_initial: The backoff before the first retry; it doubles from then on, each ±20 % at random.
        backoff_max: The longest backoff.
    """

    max_retries: int
    backoff_initial: timedelta
    backoff_max: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """The settings of a topic.

    Attributes:
        retry_policy: What happens to an event that fails.
        lease: How long a delivery is leased where the subscriber does not say.
        max_queued: How many events may wait, be leased or be scheduled; 0 means unlimited.
        dead_letter_retention: Dead letters are purged this long after they died; 0 means never.
        dedupe_window: For how long a request id and the id of an event that is gone are remembered.
        partitions: Over how many parts of the storage the events are spread.
    """

    retry_policy: RetryPolicy
    lease: timedelta
    max_queued: int
    dead_letter_retention: timedelta
    dedupe_window: timedelta
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Averages over the last minute, in events a second."""

    dispatched: float
    delivered: float
    acked: float
    nacked: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """One open stream.

    Attributes:
        session_id: As in `Started`.
        consumer: As the subscriber named itself; may be empty.
        in_flight: Deliveries it holds.
        connected_at: In UTC.
    """

    session_id: str
    consumer: str
    in_flight: int
    connected_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo:
    """One group of a topic.

    Attributes:
        group: Empty for the events of a topic that has no group yet.
        paused: Nothing is delivered until it is resumed.
        scheduled: Its events that wait for their time.
        ready: Its events that are due.
        leased: Its events that are with a subscriber.
        dead: Its dead letters.
        subscribers: Its open streams.
        oldest_ready_age: For how long the longest-waiting ready event has been due; None when none is ready.
        rates: Averages over the last minute.
        retry_policy: In force for the group: the topic's, with what was changed for this group alone.
    """

    group: str
    paused: bool
    scheduled: int
    ready: int
    leased: int
    dead: int
    subscribers: tuple[Subscriber, ...]
    oldest_ready_age: timedelta | None
    rates: Rates
    retry_policy: RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """One topic of an engine.

    Attributes:
        topic: Its name.
        engine: None for one that this client is too old to know.
        config: Its settings.
        queued: Events it holds, each counted once however many groups wait for it; dead letters not counted.
        groups: Its groups.
        problem: In a list, why the server can't show the topic; the rest is not known then. Empty otherwise.
    """

    topic: str
    engine: Engine | None
    config: TopicConfig
    queued: int
    groups: tuple[GroupInfo, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One delivery of an event and how it ended.

    Attributes:
        attempt: The number it was delivered with; counted anew from 1 after a redrive.
        started_at: In UTC.
        ended_at: In UTC; None while it is under way.
        consumer: Who had it; may be empty.
        outcome: How it ended.
        error: Why it failed; may be empty.
        redriven_at: When the event, dead since this attempt, was redriven, in UTC; None where it was not.
    """

    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    consumer: str
    outcome: AttemptOutcome
    error: str
    redriven_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventGroupInfo:
    """Where an event stands in one group.

    Attributes:
        group: Empty while the topic has no group yet.
        state: Where it stands.
        attempts: How often it was delivered, since it was last redriven; releases are not counted.
        max_retries: How often it may be retried in all.
        deliver_at: When it is, or was, due, in UTC.
        last_error: Of the last attempt that failed.
        lease_expires_at: In UTC; None unless it is leased.
        consumer: Who has it; empty unless it is leased.
        dead_at: In UTC; None unless it is dead.
        history: From `get_event`: the last 20 attempts, oldest first.
    """

    group: str
    state: EventState
    attempts: int
    max_retries: int
    deliver_at: datetime | None
    last_error: str
    lease_expires_at: datetime | None
    consumer: str
    dead_at: datetime | None
    history: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInfo:
    """An event and where it stands.

    Attributes:
        event_id: Its id, unique within the topic.
        topic: The topic it was dispatched to.
        data: The payload, byte for byte as it was dispatched.
        content_type: The media type of `data`.
        attributes: The metadata it was dispatched with.
        max_retries: As it was dispatched; None when it went by the topic's policy.
        dispatched_at: In UTC.
        dispatched_by: From `get_event`: the address or identity it came from, where the server knows it.
        groups: From `list_events` the group asked for; from `get_event` each that is not done with it.
    """

    event_id: str
    topic: str
    data: bytes
    content_type: str
    attributes: dict[str, str]
    max_retries: int | None
    dispatched_at: datetime | None
    dispatched_by: str
    groups: tuple[EventGroupInfo, ...]

    def text(self) -> str:
        """The payload as text; see `Delivery.text`."""
        return decode_text(self.data, self.content_type)

    def json(self) -> Any:
        """The payload as JSON; see `Delivery.json`."""
        return decode_json(self.data)


@dataclass(frozen=True, slots=True)
class Removed:
    """A topic or a group that is gone.

    Attributes:
        removed: How many events went with it, dead letters included.
    """

    removed: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of the events that were to be cancelled.

    Attributes:
        cancelled: Events of which at least one copy was removed.
        leased_event_ids: Those of which a copy was leased or dead, and was left alone; copies in other groups may have
            been removed.
        missing_event_ids: Those that the topic, or the group that was named, does not hold.
    """

    cancelled: int
    leased_event_ids: tuple[str, ...] = ()
    missing_event_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """Events that have another due time.

    Attributes:
        rescheduled: How many.
    """

    rescheduled: int


@dataclass(frozen=True, slots=True)
class Redriven:
    """Dead letters that are on their way again.

    Attributes:
        redriven: How many.
    """

    redriven: int


@dataclass(frozen=True, slots=True)
class Purged:
    """Dead letters that are gone for good.

    Attributes:
        purged: How many.
    """

    purged: int
