"""What a schedule fires when it is due: on time, late, after an outage, with jitter, or once its topic has room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from duebus_server.domain.clock import DAY, HOUR, MINUTE, SECOND
from duebus_server.domain.model import NewEvent
from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.scheduling.cron import cron
from duebus_server.scheduling.rules import CronIn, Every, Rule
from duebus_server.scheduling.schedule import (
    MAX_CAUGHT_UP,
    CatchUp,
    Plan,
    Schedule,
    event_id,
    every_words,
    plan,
    retry_us,
    upcoming,
)
from duebus_server.scheduling.zones import zone

NOON_US = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z


def schedule(every_us: int = MINUTE, **fields: Any) -> Schedule:
    return replace(Schedule("report", "topic", NewEvent("", b""), Rule(Every(every_us))), **fields)


def due(one: Schedule, next_us: int = NOON_US) -> ScheduleRecord:
    return ScheduleRecord("report", "topic", "", b"", next_us=next_us, due_us=one.due_us(next_us))


def planned(one: Schedule, now_us: int) -> Plan:
    return plan(one, due(one), now_us)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_on_time(catch_up: CatchUp) -> None:
    assert planned(schedule(catch_up=catch_up), NOON_US + 5 * SECOND) == Plan(NOON_US, fires=True, missed=0)


def test_the_last_one_is_caught_up() -> None:
    late_us = NOON_US + 3 * HOUR + SECOND
    assert planned(schedule(), late_us) == Plan(NOON_US + 3 * HOUR, fires=True, missed=180)


def test_nothing_is_caught_up_after_a_year() -> None:
    yearly = schedule(366 * DAY)
    late_us = NOON_US - NOON_US % (366 * DAY) + 366 * DAY
    record = due(yearly, late_us)
    assert plan(yearly, record, late_us + 365 * DAY).fires
    once = replace(yearly, rule=replace(yearly.rule, end_us=late_us))
    assert plan(once, record, late_us + 367 * DAY) == Plan(late_us, fires=False, missed=1)


def test_none_is_caught_up() -> None:
    hourly = schedule(HOUR, catch_up=CatchUp.NONE)
    assert planned(hourly, NOON_US + 59 * SECOND) == Plan(NOON_US, fires=True, missed=0)
    assert planned(hourly, NOON_US + 61 * SECOND) == Plan(NOON_US, fires=False, missed=1)
    assert planned(hourly, NOON_US + 5 * HOUR + 30 * MINUTE) == Plan(NOON_US + 5 * HOUR, fires=False, missed=6)
    assert planned(hourly, NOON_US + 5 * HOUR + SECOND) == Plan(NOON_US + 5 * HOUR, fires=True, missed=5)


def test_all_are_caught_up_within_the_window() -> None:
    hourly = schedule(10 * MINUTE, catch_up=CatchUp.ALL)
    assert planned(hourly, NOON_US + 50 * MINUTE) == Plan(NOON_US, fires=True, missed=0)
    assert planned(hourly, NOON_US + 3 * HOUR) == Plan(NOON_US + 2 * HOUR, fires=True, missed=12)


def test_at_most_a_thousand_are_caught_up() -> None:
    secondly = schedule(SECOND, catch_up=CatchUp.ALL)
    found = planned(secondly, NOON_US + 30 * MINUTE)
    assert found == Plan(NOON_US + (1_800 - MAX_CAUGHT_UP + 1) * SECOND, fires=True, missed=1_800 - MAX_CAUGHT_UP + 1)
    following = replace(due(secondly), next_us=found.nominal_us + SECOND, due_us=found.nominal_us + SECOND)
    assert plan(secondly, following, NOON_US + 30 * MINUTE) == Plan(found.nominal_us + SECOND, fires=True, missed=0)


def test_a_long_outage_of_a_schedule_of_each_second_is_counted_at_once() -> None:
    """Thirty million nominal times are not gone through one by one."""
    rule = Rule(CronIn(cron("* * * * * *"), zone("Europe/Berlin")))
    year_us = 360 * DAY
    found = planned(schedule(rule=rule), NOON_US + year_us)
    assert found == Plan(NOON_US + year_us, fires=True, missed=year_us // SECOND)


def test_a_nominal_time_that_found_its_topic_full_is_missed_when_the_next_has_come() -> None:
    one = schedule(catch_up=CatchUp.ALL)
    tried = replace(due(one), due_us=NOON_US + MINUTE)
    assert plan(one, tried, NOON_US + MINUTE) == Plan(NOON_US + MINUTE, fires=True, missed=1)


def test_trying_again_backs_off_within_the_period() -> None:
    one = schedule(5 * MINUTE)
    assert retry_us(one, NOON_US, NOON_US) == NOON_US + SECOND
    assert retry_us(one, NOON_US, NOON_US + 3 * SECOND) == NOON_US + 6 * SECOND
    assert retry_us(one, NOON_US, NOON_US + 3 * MINUTE) == NOON_US + 4 * MINUTE
    assert retry_us(one, NOON_US, NOON_US + 4 * MINUTE + SECOND) == NOON_US + 5 * MINUTE


def with_late_jitter() -> Schedule:
    """One that fires 30 s after the next minute, or later."""
    names = (f"report {number}" for number in range(100))
    made = (replace(schedule(jitter_us=MINUTE), name=name) for name in names)
    return next(one for one in made if (one.due_us(NOON_US + MINUTE) or 0) > NOON_US + 90 * SECOND)


def test_trying_again_adds_no_jitter_and_ends_before_the_next_nominal_time() -> None:
    """One was tried up to the jitter of the next nominal time, which then fired too early."""
    one = with_late_jitter()
    due_us, following_due_us = (one.due_us(NOON_US + number * MINUTE) or 0 for number in (0, 1))

    assert retry_us(one, NOON_US, due_us) == due_us + SECOND
    assert retry_us(one, NOON_US, NOON_US + MINUTE - SECOND) == following_due_us
    assert retry_us(one, NOON_US, NOON_US + MINUTE + SECOND) == following_due_us


def test_what_found_its_topic_full_is_missed_at_the_next_nominal_time_which_keeps_its_jitter() -> None:
    one = with_late_jitter()
    following_us = NOON_US + MINUTE
    tried = replace(due(one), due_us=following_us - SECOND)

    assert plan(one, tried, following_us - 1) == Plan(NOON_US, fires=True, missed=0)
    assert plan(one, tried, following_us + SECOND) == Plan(NOON_US, fires=False, missed=1)
    assert plan(one, tried, one.due_us(following_us) or 0) == Plan(following_us, fires=True, missed=1)


def test_jitter_spreads_by_name_and_time_but_never_beyond_the_next_time() -> None:
    one = schedule(MINUTE, jitter_us=HOUR)
    dues = [one.due_us(NOON_US + number * MINUTE) or 0 for number in range(50)]
    delays = [due_us - NOON_US - number * MINUTE for number, due_us in enumerate(dues)]

    assert dues == sorted(dues)
    assert all(0 <= delay < MINUTE for delay in delays)
    assert len(set(delays)) > 45
    assert replace(one, name="other").due_us(NOON_US) != dues[0]


def test_a_nominal_time_that_jitter_delays_is_not_caught_up_yet() -> None:
    one = schedule(MINUTE, jitter_us=MINUTE)
    last_us = NOON_US + 10 * MINUTE
    before_us = (one.due_us(last_us) or 0) - 1
    assert planned(one, before_us).nominal_us == last_us - MINUTE
    assert planned(one, before_us + 1).nominal_us == last_us


def test_upcoming_times_end_with_the_runs() -> None:
    one = schedule(max_runs=5)
    record = replace(due(one), runs=3)
    assert upcoming(one, record, 10) == [NOON_US, NOON_US + MINUTE]
    assert upcoming(one, replace(record, paused=True), 10) == []


def test_ids_name_the_nominal_time() -> None:
    assert event_id("report", NOON_US) == "report@2026-01-01T12:00:00Z"
    assert event_id("report", NOON_US + 250_000) == "report@2026-01-01T12:00:00.25Z"


def test_periods_in_words() -> None:
    assert [every_words(us) for us in (DAY, 90 * MINUTE, HOUR, 30 * SECOND, SECOND // 2 * 3)] == [
        "every day",
        "every 90 minutes",
        "every hour",
        "every 30 seconds",
        "every 1.5 seconds",
    ]
