"""How throughput grows, and what it costs: more processes, topics, groups, larger payloads.

    PYTHONPATH=tests .venv/bin/python -m bench.growth --rounds 3

Prints medians. docs/scaling.md extrapolates from them to larger systems.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.markdown import NOTHING, cell, fill, markdown
from bench.report import machine, readable
from bench.scenarios import check_complete
from bench.system import System
from duebus import Client
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB = 1 << 10
MAX_BATCH_BYTES = 3 << 20
EVENTS = 60_000
console = Console()


@dataclass(frozen=True)
class Load:
    """The load on the bus: each topic has one producer, and one worker for each group.

    Attributes:
        processes: the processes of the server.
        nodes: the nodes of Redis.
        partitions: the partitions of each topic.
        events: the total number, to all topics.
    """

    name: str
    processes: int = 1
    nodes: int = 1
    partitions: int = 1
    topics: int = 1
    groups: int = 1
    payload: int = 200
    events: int = EVENTS


FIGURES = ("events_per_s", "deliveries_per_s", "server_us", "redis_us")
"""The results of a load; CPU microseconds are per dispatched event."""

Rows = dict[tuple[str, Load], list[dict[str, float]]]


def loads(events: int) -> Iterator[Load]:
    """All loads; one thing is varied at a time."""
    for processes in (1, 2, 4):
        yield Load(f"{processes} processes, 4 topics", processes=processes, topics=4, events=events)
    for nodes in (1, 3):
        yield Load(f"{nodes} Redis nodes, 6 topics", nodes=nodes, topics=6, events=events)
        yield Load(f"{nodes} Redis nodes, 1 topic of 6 partitions", nodes=nodes, partitions=6, events=events)
    for topics in (1, 2, 4, 8, 16):
        yield Load(f"{topics} topics", topics=topics, events=events)
    for groups in (1, 4, 16):
        yield Load(f"{groups} groups", groups=groups, events=max(1, events // groups))
    for payload, share in ((100, 1), (KIB, 2), (100 * KIB, 40)):
        yield Load(f"payload of {payload:,} bytes", payload=payload, events=max(1, events // share))


def measure(engine: str, load: Load) -> dict[str, float]:
    """Events dispatched and, for each group, handled; the time ends with the last ack."""
    flags = ("--processes", str(load.processes)) if load.processes > 1 else ()
    of_each = max(1, load.events // load.topics)
    batch = max(1, min(500, MAX_BATCH_BYTES // load.payload))
    with System(engine, *flags, nodes=load.nodes) as system:
        spread(system, load)
        workers = [
            system.role("worker", topic=f"t{topic}", group=f"g{group}", events=of_each, concurrency=1_000)
            for topic in range(load.topics)
            for group in range(load.groups)
        ]
        producers = [
            system.role("producer", topic=f"t{topic}", events=of_each, batch=batch, payload=load.payload)
            for topic in range(load.topics)
        ]
        before = system.cpu_s()
        for role in (*workers, *producers):
            role.begin()
        produced = [producer.result() for producer in producers]
        worked = [worker.result() for worker in workers]
        for result in worked:
            check_complete(result, of_each)
        took_s = max(result["ended_s"] for result in worked) - min(result["began_s"] for result in produced)
        dispatched = of_each * load.topics
        used = {name: after - before[name] for name, after in system.cpu_s().items()}
        return {
            "events_per_s": dispatched / took_s,
            "deliveries_per_s": dispatched * load.groups / took_s,
            **{f"{name}_us": seconds / dispatched * 1e6 for name, seconds in used.items()},
        }


def spread(system: System, load: Load) -> None:
    """Give the topics their partitions."""
    if load.partitions > 1:
        with Client(system.server.address) as client:
            for topic in range(load.topics):
                client.admin.configure_topic(f"t{topic}", partitions=load.partitions)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser("bench.growth", description="Measure how DueBus grows on this machine.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=("local", "redis"), default=["redis"])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the table into a document")
    given = parser.parse_args()
    rows: Rows = {(engine, load): [] for load in loads(given.events) for engine in given.engines if fits(engine, load)}
    for number in range(given.rounds):
        for (engine, load), runs in rows.items():
            console.print(f"round {number + 1} of {given.rounds}: {load.name}, {engine}", style="dim")
            runs.append(measure(engine, load))
    report(rows, given.out, given.markdown)


def fits(engine: str, load: Load) -> bool:
    """Whether the engine can run the load: local has one process, and neither nodes nor partitions."""
    return engine == "redis" or load.processes == load.nodes == load.partitions == 1


def report(rows: Rows, out: Path, document: Path | None = None) -> None:
    """A table for the terminal, a file with all rounds, and a table for a document."""
    header = ["load", "engine", "events/s", "deliveries/s", "server, us", "Redis, us"]
    table = Table(*header)
    lines = [["", *header[1:]]]
    measured: list[dict[str, Any]] = []
    for (engine, load), runs in rows.items():
        figures = [[run[name] for run in runs if name in run] for name in FIGURES]
        table.add_row(load.name, engine, *(readable(median(values)) if values else NOTHING for values in figures))
        lines.append([load.name, engine, *map(cell, figures)])
        measured.append({"load": load.name, "engine": engine, "rounds": runs})
    out.mkdir(parents=True, exist_ok=True)
    (out / "growth.json").write_text(json.dumps({"machine": machine(), "measured": measured}, indent=2) + "\n")
    console.print(table)
    if document is not None:
        facts = ", ".join(f"{name} {value}" for name, value in machine().items())
        fill(document, "growth", f"Measured on: {facts}.\n\n{markdown(lines)}")


if __name__ == "__main__":
    main()
