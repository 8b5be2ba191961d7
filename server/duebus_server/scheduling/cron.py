"""Cron texts. ``cronsim`` reads them and finds local times; changes of the clocks are in ``rules``."""

from __future__ import annotations

import re
from bisect import bisect_left
from datetime import date, datetime, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.limits import check_length
from duebus_server.scheduling.zones import EPOCH

MAX_TEXT_BYTES = 255

FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
WILDCARD_FIELDS = 3
"""The first ones, in which ``*`` makes the rule follow real time."""


_DAYS_AFTER_TIME = re.compile(r"^(at [\d:]+) on (?=[A-Z])")


class Cron:
    """The local times that a cron text names, as datetimes without a zone.

    Attributes:
        is_wildcard: its second, minute or hour begins with ``*``, so it follows real time when the clocks change.

    Args:
        text: five or six fields.

    Raises:
        InvalidArgument: the text can't be read, or no day matches it.
    """

    def __init__(self, text: str) -> None:
        check_length("cron", len(text.encode()), MAX_TEXT_BYTES)
        try:
            self._sim = CronSim(text, EPOCH)
        except CronSimError as error:
            raise InvalidArgument("cron", _what_is_wrong(text, str(error))) from None
        self.is_wildcard = any(part.startswith("*") for part in self._sim.parts[:WILDCARD_FIELDS])
        self._hours, self._minutes, self._seconds = map(sorted, (self._sim.hours, self._sim.minutes, self._sim.seconds))
        if self.next_after(EPOCH) is None:
            raise InvalidArgument("cron", f"never fires: no day matches {text!r}")

    def next_after(self, local: datetime) -> datetime | None:
        """The first of its local times after this one; None if there is none in 50 years."""
        self._sim.dt = local.replace(microsecond=0)
        return next(self._sim, None)

    def count(self, first: datetime, end: datetime) -> int:
        """How many of its local times there are from ``first`` on, and before ``end``."""
        day, last = first.date(), end.date()
        total = -self._before(first) if self._matches(day) else 0
        while day < last:
            if self._matches(day):
                total += len(self._hours) * len(self._minutes) * len(self._seconds)
            day += timedelta(days=1)
        return total + (self._before(end) if self._matches(last) else 0)

    def words(self) -> str:
        """The text in English, such as "at 09:00, Monday to Friday"."""
        text = self._sim.explain()
        text = _DAYS_AFTER_TIME.sub(r"\1, ", text[0].lower() + text[1:])
        return text.replace(" through ", " to ")

    def _matches(self, day: date) -> bool:
        return day.month in self._sim.months and self._sim.match_day(day)

    def _before(self, local: datetime) -> int:
        """How many of its times of day are before this one."""
        hours, minutes, seconds = self._hours, self._minutes, self._seconds
        found = bisect_left(hours, local.hour) * len(minutes) * len(seconds)
        if local.hour in hours:
            found += bisect_left(minutes, local.minute) * len(seconds)
            if local.minute in minutes:
                found += bisect_left(seconds, local.second)
        return found


def _what_is_wrong(text: str, error: str) -> str:
    """Which field of a text can't be read."""
    parts = text.split()
    named = error.removeprefix("Bad ")
    if named not in FIELDS or len(parts) not in (5, 6):
        return f"must have five fields, or six with the second in front: {text!r}"
    index = FIELDS.index(named) - (len(parts) == len(FIELDS) - 1)
    return f"the {named} (field {index + 1}) can't be read, or never comes: {parts[index]!r}"


@lru_cache(maxsize=1_024)
def cron(text: str) -> Cron:
    """The cron of a text.

    Raises:
        InvalidArgument: as Cron.
    """
    return Cron(text)
