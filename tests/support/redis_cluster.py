"""A real cluster of redis-servers of the tests' own."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis

from support.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_S = 30


@contextmanager
def running_cluster(masters: int, replicas: int, node_timeout_ms: int, *more: str) -> Iterator[list[RedisServer]]:
    """The nodes of a cluster during the block; each master has so many replicas. ``more`` are options of the nodes."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms), *more)
    nodes = [RedisServer(*options, port=free_port(below=50_000)) for _ in range(masters * (1 + replicas))]
    create = ["redis-cli", "--cluster", "create", *(f"127.0.0.1:{node.port}" for node in nodes)]
    try:
        shape = ["--cluster-replicas", str(replicas), "--cluster-yes"]
        subprocess.run([*create, *shape], check=True, capture_output=True)
        _wait_until_it_is_whole(nodes)
        yield nodes
    finally:
        for node in nodes:
            node.close()


def _wait_until_it_is_whole(nodes: list[RedisServer]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    for node in nodes:
        with redis.Redis.from_url(node.url) as client:
            while client.cluster("info")["cluster_state"] != "ok":
                if time.monotonic() > deadline:
                    raise AssertionError("the nodes did not become a cluster")
                time.sleep(0.05)  # nothing signals it
