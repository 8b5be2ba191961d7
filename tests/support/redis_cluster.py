"""A real cluster of the tests' own redis-servers."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.crc import key_slot

from support.redis_bus import until
from support.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START_TIMEOUT_S = 30
LEAST_FOR_REDIS_CLI = 3
"""How many primaries redis-cli asks for. Fewer do not survive the loss of one."""
SLOTS = 16_384

T = TypeVar("T")


@contextmanager
def running_cluster(primaries: int, replicas: int, node_timeout_ms: int, *more: str) -> Iterator[list[RedisServer]]:
    """The nodes of a cluster during the block. Each primary has ``replicas``; ``more`` are options of the nodes."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms), *more)
    nodes = [RedisServer(*options, port=free_port(below=22_768)) for _ in range(primaries * (1 + replicas))]
    create = ["redis-cli", "--cluster", "create", *(f"127.0.0.1:{node.port}" for node in nodes)]
    try:
        if primaries < LEAST_FOR_REDIS_CLI:
            _join_by_hand(nodes)
        else:
            shape = ["--cluster-replicas", str(replicas), "--cluster-yes"]
            subprocess.run([*create, *shape], check=True, capture_output=True)
        wait_until_it_is_whole(nodes)
        yield nodes
    finally:
        for node in nodes:
            node.close()


def _join_by_hand(nodes: list[RedisServer]) -> None:
    """Make a cluster of primaries with an equal share of the slots each."""
    for number, node in enumerate(nodes):
        first, end = SLOTS * number // len(nodes), SLOTS * (number + 1) // len(nodes)
        with redis.Redis.from_url(node.url) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)


def wait_until_it_is_whole(nodes: list[RedisServer]) -> None:
    """Return when every node reports that the cluster works; blocks."""
    deadline = time.monotonic() + START_TIMEOUT_S
    for node in nodes:
        with redis.Redis.from_url(node.url) as client:
            while client.cluster("info")["cluster_state"] != "ok":
                if time.monotonic() > deadline:
                    raise AssertionError("the nodes did not become a cluster")
                time.sleep(0.05)  # nothing signals it


async def until_it_is_whole(nodes: list[RedisServer]) -> None:
    """Return when every node reports that the cluster works."""
    for node in nodes:
        with redis.Redis.from_url(node.url) as client:
            await until(lambda client=client: client.cluster("info")["cluster_state"] == "ok", "the cluster", 30)  # type: ignore[misc]


class MovingSlot:
    """A slot of a cluster that is moved from one node to another, key by key.

    Args:
        nodes: of the cluster.
        key: one of the slot.
    """

    def __init__(self, nodes: list[RedisServer], key: str) -> None:
        self._nodes = nodes
        self._clients: list[Any] = [redis.Redis.from_url(node.url, single_connection_client=True) for node in nodes]
        self._ids = [client.cluster("myid") for client in self._clients]
        self._slot = key_slot(key.encode())
        self._source = self._when_whole(lambda: next(at for at, one in enumerate(self._clients) if _has(one, key)))
        self._target = (self._source + 1) % len(nodes)
        self._address = ("127.0.0.1", nodes[self._target].port)

    def begin(self) -> None:
        """Announce the move to both nodes."""
        self._setslot(self._target, "IMPORTING", self._ids[self._source])
        self._setslot(self._source, "MIGRATING", self._ids[self._target])

    def unmoved(self) -> list[bytes]:
        """The keys that have not been moved yet."""
        found: list[bytes] = self._clients[self._source].execute_command("CLUSTER GETKEYSINSLOT", self._slot, 1000)
        return sorted(found)

    def move(self, key: bytes) -> None:
        """Move one key."""
        source = self._clients[self._source]
        self._when_whole(lambda: source.execute_command("MIGRATE", *self._address, key, 0, 5000))

    def end(self) -> None:
        """Move the remaining keys, and announce it to all nodes."""
        for key in self.unmoved():
            self.move(key)
        for at in (self._target, self._source, *range(len(self._clients))):
            self._setslot(at, "NODE", self._ids[self._target])

    def contents(self) -> dict[bytes, bytes]:
        """All keys of the slot on both nodes, as Redis dumps them."""
        found: dict[bytes, bytes] = {}
        for at in (self._source, self._target):
            client = self._clients[at]
            for key in client.execute_command("CLUSTER GETKEYSINSLOT", self._slot, 1000):
                client.execute_command("ASKING")
                found[key] = client.dump(key)
        return found

    def _when_whole(self, action: Callable[[], T]) -> T:
        """Run an action. On a busy machine a node may have lost the others; wait until it has found them."""
        while True:
            try:
                return action()
            except redis.ResponseError as error:
                is_down = isinstance(error, redis.exceptions.ClusterDownError) or "CLUSTERDOWN" in str(error)
                if not is_down:
                    raise
                wait_until_it_is_whole(self._nodes)

    def _setslot(self, at: int, state: str, node: Any) -> None:
        self._clients[at].execute_command("CLUSTER SETSLOT", self._slot, state, node)


def _has(client: Any, key: str) -> bool:
    """Whether a node is the one that has a key's slot."""
    try:
        client.exists(key)
    except redis.exceptions.MovedError:
        return False
    return True
