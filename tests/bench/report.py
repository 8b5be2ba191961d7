"""Reports the results: a table for the terminal, a JSON file, and plots."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bench.scenarios import Figures
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PACKAGES = ("grpcio", "protobuf", "redis", "hiredis")


@dataclass
class Series:
    """The figures of one scenario on one engine, with a value for each round."""

    scenario: str
    engine: str
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, figures: Figures) -> None:
        """One more round."""
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value)


def machine() -> dict[str, str]:
    """The machine and the versions that were measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def rows(all_series: Iterable[Series]) -> list[list[str]]:
    """A header, and a row for each figure: the median, minimum and maximum of the rounds."""
    made = [["scenario", "engine", "figure", "median", "min", "max"]]
    for series in all_series:
        for name, values in series.values.items():
            figures = (statistics.median(values), min(values), max(values))
            made.append([series.scenario, series.engine, name, *map(readable, figures)])
    return made


def table(all_series: Iterable[Series]) -> Table:
    """The rows for a terminal."""
    header, *rest = rows(all_series)
    made = Table(*header)
    for row in rest:
        made.add_row(*row)
    return made


def readable(value: float) -> str:
    """At least three digits, and no more than are meaningful."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # three digits


def write_json(path: Path, all_series: Sequence[Series]) -> None:
    """Everything that was measured, round by round."""
    measured = [{"scenario": one.scenario, "engine": one.engine, "figures": one.values} for one in all_series]
    path.write_text(json.dumps({"machine": machine(), "measured": measured}, indent=2) + "\n")


def plot_latency(path: Path, all_series: Sequence[Series]) -> None:
    """The median and the 99th percentile of the timed scenarios, side by side."""
    timed = [one for one in all_series if "p99_ms" in one.values]
    if not timed:
        return
    figure, axes = _plot(height=0.5 * len(timed) + 1.5)
    indexes = range(len(timed))
    for offset, name in ((-0.2, "p50_ms"), (0.2, "p99_ms")):
        medians = [statistics.median(one.values[name]) for one in timed]
        axes.barh([index + offset for index in indexes], medians, 0.38, label=name.removesuffix("_ms"))
    axes.set_yticks(list(indexes), [f"{one.scenario}, {one.engine}" for one in timed])
    axes.set_xlabel("milliseconds")
    axes.legend()
    figure.savefig(path)


def plot_backlog(path: Path, points: dict[str, dict[int, float]]) -> None:
    """Throughput over the number of events that wait in the same topic, with a line for each engine."""
    if not points:
        return
    figure, axes = _plot(height=4)
    for engine, by_backlog in points.items():
        axes.plot(list(by_backlog), list(by_backlog.values()), marker="o", label=engine)
    axes.set_xscale("symlog")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("events scheduled in the same topic")
    axes.set_ylabel("end to end, events a second")
    axes.legend()
    figure.savefig(path)


def _plot(height: float) -> tuple[Figure, Axes]:
    """An empty plot; its height is in inches."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # slow to load, and not needed by who only runs scenarios

    figure = Figure(figsize=(8, height), layout="constrained")
    return figure, figure.subplots()
