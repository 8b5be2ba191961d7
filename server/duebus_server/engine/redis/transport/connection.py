"""The clients of one Redis: one server, behind sentinels, or a cluster."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from redis.asyncio import (
    BlockingConnectionPool,
    Redis,
    RedisCluster,
    Sentinel,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio import (
    Connection as TcpConnection,
)
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.credentials import CredentialProvider
from redis.exceptions import (
    ClusterError,
    ConnectionError,  # noqa: A004  # the client's name for it
    MasterDownError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from duebus_server.engine.redis.transport.url import CLUSTER, SENTINEL, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 2.0
"""How long a call waits for an answer before it fails; longer than any script takes."""

MAX_CONNECTIONS = 64
"""How many calls run at once. Others wait for a connection, and that counts towards their answer's time limit."""

PING_S = 5
"""How long a connection may be idle before its next use tests it first."""

NODE_TIMEOUT_S = 1.0
"""How long a node of a cluster may take to answer: if one hangs, the same call still has time to ask another."""

SLOT_TIMEOUT_S = 1.5
"""How long a command waits for a slot that is being moved: less than a call has for its answer."""

FAILOVER_TIMEOUT_S, FAILOVER_PAUSE_S = 1.0, 0.05
"""How long a command that a replica refuses is retried, and the pause before each retry."""

FIRST_SLOT_PAUSE_S, GREATEST_SLOT_PAUSE_S = 0.002, 0.05
"""The pauses between tries of a command that waits for a slot. After MOVED, the second try reaches the right node."""

SENTINEL_TIMEOUT_S = 1.5
"""How long a sentinel may take to connect, and to answer: less than a call has. All are asked at the same time."""

ALERT_TIMEOUT_S = 0.5
"""How long to wait for the alert of a server that refuses our certificate."""

_TIMEOUTS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    # ``asking`` limits how long an answer may take. The client's own timeout would make a task of every command.
    "socket_timeout": None,
    # The engine decides whether a script whose answer was lost may run again. When a sentinel fails, the next is asked.
    "retry": Retry(NoBackoff(), 0),
}


class _Connection:
    """How our connections differ from the client's.

    Hiredis writes the commands, as it does for the synchronous client. The asynchronous one writes them in Python,
    which takes twice as long: a tenth of what a batch of 1,000 acks costs the server. ``bench/redis_codec.py`` measures
    it.

    A connection that is marked for reconnection while idle reconnects before its next use. The client checks the mark
    only when a connection returns to the pool.
    """

    _serializer = HiredisRespSerializer()

    def pack_command(self, *args: Any) -> list[bytes]:
        """A command in the protocol of Redis."""
        packed: list[bytes] = self._serializer.pack(*args)
        return packed

    async def connect(self) -> None:
        """As the client does; called before each use."""
        if self.should_reconnect():  # type: ignore[attr-defined]
            await self.disconnect()  # type: ignore[attr-defined]
        await super().connect()  # type: ignore[misc]


class _Tcp(_Connection, TcpConnection):
    pass


class _Tls(_Connection, SSLConnection):
    pass


class _Unix(_Connection, UnixDomainSocketConnection):
    pass


class _Managed(_Connection, SentinelManagedConnection):
    pass


class _ManagedTls(_Connection, SentinelManagedSSLConnection):
    pass


class _Server(Redis):
    """A client of one server that drops connections to a node that is no longer the primary.

    After a failover behind an address that stays the same, connections to the old primary stay open, and it refuses all
    writes. A refusal comes before a script has written anything, so the command is sent again over a new connection.

    Attributes:
        on_demotion: called each time it drops its connections.
    """

    on_demotion: Callable[[], None]

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As the client does."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + FAILOVER_TIMEOUT_S
        while True:
            try:
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except ResponseError as error:
                if not is_demoted(error) or loop.time() >= give_up_s:
                    raise
            self._leave()
            self.on_demotion()
            await asyncio.sleep(FAILOVER_PAUSE_S)

    def client(self) -> Redis:
        """As the client does: returns one that keeps a connection for itself."""
        one: Any = super().client()
        one.on_demotion = self.on_demotion
        return cast("Redis", one)

    def _leave(self) -> None:
        """Make each connection reconnect before its next use.

        None is closed here: another call may be taking it right now, and would use a half-closed connection.
        """
        pool: Any = self.connection_pool
        # The client's own way to mark connections leaves out those that are idle.
        for connection in (*pool._get_free_connections(), *pool._get_in_use_connections()):  # noqa: SLF001
            connection.mark_for_reconnect()


def is_demoted(error: BaseException) -> bool:
    """Whether a node refuses a command because it is a replica. For a script, Redis 6.2 puts other text before that."""
    return isinstance(error, ReadOnlyError | MasterDownError) or "-READONLY " in str(error)


class _Sentinels(Sentinel):
    """Asks all sentinels for the primary at the same time, so that those that hang cost nothing.

    The client asks one after the other, and reports only the types of their errors.
    """

    async def discover_master(self, service_name: str) -> Any:
        """The address of the primary.

        Raises:
            MasterNotFoundError: no sentinel named it; the text lists their errors.
        """
        asked = [asyncio.create_task(self._ask(client, service_name)) for client in self.sentinels]
        failures = set()
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    return await answer
                except RedisError as error:
                    failures.add(f"{type(error).__name__}: {error}")
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise MasterNotFoundError("; ".join(failures))

    async def _ask(self, client: Any, service_name: str) -> tuple[str, int]:
        state = (await client.sentinel_masters()).get(service_name)
        if state is None or not self.check_master_state(state, service_name):
            raise MasterNotFoundError("a sentinel knows no primary that is up")
        return state["ip"], state["port"]


