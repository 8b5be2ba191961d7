"""The tables of a run in Markdown, and the place in a document that they fill."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.report import machine, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bench.peers.registry import Peer
    from bench.report import Series

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"

COLUMNS = {
    "end to end, events/s": ("end-to-end", "events_per_s"),
    "drain, events/s": ("drain", "events_per_s"),
    "64 callers, events/s": ("single dispatch", "events_per_s"),
    "instant p50, ms": ("latency", "p50_ms"),
    "instant p99, ms": ("latency", "p99_ms"),
    "late p50, ms": ("lateness", "p50_ms"),
    "late p99, ms": ("lateness", "p99_ms"),
}
"""Each column's scenario and figure."""

NOTHING = "-"


def results(all_series: Iterable[Series], titles: dict[str, str]) -> list[list[str]]:
    """A header and a row for each title; a cell is the median, with the least and the greatest of several rounds."""
    figures = {(one.engine, one.scenario): one.values for one in all_series}
    rows = [["", *COLUMNS]]
    for name, title in titles.items():
        cells = [figures.get((name, scenario), {}).get(figure, []) for scenario, figure in COLUMNS.values()]
        rows.append([title, *map(cell, cells)])
    return rows


def cell(values: Sequence[float]) -> str:
    """The median, and in brackets the least and the greatest."""
    if not values:
        return NOTHING
    middle = readable(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({readable(min(values))} to {readable(max(values))})"


def settings(peers: Iterable[Peer], events: dict[str, str]) -> list[list[str]]:
    """A header and a row for each peer: its versions, how many events it was given, and its settings."""
    rows = [["peer", "versions", "events", "settings"]]
    for peer in peers:
        versions = ", ".join(f"{name} {version}" for name, version in peer.versions().items())
        rows.append([peer.title, versions, events[peer.name], peer.settings])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but texts are set to the right."""
    header, *rest = rows
    numbers = header[0] == ""
    rule = ["---", *["---:" if numbers else "---" for _ in header[1:]]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rest])


def document(results_rows: list[list[str]], settings_rows: list[list[str]], left_out: dict[str, str]) -> str:
    """All that a run has to say."""
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    parts = [f"Measured on: {facts}.", markdown(results_rows), markdown(settings_rows)]
    if left_out:
        parts.append("\n".join(["Not measured:", "", *(f"- {title}: {reason}" for title, reason in left_out.items())]))
    return "\n\n".join(parts)


def fill(path: Path, text: str) -> None:
    """Put a text between the markers of a document.

    Raises:
        ValueError: the document has no such place.
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no place for the tables: '{BEGIN}' and below it '{END}'")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
