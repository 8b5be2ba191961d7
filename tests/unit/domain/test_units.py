"""Durations and sizes: one way to write them, in settings and on the command line."""

from __future__ import annotations

import pytest
from duebus_server.domain.clock import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from duebus_server.domain.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("250us", 250),
        ("500ms", 500 * MILLISECOND),
        ("30s", 30 * SECOND),
        ("1.5s", 1_500_000),
        ("5m", 5 * MINUTE),
        ("2h", 2 * HOUR),
        ("7d", 7 * DAY),
        (" 10 s ", 10 * SECOND),
        ("1h30m", 90 * MINUTE),
        ("3m 12s", 192 * SECOND),
        ("0s", 0),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "5 sec", "5S", "1e3s", "five s", "٣s", "9" * 400 + "s", "1.2.3s", "1s5", "½s", None]
)
def test_anything_else_is_not_a_duration(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 500ms, 30s or 5m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("us", "text"), [(0, "0s"), (1, "1us"), (1_500 * MILLISECOND, "1500ms"), (90 * SECOND, "90s"), (DAY, "1d")]
)
def test_a_duration_is_shown_in_its_largest_unit(us: int, text: str) -> None:
    assert format_duration(us) == text
    assert parse_duration(text) == us


@pytest.mark.parametrize(
    ("text", "size"), [("512", 512), ("1B", 1), ("64KiB", 64 << 10), ("16 MiB", 16 << 20), (" 1GiB ", 1 << 30)]
)
def test_a_size_is_a_number_and_a_unit_or_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1.5MiB", "-1", "16MB", "16mib", "9" * 16, None])
def test_anything_else_is_not_a_size(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size such as 512KiB or 16MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1, "1B"), (1025, "1025B"), (64 << 10, "64KiB"), (3 << 30, "3GiB")]
)
def test_a_size_is_shown_in_its_largest_unit(size: int, text: str) -> None:
    assert format_size(size) == text
    assert parse_size(text) == size
