"""The settings of topics and the retry policies of groups in Redis: name, value, ... of those that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain.administration import RetryPolicyChanges, TopicChanges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    return [*_pairs(_TOPIC, changes), *policy_pairs(changes.retry_policy)]


def policy_pairs(changes: RetryPolicyChanges) -> list[str | int]:
    """Name, value, ... of what is set."""
    return _pairs(_POLICY, changes)


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
    return TopicChanges(RetryPolicyChanges(**policy), **own)


def _pairs(names: Mapping[str, str], changes: TopicChanges | RetryPolicyChanges) -> list[str | int]:
    flat: list[str | int] = []
    for name, field in names.items():
        value = getattr(changes, field)
        if value is not None:
            flat += (name, value)
    return flat
