"""What it costs a server to read all of its topics for a scrape, and for how long at a time that keeps Redis busy.

A scrape reads them as ListTopics and the dashboard do.
"""

from __future__ import annotations

import re
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis
from bench.markdown import cell
from bench.scenarios import used_since
from bench.system import System
from bench.volume import make_streams, make_topics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.scenarios import Figures

FLAGS = ("--http-listen", "127.0.0.1:0", "--lease", "1h")
PAUSE = 10
"""How long a server leaves topics alone once it has read them, in multiples of the time that it took; a little more."""
AT_LEAST_S = 1.1
"""How long it does so at least."""
AGE = re.compile(r"^duebus_gauges_age_seconds\{.*\} (.+)$", re.MULTILINE)
LOGGED_US = 100
"""Shorter commands are left out of the longest."""


@dataclass(frozen=True)
class Topics:
    """What is read.

    Attributes:
        nodes: of Redis; several form a cluster.
        busy: each topic has a subscriber with a lease, rates, and an event for later; otherwise only that event.
    """

    name: str
    engine: str
    nodes: int = 1
    busy: bool = False


READINGS = [
    Topics(f"{kind} topics, {place}", engine, nodes, kind == "busy")
    for place, engine, nodes in (("local", "local", 1), ("redis", "redis", 1), ("a cluster of 3", "redis", 3))
    for kind in ("idle", "busy")
]


def measure(topics: Topics, count: int, rounds: int) -> list[Figures]:
    """What each of so many readings costs."""
    with System(topics.engine, *FLAGS, nodes=topics.nodes) as system:
        if topics.busy:
            make_streams(system, count, "many")
            make_topics(system, count, delay_s=0)
        make_topics(system, count)
        address = system.server.logged(r"http on .*address=(\S+)")
        runs: list[Figures] = []
        for _ in range(rounds):
            pause_s = max(AT_LEAST_S, PAUSE * runs[-1]["took_ms"] / 1e3) if runs else AT_LEAST_S
            runs.append(_read(system, f"http://{address}/metrics", pause_s))
        return runs


def _read(system: System, url: str, pause_s: float) -> Figures:
    """Scrape until the topics were read, after a pause. What the server does in the pause is not part of it, nor what a
    scrape costs that reads nothing.
    """
    before = system.cpu_s()
    time.sleep(pause_s)
    idle = used_since(before, system)
    _log_commands(system)
    before, began_s, scrapes = system.cpu_s(), time.monotonic(), 1
    while _age_s(url) > time.monotonic() - began_s:
        scrapes += 1
        time.sleep(AT_LEAST_S)
    took_s = time.monotonic() - began_s
    used, before = used_since(before, system), system.cpu_s()
    _age_s(url)
    alone = used_since(before, system)
    rest = {name: scrapes * alone[name] + idle[name] * took_s / pause_s for name in used}
    return {
        **{f"{name}_ms": (seconds - rest[name]) * 1e3 for name, seconds in used.items()},
        **_longest_command(system),
        "took_ms": took_s * 1e3,
        "scrape_ms": alone["server"] * 1e3,
    }


def _age_s(url: str) -> float:
    """Scrape. Returns how old the gauges are."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310  # our own server
        found = AGE.search(answer.read().decode())
    return float(found[1]) if found else float("inf")


def _log_commands(system: System) -> None:
    if system.redis is not None:
        with redis.Redis.from_url(system.redis.url) as client:
            client.config_set("slowlog-log-slower-than", LOGGED_US)
            client.config_set("slowlog-max-len", 1_000_000)
            client.slowlog_reset()


def _longest_command(system: System) -> Figures:
    if system.redis is None:
        return {}
    with redis.Redis.from_url(system.redis.url) as client:
        return {"longest_ms": max([entry["duration"] for entry in client.slowlog_get(-1)], default=0) / 1e3}


COLUMNS = {
    "server, ms": "server_ms",
    "Redis, ms": "redis_ms",
    "longest command, ms": "longest_ms",
    "the whole reading, ms": "took_ms",
    "the scrape itself, ms": "scrape_ms",
}


def table(count: int, rows: Mapping[Topics, Sequence[Figures]]) -> list[list[str]]:
    """A header, and a row for each kind of topics."""
    return [
        ["", *COLUMNS],
        *(
            [
                f"{count:,} {topics.name}",
                *(cell([one[name] for one in runs if name in one]) for name in COLUMNS.values()),
            ]
            for topics, runs in rows.items()
        ),
    ]
