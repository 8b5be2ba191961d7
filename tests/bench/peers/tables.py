"""The tables of a run beside the peers, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.markdown import cell, markdown
from bench.report import machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.peers.registry import Peer
    from bench.report import Series

PLACE = "peers"
"""The marker of the tables in a document."""

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


def results(all_series: Iterable[Series], titles: dict[str, str]) -> list[list[str]]:
    """A header and a row for each title; a cell is the median, with the minimum and maximum of several rounds."""
    figures = {(one.engine, one.scenario): one.values for one in all_series}
    rows = [["", *COLUMNS]]
    for name, title in titles.items():
        cells = [figures.get((name, scenario), {}).get(figure, []) for scenario, figure in COLUMNS.values()]
        rows.append([title, *map(cell, cells)])
    return rows


def settings(peers: Iterable[Peer], events: dict[str, str]) -> list[list[str]]:
    """A header and a row for each peer: its versions, how many events it was given, and its settings."""
    rows = [["peer", "versions", "events", "settings"]]
    for peer in peers:
        versions = ", ".join(f"{name} {version}" for name, version in peer.versions().items())
        rows.append([peer.title, versions, events[peer.name], peer.settings])
    return rows


def document(results_rows: list[list[str]], settings_rows: list[list[str]], left_out: dict[str, str]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    parts = [f"Measured on: {facts}.", markdown(results_rows), markdown(settings_rows)]
    if left_out:
        parts.append("\n".join(["Not measured:", "", *(f"- {title}: {reason}" for title, reason in left_out.items())]))
    return "\n\n".join(parts)
