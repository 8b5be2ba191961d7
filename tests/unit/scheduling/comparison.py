"""Compares the times that the server calculates with those that the oracle finds.

``python -m unit.scheduling.comparison`` does so around every change of the clocks of every zone from 2000 until 2040,
and for a year of ten zones, on all processors.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left, bisect_right
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from os import cpu_count
from typing import TYPE_CHECKING

from duebus_server.scheduling.cron import cron
from duebus_server.scheduling.rules import CronIn
from duebus_server.scheduling.zones import zone as server_zone
from unit.scheduling.oracle import DAY_S, HOUR_S, Change, Oracle, changes_of, offset_at, start_of, zone_names, zone_of
from unit.scheduling.rules import RULES, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FIRST_YEAR, END_YEAR = 2000, 2041
SECOND_US = 1_000_000

NEAR_S = 4 * DAY_S
"""Changes that are nearer than this to another are distinct from those that are not."""

YEAR, YEAR_ZONES = 2024, (
    "America/Havana", "America/New_York", "America/Sao_Paulo", "America/St_Johns", "Africa/Casablanca",
    "Asia/Kathmandu", "Asia/Tehran", "Australia/Lord_Howe", "Europe/Berlin", "Pacific/Apia",
)  # fmt: skip
BY_MINUTE = [rule for rule in RULES if tuple(rule.seconds) == (0,)]


@dataclass(frozen=True)
class Place:
    """Where the clocks change, and all changes near it.

    Attributes:
        zone: one that has it.
        changes: those near it, itself included.
    """

    zone: str
    at: int
    changes: tuple[Change, ...]


def distinct_places(zones: Iterable[str]) -> list[Place]:
    """The changes of these zones. Those from and to the same offsets, on the same day of the year and of the week, at
    the same time of day and with the same other changes near them, come once.
    """
    found: dict[object, Place] = {}
    for name in sorted(zones):
        changes = changes_of(name, FIRST_YEAR - 1, END_YEAR)
        for change in changes:
            near = tuple(other for other in changes if abs(other.at - change.at) < NEAR_S)
            local = datetime.fromtimestamp(change.at + change.before, UTC)
            others = tuple((other.at - change.at, other.before, other.after) for other in near)
            if start_of(FIRST_YEAR) <= change.at:
                found.setdefault((f"{local:%m-%d %A %T}", others), Place(name, change.at, near))
    return list(found.values())


def distinct_shapes(places: Iterable[Place]) -> list[Place]:
    """One place of each size of change and local time of day, the most recent one."""
    found: dict[object, Place] = {}
    for place in sorted(places, key=lambda place: place.at):
        change = next(change for change in place.changes if change.at == place.at)
        found[change.after - change.before, (place.at + change.before) % DAY_S] = place
    return list(found.values())


@dataclass
class Findings:
    """What a comparison has compared, and the differences in words."""

    times: int = 0
    differences: tuple[str, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.times + other.times, self.differences + other.differences)


@cache
def oracle_of(by_minute: bool) -> Oracle:
    return Oracle(BY_MINUTE if by_minute else RULES)


def compare_around(place: Place, reach_s: int = DAY_S) -> Findings:
    """Compare all rules from ``reach_s`` before the clocks change until as long after, second by second."""
    start, end = place.at - reach_s, place.at + reach_s
    expected = oracle_of(by_minute=False).times(place.changes, start, end)
    found = Findings()
    for rule, all_times in zip(RULES, expected, strict=True):
        # Of a fast rule there are too many times.
        first, last = (place.at - HOUR_S, place.at + HOUR_S) if rule.is_fast else (start, end)
        times = all_times[bisect_left(all_times, first) : bisect_left(all_times, last)]
        found += compare(rule, place.zone, times, first, last)
        found += _compare_single(rule, place.zone, times, first, last, place.at)
    return found


def compare_year(zone: str) -> Findings:
    """Compare the rules that fire at full minutes for a year of a zone, minute by minute."""
    changes = _changes_around_year(zone)
    start, end = start_of(YEAR), start_of(YEAR + 1)
    expected = oracle_of(by_minute=True).times(changes, start, end, step=60)
    found = Findings()
    for rule, times in zip(BY_MINUTE, expected, strict=True):
        found += compare(rule, zone, times, start, end)
    return found


def _changes_around_year(zone: str) -> Sequence[Change]:
    offset = offset_at(zone_of(zone), start_of(YEAR - 1))
    return [Change(start_of(YEAR - 1), offset, offset), *changes_of(zone, YEAR - 1, YEAR + 2)]


def compare(rule: Rule, zone: str, expected: Sequence[int], start: int, end: int) -> Findings:
    """Compare all times of a rule from ``start`` until before ``end``."""
    calculated = list(_calculated(rule, zone, start, end))
    if calculated == expected:
        return Findings(len(expected))
    missing, added = sorted(set(expected) - set(calculated)), sorted(set(calculated) - set(expected))
    text = f"{rule.text!r} in {zone}: not calculated {_shown(missing, zone)}; wrong {_shown(added, zone)}"
    return Findings(len(expected), (text,))


def _server_rule(text: str, zone: str) -> CronIn:
    return CronIn(cron(text), server_zone(zone))


def _calculated(rule: Rule, zone: str, start: int, end: int) -> Iterator[int]:
    server_rule = _server_rule(rule.text, zone)
    at_us = server_rule.next_after((start - 1) * SECOND_US)
    while at_us is not None and at_us < end * SECOND_US:
        yield at_us // SECOND_US
        at_us = server_rule.next_after(at_us)


def _compare_single(rule: Rule, zone: str, expected: Sequence[int], start: int, end: int, at: int) -> Findings:
    """Compare the times that follow some moments around ``at``, however these came about."""
    server_rule = _server_rule(rule.text, zone)
    found = Findings()
    for moment in (at + hours * HOUR_S // 4 + seconds for hours in range(-5, 6) for seconds in (-1, 0, 1)):
        index = bisect_right(expected, moment)
        if start <= moment < end and index < len(expected):
            next_us = server_rule.next_after(moment * SECOND_US)
            found.times += 1
            if next_us != expected[index] * SECOND_US:
                after = _shown([moment], zone)
                found.differences += (
                    f"{rule.text!r} in {zone} after {after}: {_shown([(next_us or 0) // SECOND_US], zone)}",
                )
    return found


def _shown(times: Sequence[int], zone: str) -> str:
    texts = [datetime.fromtimestamp(moment, zone_of(zone)).isoformat() for moment in times[:3]]
    return ", ".join(texts) + (f" and {len(times) - 3} more" if len(times) > 3 else "") or "none"


def main() -> int:
    """Compare everything, and print what was found. Returns 1 if there was a difference."""
    began = time.monotonic()
    zones = zone_names()
    places = distinct_places(zones)
    with ProcessPoolExecutor(cpu_count()) as pool:
        around = sum(pool.map(compare_around, places, chunksize=20), Findings())
        year = sum(pool.map(compare_year, YEAR_ZONES), Findings())
    differences = around.differences + year.differences
    lines = [
        f"{len(zones)} zones, {len(RULES)} rules",
        f"{len(places)} distinct changes of the clocks from {FIRST_YEAR} until {END_YEAR - 1}: {around.times:,} times",
        f"{YEAR} in {len(YEAR_ZONES)} zones: {year.times:,} times",
        f"{len(differences)} differences, {time.monotonic() - began:.0f} s",
        *differences[:50],
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
