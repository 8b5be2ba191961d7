"""``make bench-growth``: how throughput grows, and what it costs.

    PYTHONPATH=tests .venv/bin/python -m bench.growth --rounds 3 --only nodes

``costs`` has more processes, topics, groups and larger payloads on all cores; ``nodes`` has more nodes of Redis, each
with a fixed share of a core, see ``nodes.py``. Two parts run only if they are named: ``volume`` has many waiting
events, topics and streams, see ``volume.py``; ``readings`` reads many topics, see ``readings.py``. docs/scaling.md
extrapolates from the first two to larger systems.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import nodes, readings, volume
from bench.cpu_quota import QuotaError
from bench.markdown import cell, fill, markdown
from bench.report import machine
from bench.scenarios import check_complete
from bench.system import System
from duebus import Client
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.scenarios import Figures

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
    for count in (1, 3):
        yield Load(f"{count} Redis nodes, 6 topics", nodes=count, topics=6, events=events)
        yield Load(f"{count} Redis nodes, 1 topic of 6 partitions", nodes=count, partitions=6, events=events)
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


def measure_costs(given: argparse.Namespace) -> None:
    """What an event costs under each load."""
    rows: Rows = {(engine, load): [] for load in loads(given.load) for engine in given.engines if fits(engine, load)}
    for number in range(given.rounds):
        for (engine, load), runs in rows.items():
            console.print(f"round {number + 1} of {given.rounds}: {load.name}, {engine}", style="dim")
            runs.append(measure(engine, load))
    report(rows, given.out, given.markdown)


def measure_nodes(given: argparse.Namespace) -> None:
    """How throughput grows with the nodes; says so and returns if this machine grants no CPU quota."""
    rows = nodes.rows_of(nodes.SHAPES, given.nodes)
    size = nodes.Size(share=given.share)
    for number in range(given.rounds):
        for (shape, count), runs in rows.items():
            console.print(f"round {number + 1} of {given.rounds}: {count} nodes, {shape.name}", style="dim")
            try:
                runs.append(nodes.measure(shape, count, size))
            except QuotaError as error:
                console.print(f"nodes are not measured: {error}", style="yellow", highlight=False)
                return
    measured = [{"load": shape.name, "nodes": count, "rounds": runs} for (shape, count), runs in rows.items()]
    write_json(given.out / "nodes.json", measured, share=given.share)
    show(nodes.table(rows), given.markdown, "nodes", f", {given.share:g} of a core for each node")


def measure_volume(given: argparse.Namespace) -> None:
    """What many events, topics and streams cost, and whether a bus that has them is slower than an empty one."""
    results: list[volume.Result] = []
    for kind in given.volumes:
        for one in volume.VOLUMES[kind]:
            console.print(f"{getattr(given, kind):,} {one.name}", style="dim")
            results.append(volume.measure(one, getattr(given, kind), given.rounds))
    measured = [
        {"load": one.volume.name, "count": one.count, "costs": one.costs, "empty": one.empty, "full": one.full}
        for one in results
    ]
    write_json(given.out / "volume.json", measured)
    show(volume.costs_table(results), given.markdown, "volume-costs")
    show(volume.ratios_table(results), given.markdown, "volume-ratios")


def measure_readings(given: argparse.Namespace) -> None:
    """What a reading of all topics costs."""
    rows: dict[readings.Topics, list[Figures]] = {}
    for topics in readings.READINGS:
        console.print(f"{given.read:,} {topics.name}", style="dim")
        rows[topics] = readings.measure(topics, given.read, given.rounds)
    measured = [{"load": topics.name, "count": given.read, "rounds": runs} for topics, runs in rows.items()]
    write_json(given.out / "readings.json", measured)
    show(readings.table(given.read, rows), given.markdown, "readings")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "costs": measure_costs,
    "nodes": measure_nodes,
    "volume": measure_volume,
    "readings": measure_readings,
}


def fits(engine: str, load: Load) -> bool:
    """Whether the engine can run the load: local has one process, and neither nodes nor partitions."""
    return engine == "redis" or load.processes == load.nodes == load.partitions == 1


def report(rows: Rows, out: Path, document: Path | None = None) -> None:
    """A table for the terminal and for a document, and a file with all rounds."""
    lines = [["", "engine", "events/s", "deliveries/s", "server, us", "Redis, us"]]
    measured: list[dict[str, Any]] = []
    for (engine, load), runs in rows.items():
        figures = [[run[name] for run in runs if name in run] for name in FIGURES]
        lines.append([load.name, engine, *map(cell, figures)])
        measured.append({"load": load.name, "engine": engine, "rounds": runs})
    write_json(out / "growth.json", measured)
    show(lines, document, "growth")


def write_json(path: Path, measured: list[dict[str, Any]], **settings: Any) -> None:
    """All rounds."""
    path.write_text(json.dumps({"machine": machine(), **settings, "measured": measured}, indent=2) + "\n")


def show(lines: list[list[str]], document: Path | None, place: str, settings: str = "") -> None:
    """Show a table on the terminal, and put it into its place in a document, if there is one."""
    header, *rest = lines
    table = Table(*header)
    for line in rest:
        table.add_row(*line)
    console.print(table)
    if document is not None:
        facts = ", ".join(f"{name} {value}" for name, value in machine().items())
        fill(document, place, f"Measured on: {facts}{settings}.\n\n{markdown(lines)}")


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser("bench.growth", description="Measure how DueBus grows on this machine.")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=["costs", "nodes"], metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=("local", "redis"), default=["redis"], help="of costs")
    parser.add_argument("--load", type=int, default=EVENTS, help="of costs: how many events")
    parser.add_argument("--nodes", nargs="+", type=int, default=list(nodes.NODES), help="of nodes")
    parser.add_argument("--share", type=float, default=nodes.Size.share, help="of a core, for each of the nodes")
    parser.add_argument("--volumes", nargs="+", choices=volume.VOLUMES, default=list(volume.VOLUMES), metavar="VOLUME")
    parser.add_argument("--events", type=int, default=1_000_000, help="of volume: how many wait")
    parser.add_argument("--topics", type=int, default=100_000, help="of volume")
    parser.add_argument("--read", type=int, default=10_000, help="of readings: how many topics")
    parser.add_argument("--streams", type=int, default=10_000, help="of volume")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the table into a document")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for part in given.only:
        PARTS[part](given)


if __name__ == "__main__":
    main()
