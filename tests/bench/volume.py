"""Many waiting events, many topics, many streams: what each costs, and whether the others become slower.

A system that holds them is measured beside an empty one, in turn, so that the state of the machine cancels out.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.markdown import NOTHING, cell
from bench.report import readable
from bench.scenarios import (
    BATCH,
    FULL,
    HOUR_S,
    TOPIC,
    Figures,
    Size,
    check_complete,
    fill,
    lateness_in,
    produce,
    run,
)
from bench.system import System

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TOPICS_AT_ONCE = 20_000
"""How many topics a role makes at most: more take longer than a role may."""
STREAMS_OF_A_CONNECTION = 100


@dataclass(frozen=True)
class Volume:
    """Many of one thing.

    Attributes:
        make: puts ``count`` of them into a system.
        flags: of the server.
    """

    name: str
    engine: str
    make: Callable[[System, int], None]
    flags: tuple[str, ...] = ()


def make_topics(system: System, count: int, delay_s: float = HOUR_S) -> None:
    """An event in each of the topics, by default for later."""
    for first in range(0, count, TOPICS_AT_ONCE):
        topics = min(TOPICS_AT_ONCE, count - first)
        role = system.role("topics", topics=topics, first=first, delay_s=delay_s)
        role.begin()
        role.result()


def make_streams(system: System, count: int, topics: str = "idle") -> None:
    """Streams, each of a topic of its own, over many connections. They stay open until the system ends."""
    connections = -(-count // STREAMS_OF_A_CONNECTION)
    role = system.role("subscribers", subscriptions=count, connections=connections, topics=topics)
    role.begin()
    role.wait_ready()


VOLUMES = {
    "events": (
        Volume("scheduled events, redis", "redis", fill),
        Volume("scheduled events, local with a journal", "local-always", fill),
    ),
    "topics": (
        Volume("topics, redis", "redis", make_topics),
        Volume("topics, local with a journal", "local-always", make_topics),
    ),
    "streams": (Volume("streams over 4 processes, redis", "redis", make_streams, ("--processes", "4")),),
}


@dataclass
class Result:
    """What a volume costs, and figures of both systems, a value for each round.

    Attributes:
        costs: of making it, for each of what it has, and of it being there.
        empty, full: of the system without it, and with it.
    """

    volume: Volume
    count: int
    costs: Figures
    empty: list[Figures]
    full: list[Figures]

    def ratios(self, figure: str) -> list[float]:
        """The full system's figure to the empty one's, in each round."""
        return [full[figure] / empty[figure] for full, empty in zip(self.full, self.empty, strict=True)]


def measure(volume: Volume, count: int, rounds: int, size: Size = FULL) -> Result:
    """Make the volume in one of two systems, and measure both in turn."""
    with ExitStack() as stack:
        empty, full = (stack.enter_context(System(volume.engine, *volume.flags)) for _ in range(2))
        for system in (empty, full):
            run(system, "worker", events=1, companion="producer")
        costs = _costs(full, volume, count, size)
        result = Result(volume, count, costs, [], [])
        for _ in range(rounds):
            result.empty.append(figures_of(empty, size))
            result.full.append(figures_of(full, size))
        return result


def _costs(system: System, volume: Volume, count: int, size: Size) -> Figures:
    bytes_before, cpu_before = system.memory_bytes(), system.cpu_s()
    began_s = time.monotonic()
    volume.make(system, count)
    took_s = time.monotonic() - began_s
    cpu, memory = system.cpu_s(), system.memory_bytes()
    costs = {"per_s": count / took_s}
    for name, used_bytes in memory.items():
        costs[f"{name}_bytes"] = (used_bytes - bytes_before[name]) / count
        costs[f"{name}_us"] = (cpu[name] - cpu_before[name]) / count * 1e6
    time.sleep(size.idle_s)  # what is left to do is done before the idle time is measured
    before = system.cpu_s()
    time.sleep(size.idle_s)
    return costs | {f"{name}_idle_share": (used - before[name]) / size.idle_s for name, used in system.cpu_s().items()}


def figures_of(system: System, size: Size) -> Figures:
    """What a dispatch for later, a dispatch, and a lease with its ack cost, in CPU microseconds of the server and Redis
    together, and how late events are.
    """
    before = _used_s(system)
    produce(system, size.events // 5, batch=BATCH, delay_s=HOUR_S, spread_s=HOUR_S)
    scheduled = _used_s(system)
    produce(system, size.events, batch=BATCH)
    dispatched = _used_s(system)
    worker = system.role("worker", topic=TOPIC, events=size.events, concurrency=1_000)
    worker.begin()
    check_complete(worker.result(), size.events)
    leased = _used_s(system)
    late = lateness_in(system, size)
    return {
        "schedule_us": (scheduled - before) / (size.events // 5) * 1e6,
        "dispatch_us": (dispatched - scheduled) / size.events * 1e6,
        "lease_us": (leased - dispatched) / size.events * 1e6,
        "late_p50_ms": late["p50_ms"],
        "late_p99_ms": late["p99_ms"],
    }


def _used_s(system: System) -> float:
    return sum(system.cpu_s().values())


COSTS = {
    "each/s": "per_s",
    "server, bytes": "server_bytes",
    "Redis, bytes": "redis_bytes",
    "server, us": "server_us",
    "Redis, us": "redis_us",
    "server idle, share of a core": "server_idle_share",
    "Redis idle, share of a core": "redis_idle_share",
}
"""The columns of what each costs."""

RATIOS = {
    "schedule, us": "schedule_us",
    "dispatch, us": "dispatch_us",
    "lease and ack, us": "lease_us",
    "late p50, ms": "late_p50_ms",
    "late p99, ms": "late_p99_ms",
}
"""The columns that compare it with an empty bus."""


def costs_table(results: Iterable[Result]) -> list[list[str]]:
    """A header, and a row for each volume."""
    rows = [["", *COSTS]]
    for result in results:
        cells = [readable(result.costs[figure]) if figure in result.costs else NOTHING for figure in COSTS.values()]
        rows.append([f"{result.count:,} {result.volume.name}", *cells])
    return rows


def ratios_table(results: Iterable[Result]) -> list[list[str]]:
    """A header, and for each volume a row of the ratios to an empty bus, and one of the empty bus's figures."""
    rows = [["", *RATIOS]]
    for result in results:
        name = f"{result.count:,} {result.volume.name}"
        rows.append([f"{name}: to an empty bus", *(cell(result.ratios(figure)) for figure in RATIOS.values())])
        empty = [cell([figures[figure] for figures in result.empty]) for figure in RATIOS.values()]
        rows.append(["the empty bus", *empty])
    return rows
