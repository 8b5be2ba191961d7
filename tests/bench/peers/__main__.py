"""``make bench-peers``: the peers beside DueBus, in turn.

    .venv/bin/python -m bench.peers --rounds 3 --peers bullmq jetstream --markdown docs/benchmarks.md

Installs the peers it can and names the others, prints the settings and the median, minimum and maximum of each figure,
and writes ``peers.json`` and ``peers.md``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import report
from bench.markdown import fill
from bench.peers import tables
from bench.peers.installing import MissingError, install
from bench.peers.registry import Peer, load
from bench.peers.scenarios import LOGS, SCENARIOS, share_of
from bench.peers.services import BrokerError
from bench.report import Series
from bench.scenarios import FULL, QUICK, Figures, IncompleteError, Size
from bench.system import RoleError
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ENGINES = {
    "redis": "DueBus, redis",
    "local": "DueBus, local (in memory)",
    "local-everysec": "DueBus, local, `everysec`",
    "local-always": "DueBus, local, `always`",
}
UNKNOWN = {"the Go library that DueBus grew from": "its name and its source are not known to this project"}
TIMED = ("latency", "lateness")
console = Console()


@dataclass(frozen=True)
class Run:
    """The size of a run."""

    scenarios: list[str]
    engines: list[str]
    peers: list[Peer]
    size: Size
    rounds: int
    timed_rounds: int

    def subjects(self) -> list[str | Peer]:
        """The engines of DueBus, and the peers."""
        return [*self.engines, *self.peers]

    def titles(self) -> dict[str, str]:
        return {name: ENGINES[name] for name in self.engines} | {peer.name: peer.title for peer in self.peers}


def measure(run: Run) -> tuple[list[Series], dict[str, str]]:
    """Rounds over all scenarios, each with everyone in turn, so that a slow spell of the machine affects all of them.

    Returns:
        The figures, and the failures by title. A peer that fails once is left out of that scenario from then on.
    """
    all_series: dict[tuple[str, str], Series] = {}
    failed: dict[str, str] = {}
    for number in range(max(run.rounds, run.timed_rounds)):
        for scenario in run.scenarios:
            if number >= (run.timed_rounds if scenario in TIMED else run.rounds):
                continue
            for subject in run.subjects():
                _measure_one(run, scenario, subject, number, all_series, failed)
    return list(all_series.values()), failed


def _measure_one(
    run: Run,
    scenario: str,
    subject: str | Peer,
    number: int,
    all_series: dict[tuple[str, str], Series],
    failed: dict[str, str],
) -> None:
    name = subject.name if isinstance(subject, Peer) else subject
    label = f"{run.titles()[name]}, {scenario}"
    if label in failed:
        return
    console.print(f"round {number + 1}: {label}", style="dim", highlight=False)
    try:
        figures = _figures(scenario, subject, run.size)
    except (RoleError, BrokerError, IncompleteError) as error:
        if not isinstance(subject, Peer):
            raise
        failed[label] = f"failed, {error} (the programs' log is {LOGS.name}/{name}.log)"
        console.print(f"{label}: {failed[label]}", style="red", highlight=False)
        return
    all_series.setdefault((name, scenario), Series(scenario, name)).add(figures)


def _figures(scenario: str, subject: str | Peer, size: Size) -> Figures:
    of_engine, of_peer = SCENARIOS[scenario]
    return of_peer(subject, size) if isinstance(subject, Peer) else of_engine(subject, size)


def installed_of(peers: Iterable[Peer]) -> tuple[list[Peer], dict[str, str]]:
    """Install each. Returns the installed peers, and by title why the others are missing."""
    there, missing = [], {}
    for peer in peers:
        console.print(f"installing {peer.title}", style="dim")
        try:
            install(peer)
        except MissingError as error:
            missing[peer.title] = str(error)
            console.print(f"{peer.title} is left out: {error}", style="yellow", highlight=False)
        else:
            there.append(peer)
    return there, missing


def events_of(peer: Peer, size: Size) -> str:
    """How many events a peer gets, end to end and to drain."""
    return f"{share_of(size.events, peer):,}; {share_of(size.backlog, peer):,}"


def shown(rows: Sequence[Sequence[str]]) -> Table:
    """The rows for the terminal."""
    header, *rest = rows
    made = Table(*header)
    for row in rest:
        made.add_row(*row)
    return made


def arguments() -> argparse.Namespace:
    """The arguments of the command line."""
    names = list(load())
    parser = argparse.ArgumentParser("bench.peers", description="Measure DueBus and its peers on this machine.")
    parser.add_argument("--rounds", type=int, default=3, help="of the throughputs")
    parser.add_argument("--timed-rounds", type=int, default=1, help="of latency and lateness, which are percentiles")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES), metavar="ENGINE")
    parser.add_argument("--peers", nargs="+", choices=names, default=names, metavar="PEER", help=", ".join(names))
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--quick", action="store_true", help="a short run that shows that everything works")
    parser.add_argument("--events", type=int, help=f"end to end, {FULL.events:,} by default; slow peers get a share")
    parser.add_argument("--backlog", type=int, help=f"to drain, {FULL.backlog:,} by default")
    parser.add_argument("--strict", action="store_true", help="fail when a peer can't be installed or measured")
    parser.add_argument("--install-only", action="store_true")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables between the markers of FILE")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    return parser.parse_args()


def main() -> int:
    """Measure as the command line says; the exit status."""
    given = arguments()
    peers, missing = installed_of(load()[name] for name in given.peers)
    if given.install_only:
        return int(given.strict and bool(missing))
    size = replace(QUICK, events=1_000, backlog=1_000) if given.quick else replace(FULL, paced=250)
    size = replace(size, events=given.events or size.events, backlog=given.backlog or size.backlog)
    run = Run(given.only, given.engines, peers, size, given.rounds, given.timed_rounds)
    settings = tables.settings(peers, {peer.name: events_of(peer, size) for peer in peers})
    console.print(shown(settings))
    measured, failed = measure(run)
    results = tables.results(measured, run.titles())
    console.print(shown(results))
    text = tables.document(results, settings, {**missing, **failed, **UNKNOWN})
    given.out.mkdir(parents=True, exist_ok=True)
    report.write_json(given.out / "peers.json", measured)
    (given.out / "peers.md").write_text(f"{text}\n")
    if given.markdown:
        fill(given.markdown, tables.PLACE, text)
    return int(given.strict and bool(missing or failed))


if __name__ == "__main__":
    sys.exit(main())
