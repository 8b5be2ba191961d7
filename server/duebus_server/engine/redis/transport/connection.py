"""The clients of one Redis: one server, behind sentinels, or a cluster."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import (
    ConnectionError,  # noqa: A004  # the client's name for it
    RedisClusterException,
    RedisError,
)

from duebus_server.domain.clock import SECOND
from duebus_server.domain.engine_info import RedisInfo
from duebus_server.engine.redis.transport.clients import (
    ANSWER_TIMEOUT_S,
    CONNECTIONS,
    MANAGED,
    NODE_TIMEOUT_S,
    SENTINEL_TIMEOUT_S,
    TIMEOUTS,
    ClusterClient,
    Generation,
    Sentinels,
    ServerClient,
)
from duebus_server.engine.redis.transport.credentials import Credentials
from duebus_server.engine.redis.transport.script_client import ScriptClient
from duebus_server.engine.redis.transport.url import CLUSTER, SENTINEL, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from duebus_server.engine.redis.transport.pipelined import PipelinedConnection
    from duebus_server.engine.redis.transport.script_client import Node

MAX_CONNECTIONS = 64
"""How many commands run at once over the pool. Others wait for a connection, which counts towards their time limit."""

ALERT_TIMEOUT_S = 0.5
"""How long to wait for the alert of a server that refuses our certificate."""

PING_S = 5
"""How long a connection may be idle before its next use tests it first."""


class Connection:
    """The clients of one Redis.

    Args:
        url: ``redis://``, ``rediss://`` (TLS: ``?ssl_ca_certs=FILE&ssl_certfile=FILE&ssl_keyfile=FILE``), ``unix://``,
            ``redis+sentinel://HOST:PORT,HOST:PORT/SERVICE`` (``?sentinel_username=...&sentinel_password=...`` if the
            sentinels have their own), ``redis+cluster://HOST:PORT,HOST:PORT``. The last two use TLS if a TLS file is
            named.
        credentials: take precedence over those in the URL.

    Raises:
        RedisUrlError: the URL is none of these.
        PasswordFileError: the file with the password can't be read.
    """

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        self._target = parse(url)
        self._options: dict[str, Any] = {
            **TIMEOUTS,
            "health_check_interval": PING_S,
            # With RESP3 the client relies on maintenance notifications and no longer checks, before it uses a
            # connection, whether Redis has closed it: after a restart each connection would fail a call.
            "protocol": 2,
            **{name: value for name, value in self._target.options.items() if name not in ("username", "password")},
            **({"socket_timeout": NODE_TIMEOUT_S} if self.is_cluster else {}),
            **(credentials or Credentials()).options(self._target.options),
        }
        self.checks_keys = self.is_cluster
        """Whether Redis checks that a script declares the keys that it touches."""
        self._turns = count()
        self.redis: Any = self._cluster() if self.is_cluster else self._client(self._options)
        self.scripts = ScriptClient(self.redis, self._node_of, self._nodes, self._demoted, self._reconnect)
        self.on_demotion: Callable[[], None] = lambda: None
        """Called when Redis turns out to be a replica: the listener has to reconnect too."""

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over nodes, so that one command can't touch all of them."""
        return self._target.scheme == CLUSTER

    def listener(self) -> Redis:
        """A client for Pub/Sub. Any node of a cluster passes on what is published on the others."""
        options = {
            **self._options,
            "socket_timeout": self._options["socket_timeout"] or ANSWER_TIMEOUT_S,
            "health_check_interval": 0,  # the listener sends its own pings
        }
        if self.is_cluster:
            nodes = self.redis.get_nodes()
            # Another one each time: the last one may be down without any call having noticed.
            node = nodes[next(self._turns) % len(nodes)]
            return Redis(host=node.host, port=int(node.port), ssl=self._target.tls, **options)
        return self._client(options)

    def _demoted(self) -> None:
        self.on_demotion()

    def _reconnect(self) -> None:
        """Make the pool reconnect. The client of a cluster does so itself."""
        if not self.is_cluster:
            self.redis.reconnect()

    async def servers(self) -> list[RedisInfo]:
        """The Redis, or each node of the cluster.

        Raises:
            RedisError: as the client does.
        """
        if not self.is_cluster:
            return [_server("", await self.redis.info())]
        answers = await self.redis.info(target_nodes=ClusterClient.ALL_NODES)
        return [_server(address, info) for address, info in sorted(answers.items())]

    async def facts(self) -> ServerFacts:
        """Ask Redis about itself.

        Raises:
            RedisError: as the client does; a ConnectionError with the server's alert if it refuses our certificate.
        """
        try:
            return await _facts(self.redis)
        except ConnectionError:
            if self._target.tls:
                await self._read_alert()
            raise

    async def _read_alert(self) -> None:
        """Connect and write nothing. The client writes at once, so that the connection is reset and the alert lost.

        Raises:
            ConnectionError: with the alert.
        """
        options = self._target.options
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
        host, port = self._target.addresses[0]
        try:
            async with asyncio.timeout(ALERT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(host, port, ssl=context)
                try:
                    await reader.read(1)
                finally:
                    writer.close()
        except ssl.SSLError as error:
            raise ConnectionError(str(error)) from error
        except (OSError, TimeoutError):
            return

    async def close(self) -> None:
        """Close all connections, those to a Redis that no longer reads too."""
        self.scripts.close()
        with suppress(RedisError):  # "Timed out closing connection", with bytes that could not be sent
            await self.redis.aclose()

    def _node_of(self, key: str) -> Node | None:
        """The node that has a key, and what connects to it; None if the cluster's client does not know."""
        if not self.is_cluster:
            return "", self._pipelined
        try:
            node = self.redis.get_node_from_key(key)
        except RedisClusterException:
            return None
        return node.name, lambda: self._pipelined_to(node)

    def _nodes(self) -> set[str]:
        """The names of the nodes, as ``_node_of`` gives them."""
        return {node.name for node in self.redis.get_nodes()} if self.is_cluster else {""}

    async def _pipelined(self) -> PipelinedConnection:
        connection: Any = self.redis.connection_pool.make_connection()
        return await connection.pipelined(ANSWER_TIMEOUT_S)  # type: ignore[no-any-return]

    async def _pipelined_to(self, node: ClusterNode) -> PipelinedConnection:
        connection = CONNECTIONS["rediss" if self._target.tls else "redis"](**node.connection_kwargs)
        return await connection.pipelined(NODE_TIMEOUT_S)  # type: ignore[no-any-return]

    def _client(self, options: dict[str, Any]) -> Redis:
        target = self._target
        options = {**options, "generation": Generation()}
        if target.scheme == SENTINEL:
            return self._behind_sentinels(options)
        address: dict[str, Any] = {"path": target.path}
        if target.addresses:
            ((host, port),) = target.addresses
            address = {"host": host, "port": port}
        pool = BlockingConnectionPool(
            MAX_CONNECTIONS, timeout=None, connection_class=CONNECTIONS[target.scheme], **address, **options
        )
        client: ServerClient = ServerClient.from_pool(pool)  # type: ignore[assignment]
        client.on_demotion = self._demoted
        return client

    def _behind_sentinels(self, options: dict[str, Any]) -> Redis:
        target = self._target
        own = {name: value for name, value in target.options.items() if name.startswith("ssl_")}
        limits = {"socket_connect_timeout": SENTINEL_TIMEOUT_S, "socket_timeout": SENTINEL_TIMEOUT_S}
        sentinel_kwargs = {**TIMEOUTS, **limits, **own, **target.sentinel_options, "ssl": target.tls}
        sentinels: Any = Sentinels(target.addresses, sentinel_kwargs=sentinel_kwargs)  # type: ignore[no-untyped-call]
        client: ServerClient = sentinels.master_for(
            target.service, ServerClient, ssl=target.tls, connection_class=MANAGED[target.tls], **options
        )
        client.on_demotion = self._demoted
        return client

    def _cluster(self) -> ClusterClient:
        nodes = [ClusterNode(host, port) for host, port in self._target.addresses]
        # Don't reload the whole cluster whenever a few slots have moved: that closes connections that other calls use.
        return ClusterClient(startup_nodes=nodes, ssl=self._target.tls, reinitialize_steps=0, **self._options)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a Redis reports about itself.

    Attributes:
        version: major and minor.
        policy: the maxmemory policy; empty if Redis does not report it.
        is_cluster: whether it is a node of a cluster.
    """

    version: tuple[int, ...]
    policy: str
    is_cluster: bool


def _server(address: str, info: Mapping[str, Any]) -> RedisInfo:
    """A Redis by its answer to INFO. A service that leaves something out leaves it at zero."""
    return RedisInfo(
        address=address,
        version=str(info.get("redis_version", "")),
        role=str(info.get("role", "")),
        replicas=int(info.get("connected_slaves", 0)),
        uptime_us=int(info.get("uptime_in_seconds", 0)) * SECOND,
        memory_bytes=int(info.get("used_memory", 0)),
        max_memory_bytes=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "")),
        appends=info.get("aof_enabled") == 1,
        saved_us=int(info.get("rdb_last_save_time", 0)) * SECOND,
        unsaved_changes=int(info.get("rdb_changes_since_last_save", 0)),
    )


async def _facts(redis: Any) -> ServerFacts:
    info = await redis.info()
    facts = info if "redis_version" in info else next(iter(info.values()))  # a cluster answers for each node
    version = tuple(int(part) for part in str(facts["redis_version"]).split(".")[:2])
    return ServerFacts(version, str(facts.get("maxmemory_policy", "")), facts.get("cluster_enabled") == 1)
