"""Durations and times are rounded up to whole microseconds, and invalid ones are refused."""

from __future__ import annotations

import pytest
from duebus_server.domain.errors import InvalidArgument
from duebus_server.wire.times import duration_us, seconds_and_nanos, timestamp_us
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


@pytest.mark.parametrize(
    ("seconds", "nanos", "us"),
    [
        (0, 0, 0),
        (2, 500_000_000, 2_500_000),
        (0, 1, 1),  # less than a microsecond is a microsecond
        (0, 1_000, 1),
        (0, 1_001, 2),
        (-1, -1, -1_000_000),
        (315_576_000_000, 0, 315_576_000_000_000_000),
    ],
)
def test_a_duration_is_rounded_up(seconds: int, nanos: int, us: int) -> None:
    assert duration_us("delay", Duration(seconds=seconds, nanos=nanos)) == us


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(1, -1), (-1, 1), (0, 1_000_000_000), (0, -1_000_000_000), (5, 2**31 - 1)]
)
def test_an_inconsistent_duration_is_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidArgument, match=r"events\[2\]\.delay: is not a valid duration"):
        duration_us("events[2].delay", Duration(seconds=seconds, nanos=nanos))


@pytest.mark.parametrize(
    ("seconds", "nanos", "us"),
    [
        (1_767_225_600, 0, 1_767_225_600_000_000),
        (1, 1, 1_000_001),
        (-1, 999_999_999, 0),
        (-62_135_596_800, 0, -62_135_596_800_000_000),
        (253_402_300_799, 999_999_999, 253_402_300_800_000_000),
    ],
)
def test_a_time_is_rounded_up(seconds: int, nanos: int, us: int) -> None:
    assert timestamp_us("deliver_at", Timestamp(seconds=seconds, nanos=nanos)) == us


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(0, -1), (0, 1_000_000_000), (-62_135_596_801, 0), (253_402_300_800, 0), (2**63 - 1, 0), (-(2**63), 0)],
)
def test_an_invalid_time_is_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidArgument, match="deliver_at: is not a valid timestamp"):
        timestamp_us("deliver_at", Timestamp(seconds=seconds, nanos=nanos))


@pytest.mark.parametrize("us", [0, 1, 999_999, 1_000_000, 1_767_225_600_123_456])
def test_microseconds_are_converted_both_ways(us: int) -> None:
    assert Timestamp(**seconds_and_nanos(us)).ToMicroseconds() == us
