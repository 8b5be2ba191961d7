"""The settings of topics and the retry policies of groups in Redis: name, value, ... of those that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain.administration import RetryPolicyChanges, TopicChanges
from duebus_server.domain.rates import KeyPolicy, Limits, OnDead, Rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duebus_server.domain.administration import GroupChanges

_LIMITS, _KEYS = "limits", "keys"
"""Limits and key policy are texts of numbers, as ``policies.lua`` reads them."""

_POLICY = {"max_retries": "max_retries", "backoff_initial": "backoff_initial_us", "backoff_max": "backoff_max_us"}
_TOPIC = {
    "lease": "lease_us",
    "max_queued": "max_queued",
    "dead_letter_retention": "dead_letter_retention_us",
    "dedupe_window": "dedupe_window_us",
    "partitions": "partitions",
}
"""The name of each setting in Redis and Lua, and in the domain. All are numbers; durations are microseconds."""


def topic_pairs(changes: TopicChanges) -> list[str | int]:
    """Name, value, ... of what is set."""
    return [*_pairs(_TOPIC, changes), *group_pairs(changes.for_group())]


def group_pairs(changes: GroupChanges) -> list[str | int]:
    """Name, value, ... of what is set. An empty value removes a setting."""
    flat = _pairs(_POLICY, changes.retry_policy)
    if changes.limits is not None:
        flat += (_LIMITS, _limits_text(changes.limits))
    if changes.keys is not None:
        flat += (_KEYS, _keys_text(changes.keys))
    return flat


def _rate_numbers(rate: Rate | None) -> tuple[int, int, int]:
    return (0, 1, 0) if rate is None else (rate.events, rate.per_us, rate.burst)


def _limits_text(limits: Limits) -> str:
    return " ".join(map(str, (limits.max_in_flight, *_rate_numbers(limits.rate)))) if limits else ""


def _keys_text(keys: KeyPolicy) -> str:
    numbers = (keys.slots, *_rate_numbers(keys.rate), int(keys.holds), keys.max_blocked)
    return " ".join(map(str, numbers)) if keys else ""


def _read_rate(events: int, per_us: int, burst: int) -> Rate | None:
    return Rate(events, per_us, burst) if events else None


def _read_limits(text: bytes) -> Limits:
    most, *rate = map(int, text.split())
    return Limits(most, _read_rate(*rate))


def _read_keys(text: bytes) -> KeyPolicy:
    slots, events, per_us, burst, holds, max_blocked = map(int, text.split())
    on_dead = OnDead.HOLD if holds else OnDead.SKIP
    return KeyPolicy(None if slots == 1 else slots, _read_rate(events, per_us, burst), on_dead, max_blocked)


def pairs_of(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Name, value, ... of a script's answer, as the client gives a hash."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def topic_changes(stored: Mapping[bytes, bytes]) -> TopicChanges:
    """The settings of a topic, or of a group's policy, as Redis holds them. Invalid values are ignored, as in Lua.

    While the number of partitions is being changed, the current one comes before a ``>``.
    """
    numbers = {name.decode(): value.partition(b">")[0] for name, value in stored.items()}
    found = {name: int(value) for name, value in numbers.items() if value.isdigit()}
    policy = {field: found.get(name) for name, field in _POLICY.items()}
    own: dict[str, Any] = {field: found.get(name) for name, field in _TOPIC.items()}
    limits, keys = stored.get(_LIMITS.encode()), stored.get(_KEYS.encode())
    return TopicChanges(
        RetryPolicyChanges(**policy),
        **own,
        limits=_read_limits(limits) if limits else None,
        keys=_read_keys(keys) if keys else None,
    )


def _pairs(names: Mapping[str, str], changes: TopicChanges | RetryPolicyChanges) -> list[str | int]:
    flat: list[str | int] = []
    for name, field in names.items():
        value = getattr(changes, field)
        if value is not None:
            flat += (name, value)
    return flat
