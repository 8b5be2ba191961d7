"""What happens to every call, unary or stream: unknown fields are refused, errors become statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import grpc.aio
import structlog

from duebus_server.domain.errors import DueBusError
from duebus_server.wire.status import internal_status, status_of
from duebus_server.wire.unknown import refuse_unknown_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger()


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Wraps every handler of our services; no other code sets a status."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler of a call, guarded."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/duebus."):
            return handler
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _guard_stream(handler.unary_stream, method), handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            _guard_unary(handler.unary_unary, method), handler.request_deserializer, handler.response_serializer
        )


def _guard_unary(behaviour: Any, method: str) -> Any:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            refuse_unknown_fields(request)
            return await behaviour(request, context)
        except Exception as error:  # noqa: BLE001  # the last place that can hide it from the client
            return await _abort(error, method, context)

    return guarded


def _guard_stream(behaviour: Any, method: str) -> Any:
    async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            refuse_unknown_fields(request)
            async for response in behaviour(request, context):
                yield response
        except Exception as error:  # noqa: BLE001  # the last place that can hide it from the client
            await _abort(error, method, context)

    return guarded


async def _abort(error: Exception, method: str, context: Context) -> None:
    """End the call with the error's status."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, DueBusError):
        code, message, trailers = status_of(error)
    else:
        log_id = uuid4().hex
        log.error("unexpected error", method=method, log_id=log_id, exc_info=error)
        code, message, trailers = internal_status(log_id)
    await context.abort(code, message, trailers)
