"""The admin requests that change something, checked field by field.

Each function raises InvalidArgument with the path of the field that is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain import limits
from duebus_server.domain.administration import DeadLetterFilter, NewDueTime, RetryPolicyChanges, TopicChanges
from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.rates import KeyPolicy, Limits, Rate
from duebus_server.wire.names import ON_DEAD_FROM_PB
from duebus_server.wire.times import duration_us, optional_duration_us, timestamp_us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus.v1 import admin_pb2
    from google.protobuf.message import Message

_POLICY, _CONFIG, _LIMITS, _KEYS = "config.retry_policy", "config", "config.limits", "config.keys"


def check_place(request: Any) -> None:
    """The topic, and the group where one is named, follow the rule for names.

    Raises:
        NoTopicSpecified, InvalidArgument: one does not.
    """
    limits.check_topic(request.topic)
    if request.group:
        limits.check_name("group", request.group)


def topic_changes(request: admin_pb2.ConfigureTopicRequest) -> TopicChanges:
    """The settings to change. For a group, only those that it can have of its own are allowed."""
    check_place(request)
    config = request.config
    if request.group:
        _check_own(config)
    return TopicChanges(
        _policy_changes(config.retry_policy),
        _duration(config, _CONFIG, "lease", limits.MIN_LEASE_US, limits.MAX_LEASE_US),
        _number(config, _CONFIG, "max_queued", 0, limits.MAX_QUEUED),
        _duration(config, _CONFIG, "dead_letter_retention", 0, limits.MAX_RETENTION_US),
        _duration(config, _CONFIG, "dedupe_window", 0, limits.MAX_DEDUPE_US),
        _number(config, _CONFIG, "partitions", 1, limits.MAX_PARTITIONS),
        _limits(config.limits) if config.HasField("limits") else None,
        _key_policy(config.keys) if config.HasField("keys") else None,
    )


def event_ids(request: admin_pb2.CancelEventsRequest | admin_pb2.RescheduleEventsRequest) -> list[str]:
    """The named events, each once."""
    check_place(request)
    if not request.event_ids:
        raise InvalidArgument("event_ids", "at least one event id is required")
    return _ids("event_ids", request.event_ids)


def cancelled_key(request: admin_pb2.CancelEventsRequest) -> str:
    """The key whose events are cancelled, in place of named ones."""
    check_place(request)
    if request.event_ids:
        raise InvalidArgument("event_ids", "must be empty if a key is given")
    limits.check_text("key", request.key, limits.MAX_KEY_BYTES)
    return request.key


def new_due_time(request: admin_pb2.RescheduleEventsRequest, now_us: int) -> NewDueTime:
    """The new due time. ``now_us`` is used to refuse one that is absurdly far ahead."""
    due = request.WhichOneof("due")
    if due is None:
        raise InvalidArgument("due", "delay or deliver_at is required")
    if due == "delay":
        return NewDueTime(delay_us=_duration(request, "", "delay", 0, limits.MAX_DELAY_US))
    at_us = timestamp_us("deliver_at", request.deliver_at)
    if at_us - now_us > limits.MAX_DELAY_US:
        raise InvalidArgument("deliver_at", "is more than 10 years ahead")
    return NewDueTime(deliver_at_us=at_us)


def dead_letter_filter(request: admin_pb2.RedriveEventsRequest | admin_pb2.PurgeEventsRequest) -> DeadLetterFilter:
    """Which dead letters to select; all without conditions."""
    check_place(request)
    chosen = request.filter
    limits.check_length("filter.error_contains", len(chosen.error_contains.encode()), limits.MAX_ERROR_BYTES)
    limits.check_text("filter.key", chosen.key, limits.MAX_KEY_BYTES)
    return DeadLetterFilter(
        _ids("filter.event_ids", chosen.event_ids),
        chosen.error_contains,
        _duration(chosen, "filter", "min_age", 0, limits.MAX_DELAY_US) or 0,
        chosen.key,
    )


def rate(request: admin_pb2.RedriveEventsRequest) -> float:
    """Events a second; 0 is all at once."""
    per_second = request.rate
    if per_second and not limits.MIN_RATE <= per_second <= limits.MAX_RATE:  # NaN too
        raise InvalidArgument(
            "rate",
            f"is {per_second:,.15g}, must be 0 or from {limits.MIN_RATE:g} to {limits.MAX_RATE:,g} events a second",
        )
    return per_second


def _policy_changes(policy: admin_pb2.RetryPolicy) -> RetryPolicyChanges:
    backoff = (limits.MIN_BACKOFF_US, limits.MAX_BACKOFF_US)
    return RetryPolicyChanges(
        _number(policy, _POLICY, "max_retries", 0, limits.MAX_RETRIES),
        _duration(policy, _POLICY, "backoff_initial", *backoff),
        _duration(policy, _POLICY, "backoff_max", *backoff),
    )


def _limits(message: admin_pb2.Limits) -> Limits:
    found = Limits(message.max_in_flight, _rate_limit(message, _LIMITS))
    limits.check_limits(_LIMITS, found)
    return found


def _key_policy(message: admin_pb2.KeyPolicy) -> KeyPolicy:
    on_dead = ON_DEAD_FROM_PB.get(message.on_dead)
    if on_dead is None:
        raise InvalidArgument(f"{_KEYS}.on_dead", f"there is no OnDead number {message.on_dead}")
    slots = message.max_in_flight if message.HasField("max_in_flight") else None
    found = KeyPolicy(slots, _rate_limit(message, _KEYS), on_dead, message.max_blocked)
    limits.check_key_policy(_KEYS, found)
    return found


def _rate_limit(message: admin_pb2.Limits | admin_pb2.KeyPolicy, path: str) -> Rate | None:
    """A rate, or None."""
    if not message.HasField("rate"):
        return None
    rate = message.rate
    return Rate(rate.events, duration_us(f"{path}.rate.per", rate.per), rate.burst)


_OWN = ("retry_policy", "limits", "keys")
"""The settings that a group can have of its own."""


def _check_own(config: admin_pb2.TopicConfig) -> None:
    for field, _ in config.ListFields():
        if field.name not in _OWN:
            raise InvalidArgument(f"config.{field.name}", "is a setting of the topic, and can't be set for one group")


def _ids(path: str, event_ids: Sequence[str]) -> list[str]:
    limits.check_range(path, len(event_ids), 0, limits.MAX_EVENTS)
    for index, event_id in enumerate(event_ids):
        if not event_id:
            raise InvalidArgument(f"{path}[{index}]", "is empty")
        limits.check_text(f"{path}[{index}]", event_id)
    return list(dict.fromkeys(event_ids))


def _number(message: Message, path: str, field: str, low: int, high: int) -> int | None:
    """An optional number within its range, or None."""
    if not message.HasField(field):
        return None
    value: int = getattr(message, field)
    limits.check_range(f"{path}.{field}", value, low, high)
    return value


def _duration(message: Message, path: str, field: str, low_us: int, high_us: int) -> int | None:
    """A duration within its range, or None."""
    name = f"{path}.{field}" if path else field
    us = optional_duration_us(message, field, name)
    if us is not None:
        limits.check_duration(name, us, low_us, high_us)
    return us
