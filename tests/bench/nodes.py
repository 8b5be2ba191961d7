"""How throughput grows with the nodes of Redis, where each node has a fixed share of a core.

On two cores more nodes gain nothing, because Redis, the server and the clients compete for the same cores. So each node
gets a share that is small enough for Redis to be the limit, as it is where every node has a core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.markdown import cell
from bench.scenarios import check_complete
from bench.system import System
from duebus import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

NODES = (1, 2, 3, 6)
CONNECTIONS = 12
"""To a server of several processes, which share connections at random."""


@dataclass(frozen=True)
class Topics:
    """The topics of a load, which keeps each node of a cluster equally busy.

    Attributes:
        callers: how many calls each topic has under way; with partitions, for each node.
        streams: how many streams each topic has; with partitions, for each node.
        processes: how many processes the server has.
    """

    name: str
    topics: int
    partitions: int
    callers: int
    streams: int
    processes: int = 1


MANY_TOPICS = Topics("48 topics", topics=48, partitions=1, callers=2, streams=1)
ONE_TOPIC = Topics("1 topic of 48 partitions", topics=1, partitions=48, callers=16, streams=2)
FOUR_PROCESSES = replace(ONE_TOPIC, name="the same, 4 server processes", processes=4)
SHAPES = (MANY_TOPICS, ONE_TOPIC, FOUR_PROCESSES)


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        share: of a core, for each node; 0 sets no limit.
        batch: how many events a call has.
        warm_up_s: how long the bus runs before the window.
        window_s: how long events are counted.
    """

    share: float = 0.04
    batch: int = 20
    warm_up_s: float = 10.0
    window_s: float = 15.0


def measure(shape: Topics, nodes: int, size: Size) -> dict[str, float]:
    """Keep the topics busy, and count events for a while.

    Returns:
        ``events_per_s``; ``redis_us``: what an event has cost the nodes, in CPU microseconds; ``redis_share``: how much
        of their quota the nodes have used; ``others_cores``: how many cores the server and the clients have used.
    """
    nodes_of_topic = nodes if shape.partitions > 1 else 1
    flags = ("--processes", str(shape.processes)) if shape.processes > 1 else ()
    with System("redis", *flags, nodes=nodes, node_share=size.share) as system:
        if shape.partitions > 1:
            with Client(system.server.address) as client:
                client.admin.configure_topic("t0", partitions=shape.partitions)
        loop = system.role(
            "loop",
            topics=[f"t{number}" for number in range(shape.topics)],
            callers=shape.callers * nodes_of_topic,
            streams=shape.streams * nodes_of_topic,
            connections=CONNECTIONS if shape.processes > 1 else 1,
            batch=size.batch,
            warm_up_s=size.warm_up_s,
            window_s=size.window_s,
        )
        loop.begin()
        loop.wait_ready()  # the window begins
        before = system.cpu_s()
        loop.wait_ready()  # and ends
        used_s = {name: after - before[name] for name, after in system.cpu_s().items()}
        result = loop.result()
        check_complete(result, result["dispatched"])
        return {
            "events_per_s": result["events_per_s"],
            "redis_us": used_s["redis"] / size.window_s / result["events_per_s"] * 1e6,
            "redis_share": used_s["redis"] / size.window_s / nodes / (size.share or 1),
            "others_cores": used_s["server"] / size.window_s + result["cores"],
        }


Rows = dict[tuple[Topics, int], list[dict[str, float]]]


def rows_of(shapes: Sequence[Topics], nodes: Sequence[int]) -> Rows:
    """A row without rounds for each measurement."""
    return {(shape, number): [] for shape in shapes for number in nodes}


def table(rows: Rows) -> list[list[str]]:
    """A header and a row for each shape and number of nodes.

    ``of linear`` compares the row with the shape's row of the fewest nodes, by what a node carries in the same round.
    """
    lines = [["", "nodes", "events/s", "of linear", "of the nodes' quota", "cores of the others", "Redis, us"]]
    for (shape, nodes), runs in rows.items():
        least = min(number for other, number in rows if other is shape)
        base = rows[shape, least]
        linear = [
            run["events_per_s"] / nodes / (first["events_per_s"] / least) for run, first in zip(runs, base, strict=True)
        ]
        figures = [[run[name] for run in runs] for name in ("events_per_s", "redis_share", "others_cores", "redis_us")]
        cells = [cell(values) for values in (figures[0], linear, *figures[1:])]
        lines.append([shape.name, str(nodes), *cells])
    return lines
