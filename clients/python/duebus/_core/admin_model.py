"""The arguments and results of the calls of EventBusAdmin."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from duebus._core.enums import (
    AttemptOutcome,
    Engine,
    EventState,
)
from duebus._core.limits import KeyPolicy, Limits
from duebus._core.payload import decode_json, decode_text

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """A page of a list; `next_page_token` is empty on the last."""

    items: list[_T]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How failed events are retried.

    Attributes:
        max_retries: How many times an event is retried before it is dead.
        backoff_initial: The backoff before the first retry. It doubles with each retry, and varies by ±20 % at random.
        backoff_max: The longest backoff.
    """

    max_retries: int
    backoff_initial: timedelta
    backoff_max: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """The settings of a topic.

    Attributes:
        retry_policy: How failed events are retried.
        lease: How long a delivery is leased unless the subscriber sets its own lease.
        max_queued: How many events may be scheduled, ready, blocked or leased; 0 means unlimited. A tenth of it may be
            blocked events of one key, unless `keys` says otherwise.
        dead_letter_retention: How long dead letters are kept before they are purged; 0 means forever.
        dedupe_window: How long request ids, and the ids of events that are gone, are remembered.
        partitions: How many partitions the events are spread over.
        limits: Those of each group that has none of its own, or of the group whose settings these are; None if there
            are none.
        keys: The key policy, likewise; None if it is the default one.
    """

    retry_policy: RetryPolicy
    lease: timedelta
    max_queued: int
    dead_letter_retention: timedelta
    dedupe_window: timedelta
    partitions: int
    limits: Limits | None = None
    keys: KeyPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Averages over the last minute, in events a second."""

    dispatched: float
    delivered: float
    acked: float
    nacked: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late deliveries were: the time from due to delivered. Estimates, within a power of two.

    Attributes:
        p50: What half of them did not exceed.
        p99: What 99 of 100 did not exceed.
    """

    p50: timedelta
    p99: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMinute:
    """What a group did in one minute.

    Attributes:
        group: Empty for the events that wait for the topic's first lasting group.
        delivered: How many deliveries began.
        acked: How many events were acked.
        nacked: How many deliveries were nacked: to be retried, dead or released.
        dead: How many events became dead letters.
        lateness: Of these deliveries; None if there were none.
    """

    group: str
    delivered: int
    acked: int
    nacked: int
    dead: int
    lateness: Lateness | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMinute:
    """What a topic did in one minute.

    Attributes:
        start: When it began, in UTC.
        dispatched: How many events were stored.
        groups: The groups that did something.
        lateness: Of the deliveries to all groups; None if there were none.
    """

    start: datetime | None
    dispatched: int
    groups: tuple[GroupMinute, ...]
    lateness: Lateness | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """One open stream.

    Attributes:
        session_id: As in `Started`.
        consumer: The subscriber's own name; may be empty.
        in_flight: How many deliveries it holds.
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
        group: Empty for the events that wait for the topic's first lasting group.
        paused: Nothing is delivered until it is resumed.
        scheduled: How many events wait for their due time.
        ready: How many events are due.
        leased: How many events subscribers hold.
        dead: How many dead letters it has.
        subscribers: Its open streams.
        oldest_ready_age: How long the oldest ready event has been due; None if none is ready.
        rates: Averages over the last minute.
        retry_policy: The one in force: the topic's, with the changes of this group.
        ephemeral: Whether it is deleted when its last subscriber has left.
        blocked: How many events are due and wait for another with the same key.
        oldest_blocked_age: How long the oldest blocked event has been due; None if none is blocked.
        limits: Those in force; None if there are none.
        keys: The key policy in force; None if it is the default one.
        throttled_until: When its limits or a pause next allow a delivery, in UTC; None while they allow one.
        lateness: Of the deliveries in the last five minutes; None if there were none.
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
    ephemeral: bool = False
    blocked: int = 0
    oldest_blocked_age: timedelta | None = None
    limits: Limits | None = None
    keys: KeyPolicy | None = None
    throttled_until: datetime | None = None
    lateness: Lateness | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """A key of a group, of which an event is ready, leased, blocked or waits for its retry, or that is held.

    Attributes:
        key: The key.
        blocked: How many of its events are blocked.
        in_flight: How many of its events are leased.
        head_event_id: The event that the blocked ones wait for; empty where several are delivered at once.
        held: Whether a dead letter closes it; see `OnDead`.
        opens_at: When its rate or a pause next allows a delivery, in UTC; None while they allow one.
    """

    key: str
    blocked: int
    in_flight: int
    head_event_id: str
    held: bool = False
    opens_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """One topic of an engine.

    Attributes:
        topic: Its name.
        engine: None if this client is too old to know it.
        config: Its settings.
        queued: How many events it holds, each counted once even if several groups hold it; dead letters not counted.
        groups: Its groups.
        problem: In a list, why the server can't show the topic, whose other fields are then unknown. Empty otherwise.
        durable: Whether its events outlive the server's process.
        lateness: Of the deliveries to all groups in the last five minutes; None if there were none.
        minutes: From `get_topic`: the minutes of the last hour in which something happened, oldest first.
    """

    topic: str
    engine: Engine | None
    config: TopicConfig
    queued: int
    groups: tuple[GroupInfo, ...]
    problem: str = ""
    durable: bool = False
    lateness: Lateness | None = None
    minutes: tuple[TopicMinute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One delivery of an event and how it ended.

    Attributes:
        attempt: Its number, counted from 1 again after a redrive.
        started_at: In UTC.
        ended_at: In UTC; None while it lasts.
        consumer: The subscriber's own name; may be empty.
        outcome: How it ended.
        error: Why it failed; may be empty.
        redriven_at: When the event, dead since this attempt, was redriven, in UTC; None if it was not.
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
    """The state of an event in one group.

    Attributes:
        group: Empty while the topic has no group yet.
        state: Its state.
        attempts: How many times it was delivered since it was last redriven; releases are not counted.
        max_retries: How many times it may be retried in all.
        deliver_at: When it is, or was, due, in UTC.
        last_error: The error of the last failed attempt.
        lease_expires_at: In UTC; None unless it is leased.
        consumer: The subscriber that holds it; empty unless it is leased.
        dead_at: In UTC; None unless it is dead.
        history: From `get_event`: the last 20 attempts, oldest first.
        free_attempts: How many of the attempts used up no retry, because their lease ran out. From 2 on the event is a
            suspect, of which a stream holds one at a time.
        waits_for: While it is blocked, the id of the event with the same key that is ready, leased, or waits for its
            retry; empty otherwise.
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
    free_attempts: int = 0
    waits_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInfo:
    """An event and its state in each group.

    Attributes:
        event_id: Its id, unique within the topic.
        topic: The topic it was dispatched to.
        data: The payload, byte for byte as it was dispatched.
        content_type: The media type of `data`.
        attributes: The metadata it was dispatched with.
        max_retries: As dispatched; None if it follows the topic's policy.
        dispatched_at: In UTC.
        dispatched_by: From `get_event`: the address or identity it came from, if the server knows it.
        groups: From `list_events`, the requested group; from `get_event`, each group that is not done with it.
        key: Events with the same key are delivered in order; empty for none.
        priority: See NewEvent.
        data_withheld: Whether `data` is empty because the caller may not see it.
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
    key: str = ""
    priority: int = 0
    data_withheld: bool = False

    def text(self) -> str:
        """The payload as text; see `Delivery.text`."""
        return decode_text(self.data, self.content_type)

    def json(self) -> Any:
        """The payload as JSON; see `Delivery.json`."""
        return decode_json(self.data)


@dataclass(frozen=True, slots=True)
class Removed:
    """The result of deleting a topic or group.

    Attributes:
        removed: How many events were removed with it, including dead letters.
    """

    removed: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The result of a cancellation.

    Attributes:
        cancelled: How many events lost at least one copy.
        leased_event_ids: Events with a leased or dead copy, which was left alone. Copies in other groups may have been
            removed.
        missing_event_ids: Events that the topic, or the named group, does not hold.
    """

    cancelled: int
    leased_event_ids: tuple[str, ...] = ()
    missing_event_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """The result of rescheduling.

    Attributes:
        rescheduled: How many events have a new due time.
    """

    rescheduled: int


@dataclass(frozen=True, slots=True)
class Redriven:
    """The result of a redrive.

    Attributes:
        redriven: How many dead letters were made ready again.
    """

    redriven: int


@dataclass(frozen=True, slots=True)
class Purged:
    """The result of a purge.

    Attributes:
        purged: How many dead letters were removed.
    """

    purged: int
