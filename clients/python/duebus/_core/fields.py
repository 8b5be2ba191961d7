"""Converts Python values to protobuf values. Only values that can't be sent as they are get refused here; the server
checks ranges.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from duebus._core.enums import ENGINE_TO_WIRE, EVENT_STATE_TO_WIRE, Engine, EventState
from duebus.errors import InvalidArgument
from duebus.v1 import admin_pb2, event_bus_pb2

Span = timedelta | float
"""A length of time: a timedelta, or seconds."""

_INT32_MAX = 2**31 - 1
_UINT32_MAX = 2**32 - 1
_UINT64_MAX = 2**64 - 1
# Longer waits overflow in grpc or the C library.
_LONGEST_WAIT = timedelta(days=3650)

_ENGINES_BY_NAME: dict[str, event_bus_pb2.Engine] = {engine.value: wire for engine, wire in ENGINE_TO_WIRE.items()}

_E = TypeVar("_E", bound=StrEnum)


def text(field: str, value: object) -> str:
    """The value itself.

    Raises:
        TypeError: it is not a str.
        InvalidArgument: it can't be encoded as UTF-8.
    """
    if not isinstance(value, str):
        raise TypeError(f"{field}: expected a str, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument.of_field(field, f"can't be encoded: {error}") from error
    return value


def uint32(field: str, value: int) -> int:
    """The value itself, if it fits into 32 bits."""
    return whole(field, value, 0, _UINT32_MAX)


def int32(field: str, value: int) -> int:
    """The value itself, if it fits into 32 bits with a sign."""
    return whole(field, value, -_INT32_MAX - 1, _INT32_MAX)


def uint64(field: str, value: int) -> int:
    """The value itself, if it fits into 64 bits."""
    return whole(field, value, 0, _UINT64_MAX)


def whole(field: str, value: int, least: int, most: int) -> int:
    """The value itself, if it is a whole number from `least` to `most`.

    Raises:
        TypeError: it is not an int.
        InvalidArgument: it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{field}: expected an int, got {type(value).__name__}")
    if not least <= value <= most:
        raise InvalidArgument.of_field(field, f"must be {least} to {most}, not {value}")
    return value


def number(field: str, value: float) -> float:
    """The value itself.

    Raises:
        TypeError: it is not a number.
        InvalidArgument: it is NaN or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{field}: expected a number, got {type(value).__name__}")
    if not math.isfinite(value):
        raise InvalidArgument.of_field(field, f"must be a finite number, not {value}")
    return value


def attributes(field: str, value: Mapping[str, str] | None) -> dict[str, str]:
    """A copy whose names and values are checked to be text."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{field}: expected a mapping, got {type(value).__name__}")
    return {text(field, name): text(f"{field}[{name!r}]", each) for name, each in value.items()}


def duration(field: str, value: Span) -> Duration:
    """The value as a protobuf message, to the microsecond.

    Raises:
        TypeError: the value is neither a timedelta nor a number.
        InvalidArgument: it is NaN, infinite or larger than a timedelta can be.
    """
    message = Duration()
    message.FromTimedelta(_timedelta(field, value))
    return message


def seconds(field: str, value: Span) -> float:
    """How long to wait, in seconds; more than 10 years count as 10 years.

    Raises:
        TypeError: the value is neither a timedelta nor a number.
        InvalidArgument: it is not positive, NaN or infinite.
    """
    length = _timedelta(field, value)
    if length <= timedelta(0):
        raise InvalidArgument.of_field(field, f"must be positive, not {value}")
    return min(length, _LONGEST_WAIT).total_seconds()


def _timedelta(field: str, value: Span) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{field}: expected a timedelta or seconds, got {type(value).__name__}")
    try:
        if math.isfinite(value):
            return timedelta(seconds=value)
    except OverflowError as error:
        raise InvalidArgument.of_field(field, "is longer than any duration can be") from error
    raise InvalidArgument.of_field(field, f"must be a finite number of seconds, not {value}")


def timestamp(field: str, value: datetime) -> Timestamp:
    """The value as a protobuf message, to the microsecond.

    Raises:
        TypeError: the value is not a datetime.
        InvalidArgument: it has no time zone, so the time is ambiguous, or it is outside the years 1 to 9999 in UTC.
    """
    if not isinstance(value, datetime):
        raise TypeError(f"{field}: expected a datetime, got {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidArgument.of_field(field, f"{value.isoformat()} has no time zone; pass an aware datetime")
    message = Timestamp()
    try:
        message.FromDatetime(value)
    except OverflowError as error:
        description = f"{value.isoformat()} is outside the years 1 to 9999 in UTC"
        raise InvalidArgument.of_field(field, description) from error
    return message


def engine(field: str, value: Engine | str | None) -> event_bus_pb2.Engine:
    """The engine's enum value. None is the server's default engine.

    Raises:
        InvalidArgument: there is no engine of that name.
    """
    if value is None:
        return event_bus_pb2.ENGINE_UNSPECIFIED
    if isinstance(value, str) and (wire := _ENGINES_BY_NAME.get(value)) is not None:
        return wire
    return ENGINE_TO_WIRE[member(field, Engine, value, ENGINE_TO_WIRE)]


def engines(field: str, values: Iterable[Engine | str] | Engine | str) -> list[event_bus_pb2.Engine]:
    """The engines' enum values. A single engine counts as a list of one."""
    if isinstance(values, str):
        return [engine(field, values)]
    return [engine(f"{field}[{index}]", value) for index, value in enumerate(values)]


def event_state(field: str, value: EventState | str) -> admin_pb2.EventState:
    """The state's enum value.

    Raises:
        InvalidArgument: there is no state of that name.
    """
    return EVENT_STATE_TO_WIRE[member(field, EventState, value, EVENT_STATE_TO_WIRE)]


def member(field: str, members: type[_E], value: str, known: Iterable[_E]) -> _E:
    names = list(known)
    if value in names:
        return members(value)
    expected = ", ".join(f'"{each}"' for each in names)
    raise InvalidArgument.of_field(field, f"must be one of {expected}, not {value!r}")
