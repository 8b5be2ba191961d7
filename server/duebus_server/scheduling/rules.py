"""The nominal times of a rule, in integer microseconds since the Unix epoch.

When the clocks change, a cron with a wildcard in its second, minute or hour follows real time: it fires whenever the
local time matches. Any other has fixed times, each of which fires once: the first time if it comes twice, and right
after the gap if the clocks skip it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from duebus_server.domain.clock import DAY, MINUTE, SECOND
from duebus_server.scheduling.zones import DAY_S, EPOCH
from duebus_server.scheduling.zones import SECOND as ONE_SECOND

if TYPE_CHECKING:
    from duebus_server.scheduling.cron import Cron
    from duebus_server.scheduling.zones import Zone

LAST_US = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * SECOND
"""Nothing fires later. Until 2255, microseconds are exact as a double, which is what Redis keeps."""


class Times(Protocol):
    """Nominal times without a beginning or an end."""

    def next_after(self, us: int) -> int | None:
        """The first one after a moment; None if there is none."""

    def count(self, after_us: int, until_us: int) -> int:
        """How many there are after a moment, and until another, included."""


@dataclass(frozen=True, slots=True)
class Every:
    """Every ``every_us``, counted from ``anchor_us``."""

    every_us: int
    anchor_us: int = 0

    def next_after(self, us: int) -> int | None:
        """See ``Times``."""
        return self.anchor_us + ((us - self.anchor_us) // self.every_us + 1) * self.every_us

    def count(self, after_us: int, until_us: int) -> int:
        """See ``Times``."""
        return (until_us - self.anchor_us) // self.every_us - (after_us - self.anchor_us) // self.every_us


@dataclass(frozen=True, slots=True)
class CronIn:
    """The local times of a cron in a time zone."""

    cron: Cron
    zone: Zone

    @lru_cache(maxsize=10_000)  # noqa: B019  # crons and zones are kept anyway
    def next_after(self, us: int) -> int | None:
        """See ``Times``. Cached: a firing needs each time repeatedly, and many schedules have the same rule."""
        at = us // SECOND
        found = self._next_in_real_time(at) if self.cron.is_wildcard else self._next_fixed(at)
        return None if found is None else found * SECOND

    def _next_in_real_time(self, at: int) -> int | None:
        """The first instant after ``at`` whose local time matches."""
        local, offset = self.zone.local(at), self.zone.offset(at)
        while True:
            match = self.cron.next_after(local)
            if match is None:
                return None
            found = _seconds(match) - offset
            change = self.zone.next_change(at, found)
            if change is None:
                return found
            at, offset = change, self.zone.offset(change)
            local = _local(change - 1 + offset)  # the change itself may match

    def _next_fixed(self, at: int) -> int | None:
        """The first instant after ``at`` of those that each matching local time has once."""
        local: datetime | None = self.zone.local(at)
        while local is not None:
            local = self.cron.next_after(local)
            if local is not None and (found := self.zone.first_instant(local)) > at:
                return found
        return None

    def count(self, after_us: int, until_us: int) -> int:
        """See ``Times``. Calculated; only fixed times are counted one by one within a day of a change of the clocks."""
        at, until = after_us // SECOND, until_us // SECOND
        margin = 0 if self.cron.is_wildcard else DAY_S
        total = 0
        while at < until:
            change = self.zone.next_change(at + 1 - margin, until + margin)
            if change is None or at < change - 1 - margin:
                end = until if change is None else min(until, change - 1 - margin)
                offset = self.zone.offset(end)
                total += self.cron.count(_local(at + 1 + offset), _local(end + 1 + offset))
            else:
                end = min(until, change + margin)
                total += self._count_one_by_one(at, end)
            at = end
        return total

    def _count_one_by_one(self, at: int, until: int) -> int:
        total = 0
        found = self.next_after(at * SECOND)
        while found is not None and found <= until * SECOND:
            total += 1
            found = self.next_after(found)
        return total


@dataclass(frozen=True, slots=True)
class Rule:
    """The nominal times of a schedule.

    Attributes:
        times: without a beginning or an end.
        start_us: none is before this.
        end_us: none is after this.
    """

    times: Times
    start_us: int = 0
    end_us: int = LAST_US

    def next_after(self, us: int) -> int | None:
        """The first nominal time after a moment; None if there is none."""
        if us >= self.end_us:  # the calendar ends, too
            return None
        found = self.times.next_after(max(us, self.start_us - 1))
        return found if found is not None and found <= self.end_us else None

    def count(self, after_us: int, until_us: int) -> int:
        """How many nominal times there are after a moment, and until another, included."""
        after_us, until_us = max(after_us, self.start_us - 1), min(until_us, self.end_us)
        return self.times.count(after_us, until_us) if after_us < until_us else 0

    def last_until(self, us: int, most: int = 1, span_us: int = 366 * DAY) -> int | None:
        """The first of the last ``most`` nominal times until a moment, included, that are less than ``span_us`` before
        it; None if there is none.
        """
        span_s = min(MINUTE, span_us) // SECOND
        while self.count(us - span_s * SECOND, us) < most and span_s < span_us // SECOND:
            span_s = min(4 * span_s, span_us // SECOND)
        # The longer ago, the more there are: find the first moment after which there are no more than ``most``.
        begin_us = us - span_s * SECOND
        index = bisect_left(range(span_s), True, key=lambda number: self.count(begin_us + number * SECOND, us) <= most)
        found = self.next_after(begin_us + index * SECOND)
        return found if found is not None and found <= us else None


def _local(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def _seconds(local: datetime) -> int:
    return (local - EPOCH) // ONE_SECOND
