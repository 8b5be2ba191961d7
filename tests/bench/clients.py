"""The clients of all languages on one server: single events from 64 callers, and the drain of a backlog.

    PYTHONPATH=tests .venv/bin/python -m bench.clients --rounds 3 --markdown docs/benchmarks.md

Builds the program of each client, see ``languages.toml``, and prints the medians, minima and maxima. In each round and
on each engine, all languages take turns on a fresh server.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.markdown import cell, fill, markdown
from bench.peers.__main__ import shown
from bench.report import machine
from bench.scenarios import BATCH, PAYLOAD_BYTES, Figures, check_complete, microseconds_each, used_since
from bench.system import Role, System, cpu_s_of
from conformance.languages import ROOT, Language, read_languages
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ENGINES = ("local", "redis")
BASE = "go"
"""The language that the others are compared with."""
CALLERS = 64
MAX_IN_FLIGHT = 1_000
PARTS = {"dispatch": f"{CALLERS} callers", "drain": "drain"}
"""What a client does, one after the other, by the first word of its figures."""
console = Console()


@dataclass(frozen=True)
class Size:
    """How much each client does.

    Attributes:
        warm_up: how many events it dispatches and handles before it is measured.
        events: how many the callers dispatch.
        backlog: how many the worker drains, those of the callers included.
    """

    warm_up: int
    events: int
    backlog: int


FULL = Size(warm_up=20_000, events=50_000, backlog=200_000)
QUICK = Size(warm_up=100, events=200, backlog=500)

Row = tuple[Language, str]
"""A client, and an engine."""


def measure(system: System, language: Language, size: Size) -> Figures:
    """Measure a client on a server that runs.

    Returns:
        ``dispatch_per_s`` and ``drain_per_s``, and what an event costs in each part, in CPU microseconds:
        ``dispatch_client_us``, ``dispatch_server_us``, and on redis ``dispatch_redis_us``.
    """
    given = {
        "target": system.server.address,
        "topic": language.name,
        "payload_bytes": PAYLOAD_BYTES,
        "callers": CALLERS,
        "max_in_flight": MAX_IN_FLIGHT,
        **asdict(size),
    }
    program = Role(list(language.bench), given, cwd=ROOT)
    try:
        program.wait_ready()
        dispatch_us = _cost(system, program, size.events)
        backlog = system.role(
            "producer", topic=language.name, events=size.backlog - size.events, batch=BATCH, coroutines=2
        )
        backlog.begin()
        backlog.result()
        drain_us = _cost(system, program, size.backlog)
        program.begin()
        result = program.result()
    finally:
        program.close()
    check_complete(result, size.backlog)
    return {
        **{f"dispatch_{name}": value for name, value in dispatch_us.items()},
        **{f"drain_{name}": value for name, value in drain_us.items()},
        "dispatch_per_s": result["dispatch_per_s"],
        "drain_per_s": result["drain_per_s"],
    }


def _cost(system: System, program: Role, events: int) -> Figures:
    """Let the program do its next part. Returns what that cost."""
    client_s, before = cpu_s_of(program.process.pid), system.cpu_s()
    program.begin()
    program.wait_ready()
    used = {"client": cpu_s_of(program.process.pid) - client_s, **used_since(before, system)}
    return microseconds_each(used, events)


def measure_in_turn(languages: Sequence[Language], engine: str, size: Size) -> Iterator[tuple[Row, Figures]]:
    """One round on an engine."""
    with System(engine) as system:
        for language in languages:
            console.print(f"{language.title}, {engine}", style="dim")
            yield (language, engine), measure(system, language, size)


Rows = dict[Row, list[Figures]]


def table(rows: Rows) -> list[list[str]]:
    """A header, and a row for each client on each engine. Shares are of Go's rate in the same round."""
    columns = ("events/s", "of Go's", "client, us", "server, us")
    lines = [["", *(f"{title}, {column}" for title in PARTS.values() for column in columns)]]
    for (language, engine), runs in rows.items():
        base = next((of for (other, on), of in rows.items() if (other.name, on) == (BASE, engine)), [])
        cells = [text for part in PARTS for text in _cells(part, runs, base)]
        lines.append([f"{language.title}, {engine}", *cells])
    return lines


def _cells(part: str, runs: Sequence[Figures], base: Sequence[Figures]) -> list[str]:
    rates, *used = ([run[f"{part}_{figure}"] for run in runs] for figure in ("per_s", "client_us", "server_us"))
    shares = [rate / other[f"{part}_per_s"] for rate, other in zip(rates, base, strict=bool(base))]
    return [cell(rates), cell(shares), *map(cell, used)]


def usable(names: Sequence[str]) -> list[Language]:
    """These languages, as far as their tools are installed."""
    languages = [language for name, language in read_languages().items() if name in names]
    for language in languages:
        if language.missing_tools:
            console.print(f"{language.title} is left out; missing: {', '.join(language.missing_tools)}", style="yellow")
    return [language for language in languages if not language.missing_tools]


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser("bench.clients", description="Measure the clients of all languages.")
    names = list(read_languages())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--languages", nargs="+", choices=names, default=names, metavar="LANGUAGE")
    parser.add_argument("--quick", action="store_true", help="a short run that shows that everything works")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the table between the markers of FILE")
    given = parser.parse_args()
    languages = usable(given.languages)
    subprocess.run(
        [sys.executable, "clients/each.py", "bench", *(language.name for language in languages)], cwd=ROOT, check=True
    )
    rows: Rows = {(language, engine): [] for engine in given.engines for language in languages}
    for number in range(given.rounds):
        first = number % len(languages)  # so that none is always the first on a fresh server
        for engine in given.engines:
            console.print(f"round {number + 1} of {given.rounds}, {engine}", style="dim")
            order = languages[first:] + languages[:first]
            for row, figures in measure_in_turn(order, engine, QUICK if given.quick else FULL):
                rows[row].append(figures)
    given.out.mkdir(parents=True, exist_ok=True)
    measured = [{"client": of.name, "engine": engine, "rounds": runs} for (of, engine), runs in rows.items()]
    (given.out / "clients.json").write_text(json.dumps({"machine": machine(), "measured": measured}, indent=2) + "\n")
    lines = table(rows)
    console.print(shown(lines))
    if given.markdown:
        facts = ", ".join(f"{name} {value}" for name, value in machine().items())
        fill(given.markdown, "clients", f"Measured on: {facts}.\n\n{markdown(lines)}")


if __name__ == "__main__":
    main()
