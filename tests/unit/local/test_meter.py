"""Rates over the last minute."""

from __future__ import annotations

import pytest
from duebus_server.domain.clock import MILLISECOND, MINUTE, SECOND
from duebus_server.engine.local.meter import WINDOW_S, RateMeter
from hypothesis import given
from hypothesis import strategies as st

START_US = 1_767_225_600_000_000


@pytest.fixture
def meter() -> RateMeter:
    """A meter that is older than a minute."""
    meter = RateMeter(START_US - 10 * MINUTE)
    assert meter.per_second(START_US) == 0
    return meter


def test_a_rate_is_the_average_of_a_minute(meter: RateMeter) -> None:
    for second in range(WINDOW_S):
        meter.mark(3, START_US + second * SECOND)

    assert meter.per_second(START_US + 59 * SECOND) == 3


def test_counts_within_a_second_add_up(meter: RateMeter) -> None:
    for nth in range(10):
        meter.mark(6, START_US + nth * MILLISECOND)

    assert meter.per_second(START_US + 999 * MILLISECOND) == 1


def test_a_count_lasts_a_minute(meter: RateMeter) -> None:
    meter.mark(60, START_US)

    assert meter.per_second(START_US + 59 * SECOND) == 1
    assert meter.per_second(START_US + 60 * SECOND) == 0


@pytest.mark.parametrize("idle_s", [60, 61, 119, 120, 3_600, 10_000_000])
def test_after_a_long_pause_nothing_old_is_counted(meter: RateMeter, idle_s: int) -> None:
    for second in range(WINDOW_S):
        meter.mark(100, START_US + second * SECOND)

    meter.mark(60, START_US + (59 + idle_s) * SECOND)

    assert meter.per_second(START_US + (59 + idle_s) * SECOND) == 1


def test_a_new_meter_averages_over_its_life() -> None:
    meter = RateMeter(START_US)
    meter.mark(10, START_US)
    assert meter.per_second(START_US) == 10

    assert meter.per_second(START_US + 4 * SECOND) == 2


def test_a_late_count_is_added_to_the_current_second(meter: RateMeter) -> None:
    meter.mark(30, START_US + 5 * SECOND)
    meter.mark(30, START_US)

    assert meter.per_second(START_US + 5 * SECOND) == 1


@given(
    marks=st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 200_000)), max_size=40),
    later_ms=st.integers(0, 200_000),
)
def test_it_counts_like_a_list_of_counts(marks: list[tuple[int, int]], later_ms: int) -> None:
    meter = RateMeter(START_US - 10 * MINUTE)
    marks.sort(key=lambda mark: mark[1])
    for count, at_ms in marks:
        meter.mark(count, START_US + at_ms * MILLISECOND)
    now_ms = (marks[-1][1] if marks else 0) + later_ms

    rate = meter.per_second(START_US + now_ms * MILLISECOND)

    since_s = now_ms // 1_000 - WINDOW_S
    expected = sum(count for count, at_ms in marks if at_ms // 1_000 > since_s)
    assert rate == pytest.approx(expected / WINDOW_S)
