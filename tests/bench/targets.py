"""The targets of DueBus on two cores, with all processes on that machine, and the measured results."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.markdown import NOTHING, cell
from bench.report import readable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.report import Series

REDIS, LOCAL = "redis", "local"


@dataclass(frozen=True)
class Target:
    """A figure of a scenario, and its target on each engine.

    Attributes:
        redis: the target; None if the scenario is not for this engine.
        most: whether the target is a maximum rather than a minimum.
    """

    title: str
    scenario: str
    figure: str
    redis: float | None
    local: float
    most: bool = False

    def wanted(self, engine: str) -> str:
        """In words, for one engine."""
        value = self.redis if engine == REDIS else self.local
        if value is None:
            return NOTHING
        return f"{'at most ' if self.most else ''}{readable(value)}"


TARGETS = (
    Target("end to end, events/s", "end-to-end", "events_per_s", 30_000, 50_000),
    Target("drain of 200,000, events/s", "drain", "events_per_s", 45_000, 60_000),
    Target("64 coroutines, a dispatch each, events/s", "single dispatch", "events_per_s", 25_000, 30_000),
    Target("unary calls, share of the echo server", "unary", "of_echo_share", 0.85, 0.9),
    Target("instant event, p50, ms", "latency", "p50_ms", 1.2, 0.9, most=True),
    Target("instant event, p99, ms", "latency", "p99_ms", 3, 2, most=True),
    Target("late by, p99, ms, 1,000,000 waiting", "lateness, backlog", "p99_ms", 4, 3, most=True),
    Target("memory of a scheduled event, bytes", "memory", "event_bytes", 450, 600, most=True),
    Target("the same with a journal", "memory, journal", "event_bytes", None, 450, most=True),
    Target("1,000 idle streams, share of a core", "idle", "core_share", 0.02, 0.02, most=True),
    Target("an idle stream, bytes", "idle", "subscription_bytes", 60 << 10, 60 << 10, most=True),
    Target("handlers of a slow worker at once", "slow worker", "at_once", 64, 64, most=True),
)

RATIOS = (
    ("end to end, share of raw redis-py", ("end-to-end", "events_per_s"), ("raw redis", "events_per_s")),
    ("end to end with 1,000 keys, to without", ("end-to-end, keys", "events_per_s"), ("end-to-end", "events_per_s")),
    (
        "end to end with a rate limit, to without",
        ("end-to-end, limited", "events_per_s"),
        ("end-to-end", "events_per_s"),
    ),
    ("instant event, p50, to a bare echo", ("latency", "p50_ms"), ("round trip", "p50_ms")),
    ("instant event, p50, to a bare relay", ("latency", "p50_ms"), ("relay", "p50_ms")),
    *(
        (f"{name} with 1,000,000 waiting, to without", (f"{scenario}, backlog", figure), (scenario, figure))
        for name, scenario, figure in (
            ("end to end", "end-to-end", "events_per_s"),
            ("drain", "drain", "events_per_s"),
            ("late by, p99,", "lateness", "p99_ms"),
        )
    ),
)
"""The ratios: both figures are from the same run, so that the machine's state cancels out."""


def rows(all_series: Iterable[Series]) -> list[list[str]]:
    """A header and a row for each target and each ratio: the target, and the result."""
    figures = {(one.scenario, one.engine, name): values for one in all_series for name, values in one.values.items()}
    made = [["", "redis: wanted", "redis: reached", "local: wanted", "local: reached"]]
    for target in TARGETS:
        cells = [
            text
            for engine in (REDIS, LOCAL)
            for text in (
                target.wanted(engine),
                cell(figures.get((target.scenario, engine, target.figure), [])),
            )
        ]
        made.append([target.title, *cells])
    for title, (scenario, figure), (base_scenario, base_figure) in RATIOS:
        cells = []
        for engine in (REDIS, LOCAL):
            of, to = figures.get((scenario, engine, figure)), figures.get((base_scenario, engine, base_figure))
            cells += ["", readable(statistics.median(of) / statistics.median(to)) if of and to else NOTHING]
        made.append([title, *cells])
    return made
