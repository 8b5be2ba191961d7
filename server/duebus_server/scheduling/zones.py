"""Time zones, and when their clocks change.

All zones come from the package ``tzdata``, never from the host, so every replica of one version has the same rules.
Instants and offsets are whole seconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

DAY_S = 86_400

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # local times have no zone
SECOND = timedelta(seconds=1)


class Zone:
    """A time zone.

    Args:
        info: its rules.
    """

    def __init__(self, info: ZoneInfo) -> None:
        self._info = info
        # The instants of each year at which the offset changes.
        self._changes: dict[int, list[int]] = {}

    def offset(self, at: int) -> int:
        """How far local time is ahead of UTC at an instant."""
        offset = datetime.fromtimestamp(at, self._info).utcoffset()
        return offset // SECOND if offset is not None else 0

    def local(self, at: int) -> datetime:
        """The local time of an instant."""
        return datetime.fromtimestamp(at, self._info).replace(tzinfo=None, fold=0)

    def first_instant(self, local: datetime) -> int:
        """The first instant of this local time, or if the clocks skip it, the instant at which they do."""
        at = int(local.replace(tzinfo=self._info, fold=0).timestamp())
        if self.local(at) == local:
            return at
        changes = self._changes_around(at)
        return changes[bisect_right(changes, at) - 1]

    def next_change(self, after: int, until: int) -> int | None:
        """The first instant after ``after``, up to ``until``, at which the offset changes; None if there is none."""
        for year in range(_year(after), _year(until) + 1):
            changes = self._changes_of(year)
            index = bisect_right(changes, after)
            if index < len(changes):
                return changes[index] if changes[index] <= until else None
        return None

    def _changes_around(self, at: int) -> list[int]:
        """The changes of the year of an instant, and of the year before."""
        year = _year(at)
        return self._changes_of(year - 1) + self._changes_of(year)

    def _changes_of(self, year: int) -> list[int]:
        found = self._changes.get(year)
        if found is None:
            days = range(_first_of(year) - 1, _first_of(year + 1) - 1, DAY_S)
            found = self._changes[year] = [self._change(day) for day in days if self._changes_after(day)]
        return found

    def _changes_after(self, at: int) -> bool:
        """Whether the offset changes within a day. No zone has changed twice in a day."""
        return self.offset(at) != self.offset(at + DAY_S)

    def _change(self, at: int) -> int:
        """When, within a day."""
        before = self.offset(at)
        return bisect_left(range(at, at + DAY_S), 1, key=lambda instant: self.offset(instant) != before) + at


def _year(at: int) -> int:
    return datetime.fromtimestamp(at, UTC).year


def _first_of(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


class NoTimeZonesError(Exception):
    """The package ``tzdata`` is missing or damaged, so no schedule can have its times."""


@cache
def zone_names() -> frozenset[str]:
    """The names of all zones.

    Raises:
        NoTimeZonesError: there are none.
    """
    try:
        return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())
    except (ImportError, OSError) as error:
        raise NoTimeZonesError(f"no time zones: the Python package tzdata can't be read: {error}") from None


@cache
def zone(name: str) -> Zone:
    """The zone of this name; empty is UTC.

    Raises:
        KeyError: there is none.
    """
    name = name or "UTC"
    if name not in zone_names():
        raise KeyError(name)
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return Zone(ZoneInfo.from_file(rules, name))
