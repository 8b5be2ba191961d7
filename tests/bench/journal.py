"""What the journal costs: the local engine in memory and with a data directory, the disk alone, and beanstalkd.

    PYTHONPATH=tests .venv/bin/python -m bench.journal --rounds 5 --markdown docs/benchmarks.md

Prints medians, and each rate as a share of its limit in the same round. With ``everysec`` the limit is the rate in
memory. With ``always`` it is that, or the rate of a program that only writes and syncs the same batches, whichever is
lower.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.markdown import cell, fill, markdown
from bench.peers import scenarios as of_peers
from bench.peers.__main__ import ENGINES, shown
from bench.peers.installing import installed
from bench.peers.registry import Peer, load
from bench.report import machine
from bench.scenarios import BATCH, FULL, QUICK, Figures, Size, end_to_end, single_dispatch
from bench.system import JOURNALED, Role
from rich.console import Console
from support.forking import Forked

if TYPE_CHECKING:
    from collections.abc import Callable

CALLERS = 64
MEMORY, DISK = "local", "disk"
PEERS = ("beanstalkd", "beanstalkd-always")
console = Console()

Round = dict[str, Figures]
"""The figures of a round, by the name of what was measured."""


class Scenario(NamedTuple):
    """A scenario on an engine, on the disk alone, and on a peer."""

    on_engine: Callable[[str, Size], Figures]
    on_disk: Callable[[Size], Figures]
    on_peer: Callable[[Peer, Size], Figures]


def disk(events: int, batch: int, *, acks: bool) -> Figures:
    """The disk alone, with the same batches."""
    arguments = {"events": events, "batch": batch, "acks": acks}
    role = Role([sys.executable, "-m", "bench.roles.raw_disk"], arguments, popen=Forked)
    try:
        role.wait_ready()
        role.begin()
        result = role.result()
    finally:
        role.close()
    return {"events_per_s": events / (result["ended_s"] - result["began_s"])}


SCENARIOS = {
    "end to end": Scenario(end_to_end, lambda size: disk(size.events, BATCH, acks=True), of_peers.end_to_end),
    f"{CALLERS} callers": Scenario(
        single_dispatch, lambda size: disk(size.single, CALLERS, acks=False), of_peers.single_dispatch
    ),
}


def measure(scenario: Scenario, peers: list[Peer], size: Size) -> Round:
    """One round of a scenario."""
    return {
        DISK: scenario.on_disk(size),
        **{engine: scenario.on_engine(engine, size) for engine in (MEMORY, *JOURNALED)},
        **{peer.name: scenario.on_peer(peer, size) for peer in peers},
    }


def share_of_limit(measured: Round, engine: str) -> float:
    """The rate of an engine with a journal, as a share of its limit in this round."""
    limits = [MEMORY, DISK] if JOURNALED[engine] == "always" else [MEMORY]
    return measured[engine]["events_per_s"] / min(measured[limit]["events_per_s"] for limit in limits)


def rows(all_rounds: dict[str, list[Round]], peers: list[Peer]) -> list[list[str]]:
    """A header, and a row for everything that was measured."""
    titles = {DISK: "the disk alone", **{name: ENGINES[name] for name in (MEMORY, *JOURNALED)}}
    titles |= {peer.name: peer.title for peer in peers}
    figures = ("events/s", "share of the limit", "CPU of the server, us an event")
    made = [["", *(f"{scenario}, {figure}" for scenario in all_rounds for figure in figures)]]
    for name, title in titles.items():
        cells = [text for rounds in all_rounds.values() for text in _cells(rounds, name)]
        made.append([title, *cells])
    return made


def _cells(rounds: list[Round], name: str) -> list[str]:
    rates = [one[name]["events_per_s"] for one in rounds]
    shares = [share_of_limit(one, name) for one in rounds] if name in JOURNALED else []
    used = [one[name]["server_us"] for one in rounds if "server_us" in one[name]]
    return [cell(rates), cell(shares), cell(used)]


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser("bench.journal", description="Measure what the journal costs on this machine.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--quick", action="store_true", help="a short run that shows that everything works")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the table between the markers of FILE")
    given = parser.parse_args()
    peers = [peer for peer in map(load().__getitem__, PEERS) if installed(peer)]
    all_rounds: dict[str, list[Round]] = {name: [] for name in given.only}
    for number in range(given.rounds):
        for name, rounds in all_rounds.items():
            console.print(f"round {number + 1} of {given.rounds}: {name}", style="dim")
            rounds.append(measure(SCENARIOS[name], peers, QUICK if given.quick else FULL))
    table = rows(all_rounds, peers)
    console.print(shown(table))
    if given.markdown:
        facts = ", ".join(f"{name} {value}" for name, value in machine().items())
        fill(given.markdown, "journal", f"Measured on: {facts}.\n\n{markdown(table)}")


if __name__ == "__main__":
    main()
