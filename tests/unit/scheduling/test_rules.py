"""The nominal times of rules, and what happens to them when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from duebus_server.domain.clock import DAY, HOUR, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument
from duebus_server.scheduling.cron import Cron, cron
from duebus_server.scheduling.rules import CronIn, Every, Rule
from duebus_server.scheduling.zones import zone, zone_names
from hypothesis import example, given
from hypothesis import strategies as st


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def shown(us: int | None) -> str:
    return "never" if us is None else datetime.fromtimestamp(us // SECOND, UTC).strftime("%m-%dT%H:%M:%S")


def times(text: str, name: str, after: str, count: int) -> list[str]:
    rule = Rule(CronIn(cron(text), zone(name)))
    found: list[str] = []
    us: int | None = at(after)
    for _ in range(count):
        us = rule.next_after(us or 0)
        found.append(shown(us))
    return found


def test_a_time_of_day_stays_at_its_hour_through_the_year() -> None:
    """celery 1604 and 10107: schedules an hour off after a change of the clocks."""
    assert times("0 9 * * MON-FRI", "Europe/Berlin", "2026-03-27T00:00:00Z", 3) == [
        "03-27T08:00:00",
        "03-30T07:00:00",
        "03-31T07:00:00",
    ]


def test_a_fixed_time_that_the_clocks_skip_fires_once_right_after_the_gap() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2) == ["03-29T01:00:00", "03-30T00:30:00"]


def test_several_fixed_times_in_a_gap_fire_once() -> None:
    assert times("0,15,30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 3) == [
        "03-29T01:00:00",
        "03-29T01:15:00",
        "03-29T01:30:00",
    ]


def test_a_fixed_time_that_comes_twice_fires_the_first_time() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2) == ["10-25T00:30:00", "10-26T01:30:00"]


@pytest.mark.parametrize("text", ["* * * * *", "0 0 * * *"])
def test_nothing_fires_after_the_last_moment(text: str) -> None:
    """A preview after the year 9998 was an internal error: the calendar has no year 10000."""
    assert times(text, "Europe/Berlin", "9999-12-31T00:00:00Z", 1) == ["never"]


def test_a_fixed_time_does_not_fire_again_after_a_restart_in_the_second_pass() -> None:
    """Asked in the repeated hour, it is not due in the hour before."""
    assert times("45 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1) == ["10-26T01:45:00"]


def test_a_wildcard_follows_real_time() -> None:
    assert times("*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 4) == [
        "10-25T00:00:00",
        "10-25T00:30:00",
        "10-25T01:00:00",
        "10-25T01:30:00",
    ]
    assert times("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 1) == ["03-30T00:00:00"]


def test_an_hour_after_a_gap_at_midnight_is_not_missed() -> None:
    """Cronsim alone jumps from the skipped midnight over the whole first hour of the day."""
    assert times("*/30 0,1 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 2) == ["04-23T22:00:00", "04-23T22:30:00"]


def test_a_gap_of_half_an_hour() -> None:
    assert times("*/15 * * * *", "Australia/Lord_Howe", "2026-10-03T15:15:00Z", 2) == [
        "10-03T15:30:00",
        "10-03T15:45:00",
    ]


def test_a_day_that_a_zone_skips() -> None:
    assert times("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3) == [
        "12-29T22:00:00",
        "12-30T10:00:00",
        "12-30T22:00:00",
    ]


def test_seconds_stand_in_front() -> None:
    assert times("*/20 * * * * *", "", "2026-01-01T00:00:01Z", 3) == [
        "01-01T00:00:20",
        "01-01T00:00:40",
        "01-01T00:01:00",
    ]


def test_every_counts_from_its_anchor() -> None:
    rule = Rule(Every(90 * SECOND, at("2026-01-01T00:00:10Z")), start_us=at("2026-01-01T00:00:10Z"))

    assert shown(rule.next_after(0)) == "01-01T00:00:10"
    assert shown(rule.next_after(at("2026-01-01T00:00:10Z"))) == "01-01T00:01:40"


def test_start_and_end_are_included() -> None:
    times_of_day = CronIn(cron("0 * * * *"), zone(""))
    rule = Rule(times_of_day, at("2026-01-01T03:00:00Z"), at("2026-01-01T04:00:00Z"))

    assert shown(rule.next_after(0)) == "01-01T03:00:00"
    assert shown(rule.next_after(at("2026-01-01T03:00:00Z"))) == "01-01T04:00:00"
    assert rule.next_after(at("2026-01-01T04:00:00Z")) is None


@pytest.mark.parametrize("name", ["", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo", "America/Sao_Paulo"])
@pytest.mark.parametrize(
    "text", ["*/17 * * * *", "0,30 2 * * *", "30 0 * * *", "5 1-3 L * *", "7 */6 1 * MON#2", "0 2 29 2 *"]
)
def test_counting_agrees_with_going_through_them(text: str, name: str) -> None:
    rule = Rule(CronIn(cron(text), zone(name)))
    for begin in ("2026-03-20T11:11:11Z", "2026-10-01T00:00:00Z", "2016-02-20T03:30:00Z", "2026-04-03T13:00:00Z"):
        after_us = at(begin)
        for until_us in (after_us + MINUTE, after_us + 9 * HOUR + SECOND, after_us + 37 * DAY + 3 * HOUR):
            found: list[int] = []
            next_us = rule.next_after(after_us)
            while next_us is not None and next_us <= until_us:
                found.append(next_us)
                next_us = rule.next_after(next_us)

            assert rule.count(after_us, until_us) == len(found), (begin, until_us)
            assert rule.last_until(until_us, span_us=until_us - after_us) == (found[-1] if found else None)
            assert rule.last_until(until_us, 5, until_us - after_us) == (found[-5:][0] if found else None)


def test_a_leap_day_is_found_years_ahead() -> None:
    assert Rule(CronIn(cron("0 0 29 2 *"), zone("Europe/Berlin"))).next_after(at("2096-03-01T00:00:00Z")) == at(
        "2104-02-28T23:00:00Z"
    )


def test_every_zone_can_be_read() -> None:
    assert len(zone_names()) > 500
    assert all(zone(name).offset(at("2026-01-01T00:00:00Z") // SECOND) % 60 == 0 for name in zone_names())


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../../etc/passwd", "europe/berlin", "Europe"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        zone(name)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * * *", "five fields"),
        ("0 25 * * *", r"hour \(field 2\).*'25'"),
        ("61 * * * *", r"minute \(field 1\).*'61'"),
        ("99 0 0 * * *", r"second \(field 1\).*'99'"),
        ("* * * * MOO", r"day-of-week \(field 5\).*'MOO'"),
        ("*/0 * * * *", r"minute \(field 1\)"),
        ("* * * FOO *", r"month \(field 4\).*'FOO'"),
        ("5-1 * * * *", r"minute"),
        ("0 0 30 2 *", r"day-of-month.*never comes.*'30'"),
        ("* " * 200, "bytes"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_the_place(text: str, what: str) -> None:
    with pytest.raises(InvalidArgument, match=what) as refused:
        cron(text)
    assert refused.value.violation.field == "cron"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 9 * * MON-FRI", "at 09:00, Monday to Friday"),
        ("30 2 * * *", "at 02:30 every day"),
        ("*/10 * * * * *", "every 10th second of every minute"),
    ],
)
def test_a_rule_in_words(text: str, words: str) -> None:
    assert cron(text).words() == words


@given(st.text(st.sampled_from("0123456789*/,-#LWMONSU? "), max_size=40))
@example("1#2/3 * * * *")
@example("* * L,1/2 * *")
@example("* * LW/2 * 5L/2")
@example("* * * * L")
@example("* * * * ²L")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        rule = Rule(CronIn(Cron(text), zone("Europe/Berlin")))
    except InvalidArgument:
        return
    found = rule.next_after(at("2026-03-28T23:59:59Z"))
    assert found is not None
    assert rule.count(found - 1, found) == 1
