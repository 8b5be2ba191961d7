"""``make bench``: every scenario on both engines, several rounds in turn.

    .venv/bin/python -m bench --rounds 3 --only end-to-end drain

Prints the median, minimum and maximum, and writes ``bench.json``, ``latency.svg`` and ``backlog.svg``.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from bench import report, targets
from bench.markdown import fill, markdown
from bench.report import Series
from bench.scenarios import FULL, QUICK, SCENARIOS, Size, end_to_end
from rich.console import Console

ENGINES = ("local", "redis")
console = Console()


def measure(names: list[str], engines: list[str], rounds: int, size: Size) -> list[Series]:
    """Rounds over all scenarios and engines, so that a slow spell of the machine affects all of them."""
    all_series = {(name, engine): Series(name, engine) for name in names for engine in engines}
    for number in range(rounds):
        for (name, engine), series in all_series.items():
            console.print(f"round {number + 1} of {rounds}: {name}, {engine}", style="dim")
            series.add(SCENARIOS[name](engine, size))
    return [series for series in all_series.values() if series.values]


def over_backlog(engines: list[str], size: Size) -> dict[str, dict[int, float]]:
    """Throughput with more and more events scheduled in the same topic; the median of three."""
    points: dict[str, dict[int, float]] = {engine: {} for engine in engines}
    for waiting in (0, size.waiting // 100, size.waiting // 10, size.waiting):
        for engine in engines:
            console.print(f"over the backlog: {waiting:,}, {engine}", style="dim")
            runs = [end_to_end(engine, replace(size, events=size.events // 2), waiting) for _ in range(3)]
            points[engine][waiting] = statistics.median(run["events_per_s"] for run in runs)
    return points


def write_tables(document: Path, measured: list[Series]) -> None:
    """Put the targets, the results and all figures between the markers of a document."""
    facts = ", ".join(f"{name} {value}" for name, value in report.machine().items())
    fill(document, "targets", f"Measured on: {facts}.\n\n{markdown(targets.rows(measured))}")
    fill(document, "figures", markdown(report.rows(measured)))


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser("bench", description="Measure DueBus on this machine.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--quick", action="store_true", help="a short run that shows that everything works")
    parser.add_argument("--backlog-plot", action="store_true", help="also throughput over the backlog")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put tables and plots into a document")
    given = parser.parse_args()
    size = QUICK if given.quick else FULL
    given.out.mkdir(parents=True, exist_ok=True)
    measured = measure(given.only, given.engines, given.rounds, size)
    report.write_json(given.out / "bench.json", measured)
    plots = given.markdown.parent if given.markdown else given.out
    report.plot_latency(plots / "latency.svg", measured)
    if given.backlog_plot:
        report.plot_backlog(plots / "backlog.svg", over_backlog(given.engines, size))
    if given.markdown:
        write_tables(given.markdown, measured)
    console.print(report.table(measured))
    console.print(", ".join(f"{name} {value}" for name, value in report.machine().items()), style="dim")


if __name__ == "__main__":
    main()
