"""The standard health service. Probes have no credentials, so what any caller can make it hold is bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2

from duebus_server.wire.call_cleanup import abort

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.wire.grpc_server import Handlers
    from duebus_server.wire.status import Status

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE: str = health.SERVICE_NAME

MAX_READS = 4
"""How many requests are read at once. Each may be as large as any request to the server."""

READ_S = 1.0
"""How long a request of a few bytes may take to arrive before it is given up."""

MAX_WATCHERS = 200


class Health:
    """grpc.health.v1.Health. All services of the server have the same status.

    Args:
        services: their full names.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {health.OVERALL_HEALTH, *services}
        self._status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Condition()
        self._reads = 0
        self._watchers = 0

    async def set(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """Set the status."""
        async with self._changed:
            self._status = status
            self._changed.notify_all()

    def handlers(self) -> Handlers:
        """The handlers by method name. Each reads its request itself."""
        serialize = health_pb2.HealthCheckResponse.SerializeToString
        return {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, None, serialize),
            "List": grpc.stream_unary_rpc_method_handler(
                self._list, None, health_pb2.HealthListResponse.SerializeToString
            ),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, None, serialize),
        }

    async def _check(self, _requests: object, context: Context) -> health_pb2.HealthCheckResponse:
        if await self._service(context) not in self._services:
            await abort(context, (grpc.StatusCode.NOT_FOUND, "there is no such service", ()))
        return health_pb2.HealthCheckResponse(status=self._status)

    async def _list(self, _requests: object, _context: Context) -> health_pb2.HealthListResponse:
        status = health_pb2.HealthCheckResponse(status=self._status)
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._services, status))

    async def _watch(self, _requests: object, context: Context) -> None:
        if self._watchers >= MAX_WATCHERS:
            text = f"{MAX_WATCHERS} calls already watch the health"
            await abort(context, (grpc.StatusCode.RESOURCE_EXHAUSTED, text, ()))
        self._watchers += 1
        try:
            known = await self._service(context) in self._services
            await self._send_changes(context, known=known)
        finally:
            self._watchers -= 1

    async def _send_changes(self, context: Context, *, known: bool) -> None:
        sent = None
        while True:
            status = self._status if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != sent:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                sent = status
                continue
            async with self._changed:
                await self._changed.wait()

    async def _service(self, context: Context) -> str:
        """The service that a request asks about.

        While too many requests are being read, this one is not read, and the answer is about the server as a whole:
        slow senders can't keep others from an answer.
        """
        if self._reads >= MAX_READS:
            return str(health.OVERALL_HEALTH)
        self._reads += 1
        try:
            found = await _requested(context)
        finally:
            self._reads -= 1
        return found if isinstance(found, str) else await abort(context, found)


async def _requested(context: Context) -> str | Status:
    """The service that a request asks about, or the status for one that can't be read."""
    try:
        async with asyncio.timeout(READ_S):
            received = await context.read()
        return str(health_pb2.HealthCheckRequest.FromString(received or b"").service)
    except TimeoutError:
        return grpc.StatusCode.DEADLINE_EXCEEDED, f"no request arrived within {READ_S:g} s", ()
    except DecodeError:
        return grpc.StatusCode.INVALID_ARGUMENT, "request: is not a message of this method", ()
