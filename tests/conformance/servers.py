"""The servers that the cases run against: some are shared, others belong to one case."""

from __future__ import annotations

import itertools
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from duebus.v1 import admin_pb2_grpc, test_clock_pb2_grpc
from support.builders import unique_name
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.security import Security

ENGINES = ("local", "redis")


def other_than(engine: str) -> str:
    return ENGINES[1 - ENGINES.index(engine)]


@dataclass(frozen=True)
class ServerKind:
    """A row of the table of servers in cases.yaml, which explains the fields."""

    own: bool = False
    both_engines: bool = False
    replica: bool = False
    test_clock: bool = False
    secured: str = ""
    rules: str = ""
    flags: dict[str, str] = field(default_factory=dict)


class Server:
    """A server that can be killed and restarted, on the same port and with the same Redis.

    Attributes:
        address: HOST:PORT.
        admin: stubs of its admin service, for inspection.
        clock: stubs of the service that moves its clock; only a server with `--test-clock` has it.
        replica: another server of the same bus; None if the case needs none.
    """

    replica: Server | None = None

    def __init__(
        self, log: Path, engines: tuple[str, ...], flags: list[str], channel: Callable[[str], grpc.Channel]
    ) -> None:
        self._log = log
        self._flags = [*(f"--engine={engine}" for engine in engines), *flags]
        self.process = ServerProcess(log, *self._flags)
        self.address = self.process.address
        self._channel = channel(self.address)
        self.admin: Any = admin_pb2_grpc.EventBusAdminStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self.clock: Any = test_clock_pb2_grpc.TestClockStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections, and answers nothing."""
        self.process.process.send_signal(signal.SIGSTOP)

    def start(self) -> None:
        """Start it again, after it has ended."""
        self.process.close()
        self.process = ServerProcess(self._log, *self._flags, listen=self.address)

    def close(self) -> None:
        """Make sure that it and its replica have ended."""
        self._channel.close()
        self.process.close()
        if self.replica is not None:
            self.replica.close()


class Servers:
    """All servers of a run with this default engine. Thread-safe.

    Args:
        redis_url: returns the URL of Redis; the first call starts it.
    """

    def __init__(
        self,
        engine: str,
        kinds: dict[str, ServerKind],
        folder: Path,
        redis_url: Callable[[], str],
        security: Security,
    ) -> None:
        self.engine = engine
        self._kinds = kinds
        self._folder = folder
        self._redis_url = redis_url
        self._security = security
        self._locks = {
            kind: threading.Lock() for kind in kinds
        }  # servers of different kinds can start at the same time
        self._shared: dict[str, Server] = {}
        self._numbers = itertools.count(1)

    def get(self, kind: str) -> Server:
        """A server of that kind. If it is not shared, the caller has to close it."""
        if self._kinds[kind].own:
            return self._start(kind)
        with self._locks[kind]:
            if kind not in self._shared:
                self._shared[kind] = self._start(kind)
            return self._shared[kind]

    def is_own(self, kind: str) -> bool:
        """Whether each case gets its own."""
        return self._kinds[kind].own

    def close(self) -> None:
        """Stop the shared servers."""
        for server in self._shared.values():
            server.close()

    def _start(self, kind: str) -> Server:
        row = self._kinds[kind]
        engines = (self.engine, other_than(self.engine)) if row.both_engines else (self.engine,)
        flags = [f"--{name}={value}" for name, value in row.flags.items()]
        if "redis" in engines:
            flags += [f"--redis-url={self._redis_url()}", f"--namespace={unique_name('conformance')}"]
        if row.test_clock:
            flags.append("--test-clock")
        if row.secured:
            flags += self._security.flags(row.secured, row.rules)
        channel = self._security.channel if row.secured else _plain_channel
        server = Server(self._log(kind), engines, flags, channel)
        if row.replica:
            server.replica = Server(self._log(kind), engines, flags, channel)
        return server

    def _log(self, kind: str) -> Path:
        return self._folder / f"server-{self.engine}-{next(self._numbers)}-{kind}.log"


def _plain_channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
