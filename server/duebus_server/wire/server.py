"""The gRPC server: services, options, the port."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from duebus.v1 import admin_pb2, event_bus_pb2
from google.protobuf import message_factory
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from duebus_server.wire.interceptors import Guard

if TYPE_CHECKING:
    from duebus_server.wire.admin import EventBusAdminServicer
    from duebus_server.wire.event_bus import EventBusServicer

EVENT_BUS = event_bus_pb2.DESCRIPTOR.services_by_name["EventBus"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["EventBusAdmin"]

OPTIONS = (
    # Off, or a second server on the same port would start and silently take half of the calls.
    ("grpc.so_reuseport", 0),
    # Above the limit of a batch, so that an oversized one gets an error that names the field.
    ("grpc.max_receive_message_length", 16 << 20),
    # Find peers that vanished without closing their connection.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients ping every 30 s by default; idle streams must survive that.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class PortInUseError(Exception):
    """The address can't be listened on. Its text is one line that names it."""


class WireServer:
    """The services behind one address."""

    def __init__(self, event_bus: EventBusServicer, admin: EventBusAdminServicer) -> None:
        self._guard = Guard()
        self._server = grpc.aio.server(interceptors=[self._guard], options=OPTIONS)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs do not know it
        self._server.add_generic_rpc_handlers((_handlers(EVENT_BUS, event_bus), _handlers(ADMIN, admin)))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (EVENT_BUS.full_name, ADMIN.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, listen: str) -> int:
        """Listen on HOST:PORT and serve; port 0 picks a free one.

        Returns:
            The port.

        Raises:
            PortInUseError: the address is taken, not ours, or no address.
        """
        _refuse_if_taken(listen)
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise PortInUseError(f"cannot listen on {listen}") from error
        await self._server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        return port

    async def not_serving(self) -> None:
        """Say in the health service that no new work is taken. Calls are still answered."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and give those under way ``grace_s`` seconds; who only watches the health gets none."""
        stopping = asyncio.create_task(self._server.stop(grace_s))
        idle = asyncio.create_task(self._guard.idle.wait())
        await asyncio.wait((stopping, idle), return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        await self._server.stop(None)
        await stopping

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in (health.OVERALL_HEALTH, EVENT_BUS.full_name, ADMIN.full_name):
            await self._health.set(service, status)


def _refuse_if_taken(listen: str) -> None:
    """Finds out before gRPC does, which would write a log line of its own beside ours."""
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), int(port)), family=family).close()
    except socket.gaierror:
        return  # a name that gRPC may know how to resolve
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is another server running there?" if taken else str(error.strerror).lower()
        raise PortInUseError(f"cannot listen on {listen}: {why}") from error


def _handlers(service: Any, servicer: object) -> grpc.GenericRpcHandler[Any, Any]:
    """Handlers for every method of a service descriptor.

    Not the generated ones: responses may be ``passthrough`` messages, which serialise themselves.
    """
    methods = {method.name: _handler(method, servicer) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def _handler(method: Any, servicer: object) -> grpc.RpcMethodHandler[Any, Any]:
    behaviour = getattr(servicer, method.name)
    make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    return make(behaviour, message_factory.GetMessageClass(method.input_type).FromString, _serialize)


def _serialize(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized
