"""Cron rules with what they mean, written down by hand: nothing here reads the text of a rule."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date

OnDay = Callable[[date], bool]

EVERY_HOUR = range(24)
EVERY_MINUTE = range(60)
EVERY_SECOND = range(60)
MON, TUE, WED, THU, FRI, SAT, SUN = range(7)


@dataclass(frozen=True)
class Rule:
    """The local times of a rule: all combinations of its hours, minutes and seconds, on each of its days."""

    text: str
    hours: Collection[int]
    minutes: Collection[int]
    day: OnDay
    seconds: Collection[int] = (0,)

    @property
    def is_fixed(self) -> bool:
        """Whether the rule names its times of day, so that each comes once a day whatever the clocks do."""
        times = self.text.split()[:-3]
        return not any(field.startswith("*") for field in times)

    @property
    def is_fast(self) -> bool:
        """Whether it fires several times a minute."""
        return len(self.seconds) > 1


def any_day(_day: date) -> bool:
    return True


def weekdays(*days: int) -> OnDay:
    return lambda day: day.weekday() in days


def days_of_month(*days: int) -> OnDay:
    return lambda day: day.day in days


def nth_weekday(weekday: int, nth: int) -> OnDay:
    return lambda day: day.weekday() == weekday and (day.day - 1) // 7 == nth - 1


def last_weekday(weekday: int) -> OnDay:
    return lambda day: day.weekday() == weekday and day.day > days_in_month(day) - 7


def days_in_month(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def last_day(day: date) -> bool:
    return day.day == days_in_month(day)


def last_working_day(day: date) -> bool:
    later = (day.replace(day=number) for number in range(day.day + 1, days_in_month(day) + 1))
    return day.weekday() < SAT and all(other.weekday() >= SAT for other in later)


def in_months(months: Collection[int], on_day: OnDay = any_day) -> OnDay:
    return lambda day: day.month in months and on_day(day)


def either(first: OnDay, second: OnDay) -> OnDay:
    return lambda day: first(day) or second(day)


def both(first: OnDay, second: OnDay) -> OnDay:
    return lambda day: first(day) and second(day)


WORKING_DAYS = weekdays(MON, TUE, WED, THU, FRI)

RULES = [
    # They follow real time.
    Rule("* * * * *", EVERY_HOUR, EVERY_MINUTE, any_day),
    Rule("*/5 * * * *", EVERY_HOUR, range(0, 60, 5), any_day),
    Rule("0 * * * *", EVERY_HOUR, [0], any_day),
    Rule("30 * * * *", EVERY_HOUR, [30], any_day),
    Rule("*/20 1-3 * * *", [1, 2, 3], [0, 20, 40], any_day),
    Rule("* 2 * * *", [2], EVERY_MINUTE, any_day),
    Rule("*/15 0 * * *", [0], [0, 15, 30, 45], any_day),
    Rule("*/25 4 * * *", [4], [0, 25, 50], any_day),
    Rule("0 */2 * * *", range(0, 24, 2), [0], any_day),
    Rule("30 */3 * * *", range(0, 24, 3), [30], any_day),
    Rule("5 * * * SUN", EVERY_HOUR, [5], weekdays(SUN)),
    Rule("*/30 * 1 * *", EVERY_HOUR, [0, 30], days_of_month(1)),
    Rule("* 0 2-8 10,11 *", [0], EVERY_MINUTE, in_months([10, 11], days_of_month(*range(2, 9)))),
    Rule("*/10 2 * * SUN#2", [2], range(0, 60, 10), nth_weekday(SUN, 2)),
    Rule("*/10 2 * * 0L", [2], range(0, 60, 10), last_weekday(SUN)),
    Rule("*/7 23 L * *", [23], range(0, 60, 7), last_day),
    Rule("15/15 * * * *", EVERY_HOUR, [15, 30, 45], any_day),
    Rule("0 0 * * * *", EVERY_HOUR, [0], any_day),
    Rule("* * * * * *", EVERY_HOUR, EVERY_MINUTE, any_day, EVERY_SECOND),
    Rule("*/10 */2 * * * SAT,SUN", EVERY_HOUR, range(0, 60, 2), weekdays(SAT, SUN), range(0, 60, 10)),
    Rule("30 */7 1,2 * * *", [1, 2], range(0, 60, 7), any_day, [30]),
    Rule("* 30 2 * * *", [2], [30], any_day, EVERY_SECOND),
    Rule("*/15 0 0 * * *", [0], [0], any_day, [0, 15, 30, 45]),
    # They name their times of day.
    Rule("30 2 * * *", [2], [30], any_day),
    Rule("0 2 * * *", [2], [0], any_day),
    Rule("0 3 * * *", [3], [0], any_day),
    Rule("0,30 1-3 * * *", [1, 2, 3], [0, 30], any_day),
    Rule("59 1 * * *", [1], [59], any_day),
    Rule("1 0 * * *", [0], [1], any_day),
    Rule("0 0 * * *", [0], [0], any_day),
    Rule("45 23 * * *", [23], [45], any_day),
    Rule("0-59 0-23 * * *", EVERY_HOUR, EVERY_MINUTE, any_day),
    Rule("15 0,12 * * MON-FRI", [0, 12], [15], WORKING_DAYS),
    Rule("30 2 * * 7", [2], [30], weekdays(SUN)),
    Rule("30 2 * 3 SUN#2", [2], [30], in_months([3], nth_weekday(SUN, 2))),
    Rule("30 1,2 * MAR,OCT,NOV sun", [1, 2], [30], in_months([3, 10, 11], weekdays(SUN))),
    Rule("0 1 1,15 * *", [1], [0], days_of_month(1, 15)),
    Rule("0 1 13 * FRI", [1], [0], either(days_of_month(13), weekdays(FRI))),
    Rule("0 2 */2 * SUN", [2], [0], both(days_of_month(*range(1, 32, 2)), weekdays(SUN))),
    Rule("0 0 1-7 * */7", [0], [0], both(days_of_month(*range(1, 8)), weekdays(SUN))),
    Rule("30 0 1-7 * MON", [0], [30], either(days_of_month(*range(1, 8)), weekdays(MON))),
    Rule("30 1 L * *", [1], [30], last_day),
    Rule("30 1 LW * *", [1], [30], last_working_day),
    Rule("0 2 * * 5L,SUN", [2], [0], either(last_weekday(FRI), weekdays(SUN))),
    Rule("10-50/20 1-2 * JAN-JUN,OCT *", [1, 2], [10, 30, 50], in_months([1, 2, 3, 4, 5, 6, 10])),
    Rule("0 0 30 12 *", [0], [0], in_months([12], days_of_month(30))),
    Rule("30 30 2 * * *", [2], [30], any_day, [30]),
    Rule("0,20,40 59 1,23 * * *", [1, 23], [59], any_day, [0, 20, 40]),
    Rule("0 0 9 * * 1-5", [9], [0], WORKING_DAYS),
]
