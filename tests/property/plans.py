"""The values that the machine draws: settings in whole ticks, events, leases."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from duebus_server.domain.clock import MILLISECOND, SECOND
from duebus_server.domain.model import DispatchRequest, LeaseRequest, NackAction, NewEvent, Pause, PauseScope
from duebus_server.domain.rates import DEFAULT_KEY_POLICY, NO_LIMITS, KeyPolicy, Limits, OnDead, Rate
from duebus_server.domain.retry import RetryPolicy
from duebus_server.domain.views import TopicConfig
from hypothesis import strategies as st
from support.builders import new_event
from support.topics import PLENTY, with_ids

TICK = 10 * SECOND
"""All delays, leases and jumps are whole ticks, except the jumps to a grain before something happens."""

POLICY = RetryPolicy(max_retries=2, backoff_initial_us=100 * TICK, backoff_max_us=150 * TICK)
CONFIG = TopicConfig(retry_policy=POLICY, lease_us=12 * TICK, max_queued=20, dedupe_window_us=20 * TICK)


KEY_OF = {"a": "k", "b": "l", "c": ""}
"""The key of each id: the same id with another key may be in another partition."""


class EventPlan(NamedTuple):
    """An event to dispatch. Its due time is given as a delay or as a time."""

    event_id: str | None
    size: int
    max_retries: int | None
    due_in_us: int
    as_delay: bool
    key: str
    priority: int

    def build(self, now_us: int) -> NewEvent:
        """The event, with times of the model."""
        return new_event(
            self.event_id,
            body=b"x" * self.size,
            max_retries=self.max_retries,
            delay_us=max(0, self.due_in_us) if self.as_delay else None,
            deliver_at_us=None if self.as_delay else now_us + self.due_in_us,
            key=self.key if self.event_id is None else KEY_OF[self.event_id],
            priority=self.priority,
        )


class Member(NamedTuple):
    """A session, and the group it may have joined."""

    group: str
    session_id: str


GRACE_US = TICK
"""How long leases last after their stream has broken."""

EPHEMERAL, EPHEMERAL_GRACE_US = "ephemeral", 2 * TICK
"""The group that is ephemeral, and how long it is kept for its sessions."""

members = st.sampled_from(
    [Member(group, f"{session} of {group}") for group in ("g1", "g2", EPHEMERAL) for session in "xyz"]
)


class RequestPlan(NamedTuple):
    """A request to dispatch; with an id it may be repeated."""

    events: list[EventPlan]
    request_id: str
    require_subscriber: bool

    def build(self, now_us: int, clock_us: int, number: int) -> DispatchRequest:
        """The request, with times of the model, and with ids as the bus gives them at ``clock_us``.

        Each ``number`` adds a millisecond to the time in generated ids, so requests under the same request id have
        different ones. If it has no id, the number also replaces their random part, so that a run can be repeated.
        """
        events = [plan.build(now_us) for plan in self.events]
        with_ids(events, clock_us + number * MILLISECOND, self.request_id or f"number {number}")
        return DispatchRequest(events, self.request_id, self.require_subscriber)


class Jump(StrEnum):
    """How far time advances: by a tick, until something happens without a call, or just before that."""

    STAY = "stay"
    TICK = "tick"
    UNTIL = "until"
    JUST_BEFORE = "just before"


jumps = st.sampled_from([Jump.TICK, Jump.UNTIL, Jump.JUST_BEFORE])
waits = st.sampled_from([Jump.STAY] * 4 + [Jump.TICK, Jump.UNTIL])
lease_times = st.sampled_from([None, None, 30 * TICK, 2 * TICK])
plans = st.builds(
    EventPlan,
    event_id=st.none() | st.sampled_from(["a", "b", "c"]),
    size=st.sampled_from([0, 10, 40]),
    max_retries=st.sampled_from([None, None, 0, 1, 4]),
    due_in_us=st.sampled_from([0, 0, -1, 1, 2, 5]).map(TICK.__mul__),
    as_delay=st.booleans(),
    key=st.sampled_from(["", "", "k", "k", "l"]),
    priority=st.sampled_from([0, 0, 0, 25, -15]),
)
requests = st.builds(
    RequestPlan,
    events=st.lists(plans, min_size=1, max_size=3),
    request_id=st.just(""),
    require_subscriber=st.sampled_from([False, False, True]),
)
lease_requests = st.builds(
    LeaseRequest,
    max_events=st.sampled_from([3, 1, 5, 0]),
    max_bytes=st.sampled_from([PLENTY, PLENTY, PLENTY, 0, 15, 60]),
    at_least_one=st.booleans(),
    lease_us=lease_times,
    with_suspect=st.sampled_from([True, True, False]),
    stalled=st.sampled_from([False, False, False, True]),
)
graces = st.sampled_from([0, 1, 2, 20]).map(TICK.__mul__)
pauses = st.none() | st.builds(Pause, st.sampled_from([1, 3]).map(TICK.__mul__), st.sampled_from(PauseScope))
key_policies = st.sampled_from(
    [
        None,
        DEFAULT_KEY_POLICY,
        KeyPolicy(2),
        KeyPolicy(0),
        KeyPolicy(on_dead=OnDead.HOLD),
        KeyPolicy(rate=Rate(1, 2 * TICK)),
        KeyPolicy(rate=Rate(2, 5 * TICK, burst=2), on_dead=OnDead.HOLD),
    ]
)
group_limits = st.sampled_from([None, NO_LIMITS, NO_LIMITS, Limits(2), Limits(rate=Rate(2, 3 * TICK, burst=2))])
nack_plans = st.tuples(st.sampled_from(NackAction), st.sampled_from([0, 1, 3]).map(TICK.__mul__), st.none() | pauses)
delays = st.sampled_from([0, 0, 1, 3]).map(TICK.__mul__)
limits = st.sampled_from([1, 2, 1_000])


class FilterPlan(NamedTuple):
    """Which dead letters to choose: by their indexes in the group, by their last error, or by their key."""

    indexes: list[int]
    error: str
    key: str


filters = st.builds(
    FilterPlan,
    indexes=st.just([]) | st.just([]) | st.lists(st.integers(0, 9), max_size=4),
    error=st.sampled_from(["", "", "", "failure", "lease expired", "boom"]),
    key=st.sampled_from(["", "", "", "k"]),
)
