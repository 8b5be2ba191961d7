"""The names, numbers and sizes that the bus accepts, and the checks.

Each check raises InvalidArgument with the path of the field that it was given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from duebus_server.domain.clock import DAY, HOUR, MILLISECOND, SECOND
from duebus_server.domain.errors import InvalidArgument, NoTopicSpecified

if TYPE_CHECKING:
    from duebus_server.domain.rates import KeyPolicy, Limits, Rate

MAX_EVENTS = 1_000
MAX_SETTLES = 10_000
MAX_HELD_LEASES = 100_000
MAX_EVENT_BYTES = 1 << 20
MAX_ATTRIBUTE_BYTES = 64 << 10
MAX_BATCH_BYTES = 4 << 20
MAX_NAME_BYTES = 255
MAX_KEY_BYTES = 255
MAX_ERROR_BYTES = 4 << 10
MAX_IN_FLIGHT = 100_000
MAX_IN_FLIGHT_BYTES = 1 << 30

MAX_DELAY_US = 10 * 365 * DAY
MIN_LEASE_US = 100 * MILLISECOND
MAX_LEASE_US = 12 * HOUR
MAX_GRACE_US = HOUR
MAX_DRAIN_US = HOUR
MAX_STREAM_AGE_US = 7 * 24 * HOUR
MAX_PULL_WAIT_US = 30 * SECOND
MAX_SETTLE_TIMEOUT_US = HOUR

MAX_RETRIES = 1_000_000
MIN_BACKOFF_US = MILLISECOND
MAX_BACKOFF_US = 30 * DAY
MAX_QUEUED = 1 << 53
MAX_RETENTION_US = 10 * 365 * DAY
MAX_DEDUPE_US = 7 * DAY
MAX_PARTITIONS = 64
MAX_PRIORITY = 86_400
MAX_PAUSE_US = HOUR
MIN_PAUSE_US = MILLISECOND
MAX_RATE_EVENTS = 1_000_000
MIN_PER_US = MILLISECOND
MAX_PER_US = DAY
MAX_GROUP_IN_FLIGHT = 1_000_000
MAX_KEY_IN_FLIGHT = 1_000
MIN_RATE = 0.001
MAX_RATE = 1_000_000.0

DEFAULT_IN_FLIGHT = 64
DEFAULT_IN_FLIGHT_BYTES = 16 << 20

_CHARACTER_BYTES = 4
"""The most that one takes in UTF-8. A text that is too short to be too large need not be encoded to know its size."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_NAME_RULE = "must match [A-Za-z0-9][A-Za-z0-9._-]{0,254}"


def check_topic(topic: str) -> None:
    """Check that a topic is given, and that its name is valid.

    Raises:
        NoTopicSpecified: it is empty.
        InvalidArgument: it is not a valid name.
    """
    if not topic:
        raise NoTopicSpecified
    check_name("topic", topic)


def is_name(text: str) -> bool:
    """Whether a text is a valid name of a topic or group."""
    return _NAME.fullmatch(text) is not None


def check_name(field: str, name: str) -> None:
    """Check the name of a topic or group."""
    if not is_name(name):
        raise InvalidArgument(field, _NAME_RULE)


def check_text(field: str, text: str, max_bytes: int = MAX_NAME_BYTES) -> None:
    """Check a text that is stored and shown as a name: it must be printable and short."""
    if text and not text.isprintable():
        raise InvalidArgument(field, "must be printable text")
    if len(text) * _CHARACTER_BYTES > max_bytes:
        check_length(field, len(text.encode()), max_bytes)


def check_length(field: str, length: int, max_bytes: int) -> None:
    """Check that a field has at most ``max_bytes``."""
    if length > max_bytes:
        raise InvalidArgument(field, f"has {length} bytes, at most {max_bytes} are allowed")


def check_range(field: str, value: int, low: int, high: int) -> None:
    """Check that a number is within its range."""
    if not low <= value <= high:
        raise InvalidArgument(field, f"is {value}, must be from {low} to {high}")


def check_duration(field: str, duration_us: int, low_us: int, high_us: int) -> None:
    """Check that a duration, in microseconds, is within its range; the message gives seconds."""
    if not low_us <= duration_us <= high_us:
        raise InvalidArgument(
            field, f"is {_seconds(duration_us)}, must be from {_seconds(low_us)} to {_seconds(high_us)}"
        )


def check_limits(field: str, limits: Limits) -> None:
    """Check the limits of a group."""
    check_range(f"{field}.max_in_flight", limits.max_in_flight, 0, MAX_GROUP_IN_FLIGHT)
    _check_rate(f"{field}.rate", limits.rate)


def check_key_policy(field: str, policy: KeyPolicy) -> None:
    """Check how a group handles its keys: the settings may contradict each other."""
    check_range(f"{field}.max_in_flight", policy.slots, 0, MAX_KEY_IN_FLIGHT)
    _check_rate(f"{field}.rate", policy.rate)
    check_range(f"{field}.max_blocked", policy.max_blocked, 0, MAX_QUEUED)
    if policy.holds and not policy.keeps_order:
        raise InvalidArgument(f"{field}.on_dead", "can be ON_DEAD_HOLD only with a max_in_flight of 1")
    if policy.rate is not None and not policy.slots:
        raise InvalidArgument(f"{field}.rate", "must be unset with a max_in_flight of 0, which ignores keys")


def _check_rate(field: str, rate: Rate | None) -> None:
    if rate is None:
        return
    check_range(f"{field}.events", rate.events, 1, MAX_RATE_EVENTS)
    check_duration(f"{field}.per", rate.per_us, MIN_PER_US, MAX_PER_US)
    if rate.per_us < rate.events:
        raise InvalidArgument(f"{field}.events", "is more than 1,000,000 a second")
    check_range(f"{field}.burst", rate.burst, 0, MAX_RATE_EVENTS)


def _seconds(duration_us: int) -> str:
    return f"{duration_us / SECOND:,.15g} s"
