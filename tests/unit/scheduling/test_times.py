"""The times of rules against an oracle that steps through UTC. ``make schedules`` compares at length."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from unit.scheduling import comparison
from unit.scheduling.oracle import HOUR_S, Oracle, changes_of
from unit.scheduling.rules import RULES

if TYPE_CHECKING:
    from unit.scheduling.comparison import Place

ZONES = (
    "Africa/Casablanca", "America/Caracas", "America/Havana", "America/New_York", "America/Sao_Paulo",
    "America/St_Johns", "Antarctica/Casey", "Antarctica/Troll", "Asia/Gaza", "Asia/Kathmandu", "Asia/Pyongyang",
    "Asia/Tehran", "Australia/Lord_Howe", "Europe/Berlin", "Pacific/Apia", "Pacific/Chatham",
)  # fmt: skip
"""Zones that change their clocks by other amounts, or at other times of day, than most."""

PLACES = comparison.distinct_shapes(comparison.distinct_places(ZONES))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.zone} {datetime.fromtimestamp(place.at, UTC):%F}")
def test_rules_fire_when_stepping_through_utc_says_so(place: Place) -> None:
    found = comparison.compare_around(place, reach_s=4 * HOUR_S)

    assert found.differences == ()
    assert found.times > 1_000


# New York skips 02:00 to 03:00 on 10 March 2024, and has 01:00 to 02:00 twice on 3 November.
SKIPPED = [["07:00"], ["06:00", "06:20", "06:40", "07:00", "07:20", "07:40"], ["06:59"]]
TWICE = [
    ["07:30"],
    ["05:00", "05:20", "05:40", "06:00", "06:20", "06:40", "07:00", "07:20", "07:40", "08:00", "08:20", "08:40"],
    ["05:59"],
]


@pytest.mark.parametrize(("when", "expected"), [("2024-03-10T07:00Z", SKIPPED), ("2024-11-03T06:00Z", TWICE)])
def test_the_oracle_finds_what_the_contract_says(when: str, expected: list[list[str]]) -> None:
    rules = [rule for text in ("30 2 * * *", "*/20 1-3 * * *", "59 1 * * *") for rule in RULES if rule.text == text]
    at = int(datetime.fromisoformat(when).timestamp())

    found = Oracle(rules).times(changes_of("America/New_York", 2024, 2025), at - 2 * HOUR_S, at + 3 * HOUR_S)

    assert [[datetime.fromtimestamp(moment, UTC).strftime("%R") for moment in times] for times in found] == expected