class SlotMovingError(RedisError):
    """A slot of the cluster is being moved from one node to another, and that takes longer than a call can wait."""


class ClusterUnusableError(ConnectionError):
    """No node of a cluster could be used; its cause says why. The client's own error for this is not a RedisError."""


class _Cluster(RedisCluster):
    """A client of a cluster that waits while a slot is being moved.

    Meanwhile a command's keys may be split between two nodes. Redis refuses the whole command (TRYAGAIN), or names the
    other node (ASK), which would refuse it too. The client would ask that node, possibly over another connection than
    the one on which it sent ASKING.
    """

    RedisClusterRequestTTL = 1
    """One try. After MOVED, ASK or TRYAGAIN the client raises a bare ClusterError; by then it has noted where MOVED
    points."""

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """As the client does."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + SLOT_TIMEOUT_S
        pause_s = FIRST_SLOT_PAUSE_S
        while True:
            try:
                return await super().execute_command(*args, **kwargs)
            except ClusterError as error:
                if type(error) is not ClusterError:
                    raise
                if loop.time() >= give_up_s:
                    raise SlotMovingError("a slot of the cluster is being moved") from error
            except RedisClusterException as error:
                raise ClusterUnusableError(str(error)) from error
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, GREATEST_SLOT_PAUSE_S)


SINGLE: dict[str, type[TcpConnection | UnixDomainSocketConnection]] = {"redis": _Tcp, "rediss": _Tls, "unix": _Unix}
"""The connections to one server, by the scheme of its URL."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials for Redis; None where the URL decides.

    Attributes:
        password_file: holds the password; read again for each connection, so that a rotated password needs no restart.
    """

    username: str | None = None
    password: str | None = None
    password_file: Path | None = None

    def options(self, in_url: Mapping[str, Any]) -> dict[str, Any]:
        """The client's options, completed with what the URL has.

        Raises:
            PasswordFileError: the file can't be read.
        """
        username = self.username or in_url.get("username")
        if self.password_file is not None:
            from_file = _FromFile(username, self.password_file)
            from_file.get_credentials()
            return {"credential_provider": from_file}
        password = self.password or in_url.get("password")
        return {name: value for name, value in (("username", username), ("password", password)) if value is not None}


class PasswordFileError(ConnectionError):
    """The file with the password can't be read. Its text is one line that names it."""


class _FromFile(CredentialProvider):
    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """The password that is in the file now, with the user if there is one.

        Raises:
            PasswordFileError: it can't be read.
        """
        try:
            password = self._path.read_text().strip()
        except OSError as error:
            raise PasswordFileError(f"{error.strerror}: {self._path}") from error
        except UnicodeDecodeError as error:
            raise PasswordFileError(f"is not text: {self._path}") from error
        return (password,) if self._username is None else (self._username, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """As ``get_credentials``: the file is small."""
        return self.get_credentials()


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
            **_TIMEOUTS,
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
            nodes = (
                self.redis.get_nodes()
            )  # another one each time: the last one may be down without any call having noticed
            node = nodes[next(self._turns) % len(nodes)]
            return Redis(host=node.host, port=int(node.port), ssl=self._target.tls, **options)
        return self._client(options)

    def _demoted(self) -> None:
        self.on_demotion()

    async def facts(self) -> ServerFacts:
        """Ask Redis about itself.

        Raises:
            RedisError: as the client does; a ConnectionError with the server's alert if it refuses our certificate.
        """
        try:
            return await _facts(self.redis)
        except ConnectionError:
            if self._target.tls:
                await self._hear_alert()
            raise

    async def _hear_alert(self) -> None:
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
        """Close all connections."""
        await self.redis.aclose()

    def _client(self, options: dict[str, Any]) -> Redis:
        target = self._target
        if target.scheme == SENTINEL:
            return self._behind_sentinels(options)
        place: dict[str, Any] = {"path": target.path}
        if target.addresses:
            ((host, port),) = target.addresses
            place = {"host": host, "port": port}
        pool = BlockingConnectionPool(
            MAX_CONNECTIONS, timeout=None, connection_class=SINGLE[target.scheme], **place, **options
        )
        client: _Server = _Server.from_pool(pool)  # type: ignore[assignment]
        client.on_demotion = self._demoted
        return client

    def _behind_sentinels(self, options: dict[str, Any]) -> Redis:
        target = self._target
        own = {name: value for name, value in target.options.items() if name.startswith("ssl_")}
        limits = {"socket_connect_timeout": SENTINEL_TIMEOUT_S, "socket_timeout": SENTINEL_TIMEOUT_S}
        sentinel_kwargs = {**_TIMEOUTS, **limits, **own, **target.sentinel_options, "ssl": target.tls}
        sentinels: Any = _Sentinels(target.addresses, sentinel_kwargs=sentinel_kwargs)  # type: ignore[no-untyped-call]
        client: _Server = sentinels.master_for(
            target.service, _Server, ssl=target.tls, connection_class=_ManagedTls if target.tls else _Managed, **options
        )
        client.on_demotion = self._demoted
        return client

    def _cluster(self) -> RedisCluster:
        nodes = [ClusterNode(host, port) for host, port in self._target.addresses]
        # Don't reload the whole cluster whenever a few slots have moved: that closes connections that other calls use.
        return _Cluster(startup_nodes=nodes, ssl=self._target.tls, reinitialize_steps=0, **self._options)


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


async def _facts(redis: Any) -> ServerFacts:
    info = await redis.info()
    facts = info if "redis_version" in info else next(iter(info.values()))  # a cluster answers for each node
    version = tuple(int(part) for part in str(facts["redis_version"]).split(".")[:2])
    return ServerFacts(version, str(facts.get("maxmemory_policy", "")), facts.get("cluster_enabled") == 1)
