"""The gRPC server: services, options, the port."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from duebus.keda import externalscaler_pb2
from duebus.v1 import admin_pb2, event_bus_pb2, schedules_pb2, test_clock_pb2
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from duebus_server.domain.clock import MILLISECOND
from duebus_server.wire import health
from duebus_server.wire.authorization import DEFAULT_MAX_STREAMS
from duebus_server.wire.grpc_server import GrpcServer
from duebus_server.wire.guard import parsed_stream
from duebus_server.wire.health import Health
from duebus_server.wire.tls import server_credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.security.certificates import Certificates
    from duebus_server.security.reloading import Reloading
    from duebus_server.wire.grpc_server import Handlers
    from duebus_server.wire.guard import Guard

log = structlog.get_logger()

EVENT_BUS = event_bus_pb2.DESCRIPTOR.services_by_name["EventBus"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["EventBusAdmin"]
SCHEDULES = schedules_pb2.DESCRIPTOR.services_by_name["EventBusSchedules"]

TEST_CLOCK = test_clock_pb2.DESCRIPTOR.services_by_name["TestClock"]
SCALER = externalscaler_pb2.DESCRIPTOR.services_by_name["ExternalScaler"]

MAX_MESSAGE_BYTES = 16 << 20
"""More than a batch may have, so that a batch that is too large gets an error that names the field."""

UNARY_CALLS = 1_000
"""How many calls a connection may have at once, besides its streams. More wait in the client."""

UNAUTHENTICATED_WINDOW_BYTES = 8 << 10
"""How much of a message a client may send before its credentials are checked. A larger message costs a round trip."""

OPEN_WINDOW_BYTES = (1 << 16) - 1
"""The same where no credentials are needed: HTTP/2's default. For dispatches of 64 callers that share calls of 17 KB,
server and client take about a tenth less core time than with 8 or 16 KiB; with 20 KiB the effect is the same.
"""

METADATA_BYTES = 10 << 10
CONNECTIONS = 4_000

ACCEPTED_AT_ONCE = {"Dispatch": 1_000, "Subscribe": 300, "Ack": 170, "Nack": 170, "Extend": 170}
PENDING_CALLS = 30
"""Together these bound the calls whose credentials have not been checked yet, with room for a burst. Calls beyond that
are answered CANCELLED.
"""

HEALTH_MESSAGE_BYTES = 4 << 10

CONNECT_S = 0.5
"""A local listener that can't be reached for this long is down. Probes wait a second by default."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what clients may ask for.

    Attributes:
        message_bytes: the largest request.
        streams: how many Subscribe streams may be open, which the authorizer counts.
        shares_port: other processes of the same server listen on the same address.
        connection_age_us: clients are asked for a new connection after this time, give or take a tenth. Calls that
            run then are not ended. 0: never.
    """

    message_bytes: int = MAX_MESSAGE_BYTES
    streams: int = DEFAULT_MAX_STREAMS
    shares_port: bool = False
    connection_age_us: int = 0

    def options(self, window_bytes: int) -> tuple[tuple[str, int], ...]:
        """As gRPC takes them.

        Args:
            window_bytes: how much of a message may arrive before the server begins to read it.
        """
        age = [("grpc.max_connection_age_ms", self.connection_age_us // MILLISECOND)] if self.connection_age_us else []
        return (
            *age,
            # By default gRPC lets a second server listen on the same port, which would silently take half of the calls.
            ("grpc.so_reuseport", int(self.shares_port)),
            ("grpc.max_receive_message_length", self.message_bytes),
            ("grpc.max_concurrent_streams", self.streams + UNARY_CALLS),
            # A compressed request of a few bytes could become as large as ``message_bytes``.
            ("grpc.compression_enabled_algorithms_bitset", 1),
            ("grpc.http2.lookahead_bytes", window_bytes),
            ("grpc.http2.bdp_probe", 0),
            # Calls of each method that may wait to be accepted.
            ("grpc.server.max_pending_requests", PENDING_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS),
            ("grpc.max_metadata_size", METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", METADATA_BYTES),
            # The most bytes read from a connection at once.
            ("grpc.experimental.tcp_read_chunk_size", 8 << 10),
            ("grpc.experimental.tcp_max_read_chunk_size", 32 << 10),
            ("grpc.max_allowed_incoming_connections", CONNECTIONS),
            ("grpc.server_handshake_timeout_ms", 10_000),
            # Notice within 40 s that a peer has vanished without closing its connection.
            ("grpc.keepalive_time_ms", 25_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # Without these two, gRPC waits a minute for a ping, and does not send a third one without data between.
            ("grpc.http2.ping_timeout_ms", 10_000),
            ("grpc.http2.max_pings_without_data", 0),
            # Idle streams survive the pings of our clients. A client that pings more often than every 10 s is
            # disconnected at the third such ping.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.http2.max_ping_strikes", 2),
            ("grpc.keepalive_permit_without_calls", 1),
        )


class PortInUseError(Exception):
    """The address can't be listened on. The text is one line that names it."""


