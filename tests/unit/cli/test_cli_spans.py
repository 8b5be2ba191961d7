"""Durations and times as people write and read them."""

from datetime import UTC, datetime, timedelta

import pytest
from duebus.cli.spans import format_moment, format_moment_json, format_span, parse_moment, parse_span
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("1.5s", timedelta(milliseconds=1500)),
        ("1h30m", timedelta(minutes=90)),
        ("0s", timedelta()),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, span: timedelta) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["5", "-5s", "999999999999d"])
def test_anything_else_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is "):
        parse_span(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_every_whole_number_of_milliseconds_can_be_written(milliseconds: int) -> None:
    assert parse_span(f"{milliseconds}ms") == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(), "0ms"),
        (timedelta(microseconds=1900), "1.9ms"),
        (timedelta(milliseconds=250), "250ms"),
        (timedelta(seconds=2), "2s"),
        (timedelta(seconds=2.5), "2.5s"),
        (timedelta(minutes=3, seconds=12), "3m 12s"),
        (timedelta(minutes=3), "3m"),
        (timedelta(days=2, hours=4, minutes=59), "2d 4h"),
        (timedelta(milliseconds=-3), "-3ms"),
    ],
)
def test_a_duration_reads_in_about_three_digits(span: timedelta, text: str) -> None:
    assert format_span(span) == text


def test_a_time_may_have_an_offset_or_be_local() -> None:
    assert parse_moment("2027-01-31T09:00:00+01:00") == datetime(2027, 1, 31, 8, tzinfo=UTC)
    assert parse_moment("2027-01-31T09:00:00Z") == datetime(2027, 1, 31, 9, tzinfo=UTC)
    local = datetime(2027, 1, 31, 9).astimezone()
    assert parse_moment("2027-01-31T09:00") == local


@pytest.mark.parametrize("text", ["", "tomorrow", "2027-13-01", "1700000000"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is not a time"):
        parse_moment(text)


def test_a_time_has_its_offset_for_people_and_is_in_utc_in_json_output() -> None:
    moment = datetime(2027, 1, 31, 8, 0, 0, 4321, tzinfo=UTC)
    assert format_moment_json(moment) == "2027-01-31T08:00:00.004321Z"
    assert datetime.fromisoformat(format_moment(moment)) == moment.replace(microsecond=4000)
