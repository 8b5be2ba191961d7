"""Times and durations of messages as Python values."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(message: Message, field: str) -> datetime | None:
    """A time, in UTC; None if it is unset."""
    return _moment(getattr(message, field)) if message.HasField(field) else None


def moments(stamps: Iterable[Timestamp]) -> tuple[datetime, ...]:
    """Several times, in UTC."""
    return tuple(map(_moment, stamps))


def _moment(stamp: Timestamp) -> datetime:
    # Ten times as fast as its ToDatetime; a list has three for each event.
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)


def span(message: Message, field: str) -> timedelta | None:
    """A duration; None if it is unset."""
    if not message.HasField(field):
        return None
    length: timedelta = getattr(message, field).ToTimedelta()
    return length
