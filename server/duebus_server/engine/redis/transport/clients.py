"""Clients of Redis, in the three ways it is run: they retry what a failover or a moving slot refuses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from redis.asyncio import Connection as TcpConnection
from redis.asyncio import Redis, RedisCluster, Sentinel, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterError,
    ConnectionError,  # noqa: A004  # the client's name for it
    MasterDownError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from duebus_server.engine.redis.transport.pipelined import PipelinedConnection

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 2.0
"""How long a command waits for its answer before it fails; longer than any script takes."""

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

TIMEOUTS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    # Whoever asks limits how long an answer may take. The client's own timeout would make a task of every command.
    "socket_timeout": None,
    # The engine decides whether a script whose answer was lost may run again. When a sentinel fails, the next is asked.
    "retry": Retry(NoBackoff(), 0),
}


@dataclass(slots=True)
class Generation:
    """Which connections of a pool may be used again: those that were opened in this one.

    Attributes:
        number: raised to make all open connections reconnect.
    """

    number: int = 0


class _Connection:
    """What our connections add to the client's.

    A connection of an earlier generation reconnects before its next use. The client itself can only mark connections in
    use, and closing the idle ones could close one that another call is just taking.

    Args:
        generation: the generation of its pool.
        options: as the client takes them.
    """

    _reader: Any
    _writer: Any
    _parser: Any

    def __init__(self, *, generation: Generation | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._generation = generation or Generation()
        self._opened_in = self._generation.number

    async def connect(self) -> None:
        """As the client does; called before each use."""
        if self._opened_in != self._generation.number:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            self._opened_in = self._generation.number
        await super().connect()  # type: ignore[misc]

    async def pipelined(self, answer_timeout_s: float) -> PipelinedConnection:
        """Connect as the client does, and turn that into a pipelined connection. This one is then no longer connected.

        Raises:
            RedisError: Redis can't be reached, or refuses the connection.
        """
        await self.connect()
        writer, self._writer, self._reader = self._writer, None, None
        return PipelinedConnection(writer, answer_timeout_s, self._parser.parse_error)


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


class ServerClient(Redis):
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
            self.reconnect()
            if self.connection is not None:  # kept by this client, so the pool does not renew it
                await self.connection.disconnect(nowait=True)
            self.on_demotion()
            await asyncio.sleep(FAILOVER_PAUSE_S)

    def client(self) -> Redis:
        """As the client does. Returns a client with a connection of its own."""
        one: Any = super().client()
        one.on_demotion = self.on_demotion
        return cast("Redis", one)

    def reconnect(self) -> None:
        """Make each connection of the pool reconnect before its next use."""
        self.connection_pool.connection_kwargs["generation"].number += 1


def is_demoted(error: BaseException) -> bool:
    """Whether a node refuses a command because it is a replica. For a script, Redis 6.2 puts other text before that."""
    return isinstance(error, ReadOnlyError | MasterDownError) or "-READONLY " in str(error)


class Sentinels(Sentinel):
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


class ClusterClient(RedisCluster):
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


CONNECTIONS: dict[str, Any] = {"redis": _Tcp, "rediss": _Tls, "unix": _Unix}
"""The classes of connections to one server, by the scheme of its URL."""

MANAGED = {False: _Managed, True: _ManagedTls}
"""The classes of connections to a primary that sentinels name, by whether they are encrypted."""
