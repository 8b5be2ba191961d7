"""Counts by the minute, and how late deliveries were."""

from __future__ import annotations

from dataclasses import replace

import pytest
from duebus_server.domain.clock import HOUR, MILLISECOND, MINUTE, SECOND
from duebus_server.domain.minutes import (
    BUCKETS,
    KEPT_MINUTES,
    LATENESS_MINUTES,
    Lateness,
    Minutes,
    Tally,
    lateness_of,
    sum_of_lateness,
)
from duebus_server.domain.model import LeasedEvent

NOW_US = 1_767_225_600_000_000
EVENT = LeasedEvent("event", b"", 1, NOW_US, NOW_US, 1, NOW_US, "")


def deliveries(*late_us: int) -> list[LeasedEvent]:
    """Events that are leased so late at NOW_US."""
    return [replace(EVENT, deliver_at_us=NOW_US - late) for late in late_us]


def of_deliveries(*late_us: int) -> Lateness:
    tally = Tally()
    for one in deliveries(*late_us):
        tally.add_delivered([one], NOW_US)
    return Lateness(tally.lateness)


@pytest.mark.parametrize("late_us", [0, 100, 511, 512, 3 * MILLISECOND, SECOND, 90 * SECOND, HOUR])
def test_a_quantile_is_within_a_power_of_two_of_the_lateness(late_us: int) -> None:
    for share in (0.5, 0.99):
        assert late_us / 2 - 1 <= of_deliveries(late_us, late_us).quantile_us(share) <= max(512, 2 * late_us)


def test_p50_is_of_the_many_and_p99_of_the_few() -> None:
    lateness = of_deliveries(*[MILLISECOND] * 90, *[SECOND] * 10)

    assert lateness.quantile_us(0.5) < 2 * MILLISECOND
    assert SECOND / 2 < lateness.quantile_us(0.99) < 2 * SECOND


def test_what_was_not_delivered_has_no_lateness() -> None:
    assert not Lateness()
    assert not Lateness([0] * BUCKETS)
    assert Lateness([0] * BUCKETS).quantile_us(0.99) == 0
    assert of_deliveries(0)


def test_a_clock_that_was_set_back_makes_no_negative_lateness() -> None:
    assert of_deliveries(-HOUR).buckets[0] == 1


def test_a_delivery_that_is_days_late_is_in_the_last_bucket() -> None:
    assert of_deliveries(72 * HOUR).buckets[-1] == 1


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100, 1_000])
def test_of_a_large_batch_a_sample_stands_for_all(size: int) -> None:
    tally = Tally()
    half = size // 2
    tally.add_delivered(deliveries(*[0] * (size - half), *[SECOND] * half), NOW_US)

    assert tally.delivered == size
    assert sum(tally.lateness) == pytest.approx(size, rel=0.07)
    assert sum(tally.lateness[1:]) == pytest.approx(half, rel=0.15, abs=1)


def test_sums_of_lateness_have_all_deliveries() -> None:
    total = sum_of_lateness([of_deliveries(0, SECOND), of_deliveries(SECOND), Lateness()])
    assert sum(total.buckets) == 3


def test_a_tally_is_read_from_its_text() -> None:
    tally = Tally()
    tally.dispatched, tally.acked = 10, 100
    assert tally.text == "10 0 100"
    tally.add_delivered(deliveries(0, MILLISECOND), NOW_US)

    read = Tally.of_text(tally.text)

    assert (read.dispatched, read.delivered, read.acked, read.nacked, read.dead) == (10, 2, 100, 0, 0)
    assert read.lateness == tally.lateness
    assert Tally().text == ""
    assert Tally.of_text("").lateness == Tally().lateness


@pytest.mark.parametrize("text", ["WRONGTYPE of another", "-3 5", "1 " * 1_000])
def test_other_texts_are_read_without_an_error(text: str) -> None:
    assert len(Tally.of_text(text).lateness) == BUCKETS
    assert lateness_of([text]).buckets == Tally.of_text(text).lateness


def test_the_lateness_of_several_minutes_is_read_from_their_texts() -> None:
    early, late, none = Tally(), Tally(), Tally()
    early.add_delivered(deliveries(0, MILLISECOND), NOW_US)
    late.add_delivered(deliveries(SECOND), NOW_US)
    none.acked = 7

    read = lateness_of([early.text, late.text, none.text])

    assert read == sum_of_lateness([Lateness(early.lateness), Lateness(late.lateness)])
    assert not lateness_of([none.text])
    assert not lateness_of([])


def test_minutes_are_kept_for_an_hour() -> None:
    minutes = Minutes()
    for number in range(2 * KEPT_MINUTES):
        minutes.at(NOW_US + number * MINUTE).acked += number

    now_us = NOW_US + (2 * KEPT_MINUTES - 1) * MINUTE
    recent = minutes.recent(now_us)

    assert [tally.acked for _, tally in sorted(recent.items())] == list(range(KEPT_MINUTES, 2 * KEPT_MINUTES))
    assert len(minutes._over) == KEPT_MINUTES - 1
    assert minutes.recent(now_us + HOUR) == {}


def test_minutes_in_which_nothing_happened_are_left_out() -> None:
    minutes = Minutes()
    for number in (0, 3, 4, 200):
        minutes.at(NOW_US + number * MINUTE).acked += number + 1
    first = NOW_US // MINUTE

    assert {minute - first: tally.acked for minute, tally in minutes.recent(NOW_US + 200 * MINUTE).items()} == {
        200: 201
    }
    earlier = Minutes()
    for number in (0, 3, 4):
        earlier.at(NOW_US + number * MINUTE).acked += number + 1
    found = {minute - first: tally.acked for minute, tally in earlier.recent(NOW_US + 9 * MINUTE).items()}
    assert found == {0: 1, 3: 4, 4: 5}


def test_a_clock_that_was_set_back_goes_on_in_the_same_minute() -> None:
    minutes = Minutes()
    minutes.at(NOW_US).acked += 1
    minutes.at(NOW_US - 5 * MINUTE).acked += 1
    assert [tally.acked for tally in minutes.recent(NOW_US).values()] == [2]


def test_lateness_covers_the_last_minutes() -> None:
    minutes = Minutes()
    assert not lateness_of(minutes.latest(NOW_US))
    minutes.at(NOW_US).add_delivered(deliveries(SECOND), NOW_US)

    assert lateness_of(minutes.latest(NOW_US))
    assert lateness_of(minutes.latest(NOW_US + (LATENESS_MINUTES - 1) * MINUTE))
    assert not lateness_of(minutes.latest(NOW_US + LATENESS_MINUTES * MINUTE))
