"""When rules fire, found by looking at every second (or minute) of UTC, one after another.

It shares no code with the server: a rule is what ``rules.py`` says that it means, and the offsets are those that
``zoneinfo`` gives for moments of UTC, with the rules of the package ``tzdata``.

- A rule that follows real time fires whenever the local clock shows one of its times.
- A rule that names its times of day fires when the local clock first shows, or has just skipped, some of them.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .rules import Rule

HOUR_S, DAY_S = 3_600, 86_400
EPOCH_DAY = date(1970, 1, 1).toordinal()

LOOKED_EVERY_S = 7 * DAY_S
"""No zone has left an offset and returned to it within a week since 2000."""


@dataclass(frozen=True)
class Change:
    """From ``at`` on, in seconds since the Unix epoch, local time is UTC plus ``after`` seconds; until then, plus
    ``before``.
    """

    at: int
    before: int
    after: int


def zone_names() -> list[str]:
    """All zones."""
    return (files("tzdata") / "zones").read_text().split()


@cache
def zone_of(name: str) -> ZoneInfo:
    """A zone, whatever the host says about it."""
    with (files("tzdata") / "zoneinfo" / name).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def start_of(year: int) -> int:
    """In seconds since the Unix epoch."""
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp())


def offset_at(zone: ZoneInfo, moment: int) -> int:
    """How many seconds local time is ahead of UTC."""
    offset = datetime.fromtimestamp(moment, zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())


@cache
def changes_of(name: str, first_year: int, end_year: int) -> Sequence[Change]:
    """The changes of a zone's offset, which is looked at every week. Where it differs, bisection finds the moment."""
    zone, found = zone_of(name), []
    moment, offset = start_of(first_year), offset_at(zone, start_of(first_year))
    while moment < start_of(end_year):
        later = moment + LOOKED_EVERY_S
        if offset_at(zone, later) != offset:
            later = _end_of_offset(zone, moment, later, offset)
            found.append(Change(later, offset, offset_at(zone, later)))
            offset = found[-1].after
        moment = later
    return found


def _end_of_offset(zone: ZoneInfo, moment: int, later: int, offset: int) -> int:
    while later - moment > 1:
        middle = (moment + later) // 2
        if offset_at(zone, middle) == offset:
            moment = middle
        else:
            later = middle
    return later


class Oracle:
    """Steps through time for many rules at once: a set of rules is a number with one bit for each."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._fixed = _set_of(rule.is_fixed for rule in rules)
        self._at_second_of_day = [0] * DAY_S
        for i, rule in enumerate(rules):
            for hour in rule.hours:
                for minute in rule.minutes:
                    for second in rule.seconds:
                        self._at_second_of_day[hour * 3600 + minute * 60 + second] |= 1 << i
        self._on_days: dict[int, int] = {}

    def times(self, changes: Sequence[Change], start: int, end: int, *, step: int = 1) -> list[list[int]]:
        """When each rule fires, from ``start`` until before ``end``, in seconds since the Unix epoch.

        Args:
            changes: all of the zone around these times, at least one.
            start: two days later than what the local clock showed before matters.
            end: as start.
            step: in seconds; 60 for rules that fire at full minutes only.
        """
        found: list[list[int]] = [[] for _ in self._rules]
        # The latest time that the local clock has shown so far.
        shown = max(moment + offset for moment, offset in _clock(changes, start - 2 * DAY_S, start, 60)) + 60 - step
        for moment, offset in _clock(changes, start, end, step):
            local = moment + offset
            firing = self._at(local) & ~self._fixed
            if local > shown:
                for reached in range(shown + step, local + step, step):
                    firing |= self._at(reached) & self._fixed
                shown = local
            while firing:
                lowest = firing & -firing
                found[lowest.bit_length() - 1].append(moment)
                firing ^= lowest
        return found

    def _at(self, local: int) -> int:
        """The rules that have this local time, in seconds since local midnight of 1970-01-01."""
        rules = self._at_second_of_day[local % DAY_S]
        return rules and rules & self._on_day(local // DAY_S)

    def _on_day(self, number: int) -> int:
        rules = self._on_days.get(number)
        if rules is None:
            day = date.fromordinal(EPOCH_DAY + number)
            rules = self._on_days[number] = _set_of(rule.day(day) for rule in self._rules)
        return rules


def _set_of(members: Iterable[bool]) -> int:
    return sum(1 << i for i, is_member in enumerate(members) if is_member)


def _clock(changes: Sequence[Change], start: int, end: int, step: int) -> Iterator[tuple[int, int]]:
    """Each moment from ``start`` until before ``end``, with the zone's offset then."""
    moments = [change.at for change in changes]
    first = bisect_right(moments, start)
    offset = changes[first - 1].after if first else changes[0].before
    coming = list(reversed(changes[first:]))
    for moment in range(start, end, step):
        if coming and coming[-1].at <= moment:
            offset = coming.pop().after
        yield moment, offset
