"""The storage of the servers in a fault test: one Redis behind links that can fail, or a cluster."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, Self

import redis
from fault.links import Links
from support.redis_cluster import MovingSlot, running_cluster, wait_until_it_is_whole
from support.redis_server import RedisServer

if TYPE_CHECKING:
    from types import TracebackType

ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")
PRIMARIES = 3
NODE_TIMEOUT_MS = 1_000


class Storage(Protocol):
    """Redis, running. A context manager.

    Attributes:
        nodes: all its redis-servers. Whatever one of them has answered is on its disk.
    """

    nodes: list[RedisServer]

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def url(self, server: int, /) -> str:
        """The URL for one of the servers, by its number."""
        ...

    def restart(self, node: RedisServer) -> None:
        """Restart a node that was killed, and wait until the whole storage works."""
        ...

    def open_client(self) -> Any: ...


class OneRedis:
    """One redis-server.

    Args:
        servers: how many there will be; each has its own link.

    Attributes:
        links: between each server and Redis.
    """

    def __init__(self, servers: int) -> None:
        self._servers = servers
        self._stack = ExitStack()
        self.nodes: list[RedisServer] = []

    def __enter__(self) -> Self:
        with self._stack:
            node = RedisServer(*ON_DISK)
            self._stack.callback(node.close)
            self.nodes.append(node)
            self.links = self._stack.enter_context(Links(f"127.0.0.1:{node.port}", self._servers))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def url(self, server: int) -> str:
        """Through the server's own link."""
        return self.links.url(server)

    def restart(self, node: RedisServer) -> None:
        """It answers once this returns."""
        node.restart()

    def open_client(self) -> Any:
        return redis.Redis.from_url(self.nodes[0].url)


class Cluster:
    """Three primaries that share the slots, without replicas: a failover would lose what was just answered."""

    def __init__(self) -> None:
        self._running = running_cluster(PRIMARIES, 0, NODE_TIMEOUT_MS, *ON_DISK)
        self.nodes: list[RedisServer] = []

    def __enter__(self) -> Self:
        self.nodes = self._running.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.__exit__(exc_type, exc, traceback)

    def url(self, _server: int) -> str:
        """Any node names the others."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def restart(self, node: RedisServer) -> None:
        """The others take a moment to notice that it is back."""
        node.restart()
        wait_until_it_is_whole(self.nodes)

    def open_client(self) -> Any:
        return redis.RedisCluster.from_url(self.nodes[0].url)

    def moving_slot(self, key: str) -> MovingSlot:
        """The slot of a key, which is about to move to another node."""
        return MovingSlot(self.nodes, key)
