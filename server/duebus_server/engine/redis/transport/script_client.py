"""Sends scripts to Redis over one pipelined connection per node, and over the client's pool while that is down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004  # the client's name for it
    TryAgainError,
)

from duebus_server.engine.redis.transport.clients import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, is_demoted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from duebus_server.engine.redis.transport.pipelined import PipelinedConnection

Node = tuple[str, "Callable[[], Awaitable[PipelinedConnection]]"]
"""The name of a node, and what connects to it."""

RETRY_S = 1.0
"""The pause after a failed attempt to connect."""

_REFUSALS = (AskError, TryAgainError, ClusterDownError, BusyLoadingError)
"""How a node refuses a command that it can't run now, or that is for another node (MovedError is an AskError)."""


class Link:
    """The pipelined connection to one node.

    It connects in the background, and only after a call over the pool has succeeded. So callers get the pool's errors,
    and an unreachable Redis gets no additional attempts to connect.

    Args:
        connect: opens a connection.
    """

    def __init__(self, connect: Callable[[], Awaitable[PipelinedConnection]]) -> None:
        self._connect = connect
        self._connection: PipelinedConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._not_before_s = 0.0

    @property
    def connection(self) -> PipelinedConnection | None:
        """The connection, if it can be used now."""
        connection = self._connection
        return connection if connection is not None and connection.takes_commands else None

    def reached(self) -> None:
        """Connect, because the pool has just reached the node."""
        if self.connection is None and self._connecting is None:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._not_before_s:
                self._connecting = loop.create_task(self._open())

    def retire(self) -> bool:
        """Close the connection once its commands are answered. Returns whether there was one that could be used."""
        connection, self._connection = self.connection, None
        if connection is not None:
            connection.retire()
        return connection is not None

    def close(self) -> None:
        """Close the connection at once, unless it was retired."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._connection = await self._connect()
        except (RedisError, OSError):  # the pool will run into the same error, and report it
            self._not_before_s = asyncio.get_running_loop().time() + RETRY_S
        finally:
            self._connecting = None


class ScriptClient:
    """Runs scripts, many at a time on one connection.

    A script that a node refuses before running it is repeated over the pool, which waits for a slot that is being
    moved, and finds a new primary.

    Args:
        redis: the client with the pool.
        node_of: returns the name of a key's node and a function that connects to it; None if the node is not known.
        nodes: returns the names of all nodes that there are now.
        on_demotion: called when the node of a pipelined connection turns out to be a replica.
        reconnect: makes the pool reconnect; called when a pipelined connection counts as dead or leads to a replica.
    """

    def __init__(
        self,
        redis: Any,
        node_of: Callable[[str], Node | None],
        nodes: Callable[[], Collection[str]],
        on_demotion: Callable[[], None],
        reconnect: Callable[[], None],
    ) -> None:
        self._redis = redis
        self._node_of = node_of
        self._nodes = nodes
        self._on_demotion = on_demotion
        self._reconnect = reconnect
        self._links: dict[str, Link] = {}

    async def evalsha(self, digest: str, key_count: int, *keys_and_arguments: Any) -> Any:
        """Run a script that Redis has cached.

        Raises:
            RedisError, asyncio.TimeoutError: as the client does.
        """
        give_up_s = asyncio.get_running_loop().time() + ANSWER_TIMEOUT_S
        link = self._link_to(keys_and_arguments[0])
        if link is not None and (connection := link.connection) is not None:
            try:
                return await connection.send("EVALSHA", digest, key_count, *keys_and_arguments)
            except TimeoutError:
                self._reconnect()
                raise
            except (ResponseError, BusyLoadingError) as error:
                if is_demoted(error) or isinstance(error, BusyLoadingError):
                    if link.retire():
                        self._reconnect()
                        self._on_demotion()
                elif not isinstance(error, _REFUSALS):
                    raise
        async with asyncio.timeout_at(give_up_s):
            return await self._over_the_pool(self._redis.evalsha, digest, key_count, *keys_and_arguments)

    async def eval(self, source: str, key_count: int, *keys_and_arguments: Any) -> Any:
        """Run a script that Redis has not cached. The caller limits how long that may take.

        Raises:
            RedisError: as the client does.
        """
        return await self._over_the_pool(self._redis.eval, source, key_count, *keys_and_arguments)

    def close(self) -> None:
        """Close the pipelined connections."""
        for link in self._links.values():
            link.close()

    async def _over_the_pool(self, run: Callable[..., Awaitable[Any]], script: str, key_count: int, *rest: Any) -> Any:
        reply = await run(script, key_count, *rest)
        link = self._link_to(rest[0])
        if link is not None:
            link.reached()
        return reply

    def _link_to(self, key: str) -> Link | None:
        node = self._node_of(key)
        if node is None:
            return None
        name, connect = node
        link = self._links.get(name)
        if link is None:
            self._drop_gone()
            link = self._links[name] = Link(connect)
        return link

    def _drop_gone(self) -> None:
        """Drop the links to nodes that have left the cluster. Their commands are still answered."""
        for name in self._links.keys() - self._nodes():
            link = self._links.pop(name)
            link.retire()
            link.close()
