"""Intervals (began, ended) in microseconds in which something did not work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Interval = tuple[int, int]


def merged(intervals: Iterable[Interval], gap: int = 0) -> list[Interval]:
    """Sorts them and merges those that overlap or have a shorter gap between them."""
    found: list[Interval] = []
    for began, ended in sorted(intervals):
        if found and began - found[-1][1] <= gap:
            found[-1] = (found[-1][0], max(found[-1][1], ended))
        else:
            found.append((began, ended))
    return found


def overlap(of_merged: Sequence[Interval], began: int, ended: int) -> int:
    """How much of the time from `began` to `ended` is in the intervals."""
    return sum(max(0, min(ended, last) - max(began, first)) for first, last in of_merged)