class WireServer:
    """The services behind one address.

    Args:
        servicers: each service's descriptor, and what serves it.
        guard: checks every call.
        limits: the limits of a connection.
        certificates: for TLS; None: plaintext.
    """

    def __init__(
        self,
        servicers: Sequence[tuple[Any, object]],
        guard: Guard,
        limits: Limits,
        certificates: Reloading[Certificates] | None = None,
    ) -> None:
        self._guard = guard
        self._certificates = certificates
        self._shares_port = limits.shares_port
        if guard.knows_callers:
            self._server = GrpcServer(limits.options(UNAUTHENTICATED_WINDOW_BYTES), guard.admit)
        else:
            self._server = GrpcServer(limits.options(OPEN_WINDOW_BYTES))
        self._health_server: GrpcServer | None = None
        self._listening: str | None = None
        for service, servicer in servicers:
            self._server.register(service.full_name, _handlers(service, servicer, guard), ACCEPTED_AT_ONCE)
        names = [service.full_name for service, _ in servicers]
        self._health = Health(names)
        self._server.register(health.SERVICE, self._health.handlers(), {"Check": 100})
        self._server.register(reflection.SERVICE_NAME, _reflection([*names, health.SERVICE, reflection.SERVICE_NAME]))

    async def start(self, listen: str, health_listen: str | None = None) -> int:
        """Listen on HOST:PORT; port 0 picks a free one. The health service says NOT_SERVING until ``serving``.

        Args:
            listen: for all services.
            health_listen: for the health service alone, without TLS.

        Returns:
            The port of all services.

        Raises:
            PortInUseError: an address is taken, not local, or not an address.
        """
        if not self._shares_port:
            refuse_if_taken(listen)
        port = _add_port(self._server, listen, self._certificates)
        if health_listen is not None:
            limits = Limits(HEALTH_MESSAGE_BYTES, shares_port=self._shares_port)
            self._health_server = GrpcServer(limits.options(UNAUTHENTICATED_WINDOW_BYTES))
            self._health_server.register(health.SERVICE, self._health.handlers())
            if not self._shares_port:
                refuse_if_taken(health_listen)
            health_port = _add_port(self._health_server, health_listen, None)
            await self._health_server.start()
            log.info("health on", address=f"{health_listen.rpartition(':')[0]}:{health_port}")
        await self._server.start()
        self._listening = f"{listen.rpartition(':')[0]}:{port}"
        return port

    async def ended(self) -> None:
        """Return if the server stops accepting calls without being asked to. Otherwise it never returns."""
        servers = [server for server in (self._server, self._health_server) if server is not None]
        waits = [asyncio.create_task(server.ended.wait()) for server in servers]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def not_listening(self) -> str | None:
        """Why no calls can arrive; None if they can, before ``start``, and after ``stop``."""
        if self._listening is None:
            return None
        if self._server.ended.is_set():
            return "the server no longer accepts calls"
        host, _, port = self._listening.rpartition(":")
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError):
            return f"nothing listens on {self._listening}"
        writer.close()
        return None

    async def serving(self) -> None:
        """Say in the health service that new work is taken."""
        await self._health.set(health_pb2.HealthCheckResponse.SERVING)

    async def not_serving(self) -> None:
        """Report NOT_SERVING in the health service. Calls are still answered."""
        await self._health.set(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Accept no more calls, and give running ones ``grace_s`` seconds, except those that only watch the health."""
        self._listening = None
        stopping = asyncio.create_task(self._server.stop(grace_s))
        idle = asyncio.create_task(self._guard.idle.wait())
        await asyncio.wait((stopping, idle), return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        await self._server.stop(None)
        await stopping
        if self._health_server is not None:
            await self._health_server.stop(None)


def _add_port(server: grpc.aio.Server, listen: str, certificates: Reloading[Certificates] | None) -> int:
    try:
        if certificates is None:
            return server.add_insecure_port(listen)
        return server.add_secure_port(listen, server_credentials(certificates))
    except RuntimeError as error:
        raise PortInUseError(f"can't listen on {listen}") from error


def refuse_if_taken(listen: str) -> None:
    """Check that an address is free. gRPC would check it too, but write a log line of its own.

    Raises:
        PortInUseError: the address is taken or not local.
    """
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), int(port)), family=family).close()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        # Python adds the address to the reason, in brackets.
        why = "is another server running there?" if taken else str(error.strerror).partition(" (")[0].lower()
        raise PortInUseError(f"can't listen on {listen}: {why}") from error


def _handlers(service: Any, servicer: object, guard: Guard) -> Handlers:
    """A guarded handler for every method of a service descriptor.

    Not the generated handlers, because the frames of a stream are already encoded.
    """
    return {
        method.name: guard.wrap(f"/{service.full_name}/{method.name}", _handler(method, servicer))
        for method in service.methods
    }


def _reflection(services: Sequence[str]) -> Handlers:
    """The handlers of gRPC's reflection, which describes these services."""
    servicer = reflection.aio.ReflectionServicer(services)  # type: ignore[attr-defined]  # not in the stubs
    handler = parsed_stream(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {"ServerReflectionInfo": handler}


def _handler(method: Any, servicer: object) -> grpc.RpcMethodHandler[Any, Any]:
    behaviour = getattr(servicer, method.name)
    make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    return make(behaviour, message_factory.GetMessageClass(method.input_type).FromString, _serialize)


def _serialize(message: Any) -> bytes:
    """Serialize a response; a frame of a stream is already encoded."""
    serialized: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return serialized
