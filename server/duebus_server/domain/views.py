"""Topics, groups and events as operators see them.

All times and durations are integer microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.minutes import Lateness, lateness_of
from duebus_server.domain.rates import DEFAULT_KEY_POLICY, NO_LIMITS, KeyPolicy, Limits
from duebus_server.domain.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.minutes import MinuteOfTopic
    from duebus_server.domain.model import SubscriberInfo
    from duebus_server.domain.states import EventState


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """The settings of a topic.

    Attributes:
        max_queued: how many events it may hold, dead letters not counted; 0 is unlimited.
        dead_letter_retention_us: how long dead letters are kept before they are purged; 0 is forever.
        dedupe_window_us: how long request ids, and ids of events that are gone, are remembered.
        partitions: how many partitions its events are spread over; 1 on the local engine.
        limits: those of each group that has none of its own; or of the group, in the settings of one.
        keys: the key policy of each group that has none of its own; or of the group, in the settings of one.
    """

    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    lease_us: int = 30 * SECOND
    max_queued: int = 0
    dead_letter_retention_us: int = 0
    dedupe_window_us: int = 10 * MINUTE
    partitions: int = 1
    limits: Limits = NO_LIMITS
    keys: KeyPolicy = DEFAULT_KEY_POLICY

    @property
    def max_blocked(self) -> int:
        """How many events of one key may be blocked before others of the key are refused; 0 is unlimited."""
        return self.keys.max_blocked or (self.max_queued and max(1, self.max_queued // 10))

    @property
    def is_limited(self) -> bool:
        """Whether every delivery counts for a limit, so that a session asks for no more than it can begin."""
        return bool(self.limits) or self.keys.rate is not None


@dataclass(frozen=True, slots=True)
class Rates:
    """Averages over the last minute, in events a second."""

    dispatched: float = 0.0
    delivered: float = 0.0
    acked: float = 0.0
    nacked: float = 0.0


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group seen from outside. ``group`` is empty for the events of a topic that has no group yet.

    Attributes:
        retry_policy: the one in force: the topic's, with the changes of this group.
        ephemeral: whether it is deleted when its last subscriber has left.
        oldest_blocked_age_us: how long ago the blocked event that has waited longest became due.
        limits: those in force.
        keys: the key policy in force.
        throttled_until_us: when its limits, or a pause, next let something be delivered, at the latest; None while
            none of them holds it up.
        oldest_lease_age_us: how long the event that has been leased longest has been held; None if none is leased. Of
            many leases, an engine may examine only those that expire first.
        latest: the tallies of the last ``LATENESS_MINUTES`` in which something happened, as texts: a list of topics
            has many, and not every reader wants their lateness.
    """

    group: str
    paused: bool
    counts: dict[EventState, int]
    subscribers: Sequence[SubscriberInfo]
    oldest_ready_age_us: int | None
    rates: Rates
    retry_policy: RetryPolicy
    ephemeral: bool = False
    oldest_blocked_age_us: int | None = None
    limits: Limits = NO_LIMITS
    keys: KeyPolicy = DEFAULT_KEY_POLICY
    throttled_until_us: int | None = None
    oldest_lease_age_us: int | None = None
    latest: Sequence[str] = ()

    @property
    def lateness(self) -> Lateness:
        """That of its deliveries in the last ``LATENESS_MINUTES``; read from texts."""
        return lateness_of(self.latest)


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic seen from outside. ``queued`` counts each event once, even if several groups hold it.

    Attributes:
        problem: why the topic can't be read; its other fields are then empty. Empty if it can.
        durable: whether its events outlive the server's process.
        minutes: what it did in each of the last minutes, where that was asked for.
    """

    topic: str
    config: TopicConfig
    queued: int
    groups: Sequence[GroupInfo]
    problem: str = ""
    durable: bool = True
    minutes: Sequence[MinuteOfTopic] = ()


class AttemptOutcome(StrEnum):
    """How a delivery ended."""

    UNDER_WAY = "under_way"
    NACKED = "nacked"
    DEAD = "dead"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery of an event, and how it ended.

    Attributes:
        ended_us: None while it is under way.
        redriven_us: when the event, dead since this attempt, was redriven; None otherwise. Later attempts are counted
            from 1 again.
    """

    attempt: int
    started_us: int
    ended_us: int | None
    consumer: str
    outcome: AttemptOutcome
    error: str = ""
    redriven_us: int | None = None


MAX_HISTORY = 20
"""How many attempts of an event each group keeps: the latest ones."""


@dataclass(frozen=True, slots=True)
class EventGroupInfo:
    """The state of an event in one group. Times that do not apply to the state are None.

    Attributes:
        free_attempts: how many of the attempts used up no retry, because their lease ran out.
        waits_for: of a blocked event, in a group that keeps the order of its keys: the id of the event with the same
            key that is ready, leased, or waits for its retry; or of the dead letter that holds the key. Else empty.
    """

    group: str
    state: EventState
    attempts: int
    max_retries: int
    deliver_at_us: int
    last_error: str
    lease_expires_us: int | None = None
    consumer: str = ""
    dead_us: int | None = None
    history: Sequence[Attempt] = ()
    free_attempts: int = 0
    waits_for: str = ""


@dataclass(frozen=True, slots=True)
class EventInfo:
    """An event and its state in each group that is not done with it."""

    event_id: str
    body: bytes
    dispatched_us: int
    origin: str
    groups: Sequence[EventGroupInfo]


@dataclass(frozen=True, slots=True)
class EventPage:
    """One page of a list, and the cursor of the next; None after the last page."""

    events: Sequence[EventInfo]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events of a group to list.

    Attributes:
        limit: how many events at most.
        max_bytes: how many bytes of bodies and last errors at most, unless a single event has more.
        cursor: where the page begins, from the previous page; None for the first page.
        newest_first: descending order of due time, lease expiry or death, depending on the state.
        key: only events with this key; empty means any. A page may then end early, with a cursor.
    """

    group: str
    state: EventState
    limit: int
    max_bytes: int
    cursor: str | None = None
    newest_first: bool = False
    key: str = ""


EXAMINED_AT_ONCE = 1_000
"""How many events are examined for one page of the events of a key."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key of a group that has an event which is ready, leased, blocked or waits for its retry, or that is held.

    Attributes:
        blocked: how many of its events are blocked.
        in_flight: how many of its events are leased.
        head_event_id: the event that the blocked ones wait for, as ``EventGroupInfo.waits_for``.
        held: whether a dead letter closes it.
        opens_at_us: when its rate, or a pause, lets the next of its events be delivered; None while neither holds it
            up.
    """

    key: str
    blocked: int
    in_flight: int
    head_event_id: str
    held: bool = False
    opens_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """One page of a list, and the cursor of the next; None after the last page."""

    keys: Sequence[KeyInfo]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class KeyQuery:
    """Which keys of a group to list.

    Attributes:
        limit: how many keys at most.
        cursor: where the page begins, from the previous page; None for the first page.
    """

    group: str
    limit: int
    cursor: str | None = None
