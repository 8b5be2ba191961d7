"""Durations and times of the well-known types as integer microseconds, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import InvalidArgument

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

NANOS = 1_000
"""In a microsecond."""

MAX_NANOS = 999_999_999

FIRST_SECOND = -62_135_596_800
LAST_SECOND = 253_402_300_799
"""The range of a Timestamp: the years 1 to 9999."""


def duration_us(field: str, duration: Duration) -> int:
    """A duration in microseconds, rounded up: late rather than early.

    Raises:
        InvalidArgument: its parts contradict each other.
    """
    if abs(duration.nanos) > MAX_NANOS or duration.seconds * duration.nanos < 0:
        raise InvalidArgument(field, "is not a valid duration: seconds and nanos must agree in sign")
    return duration.seconds * SECOND - (-duration.nanos // NANOS)


def optional_duration_us(message: Message, field: str, path: str | None = None) -> int | None:
    """A duration field in microseconds, or None if it is unset. ``path`` is its path in the request."""
    return duration_us(path or field, getattr(message, field)) if message.HasField(field) else None


def timestamp_us(field: str, timestamp: Timestamp) -> int:
    """A time in microseconds since the Unix epoch, rounded up.

    Raises:
        InvalidArgument: it is out of the range of a Timestamp.
    """
    if not 0 <= timestamp.nanos <= MAX_NANOS:
        raise InvalidArgument(field, "is not a valid timestamp: nanos must be from 0 to 999,999,999")
    if not FIRST_SECOND <= timestamp.seconds <= LAST_SECOND:
        raise InvalidArgument(field, "is not a valid timestamp: must be in the years 1 to 9999")
    return timestamp.seconds * SECOND - (-timestamp.nanos // NANOS)


def seconds_and_nanos(us: int) -> dict[str, int]:
    """Non-negative microseconds as the fields of a Duration or Timestamp.

    A dict, which sets a message field faster than a message does.
    """
    return {"seconds": us // SECOND, "nanos": us % SECOND * NANOS}
