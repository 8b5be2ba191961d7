"""What happens to every call, unary or stream: it is parsed, unknown fields are refused, errors become statuses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from duebus_server.domain.errors import DueBusError, InvalidArgument
from duebus_server.wire.status import internal_status, status_of
from duebus_server.wire.unknown import refuse_unknown_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger()


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Wraps every handler of our services; no other code sets a status.

    Attributes:
        idle: set while no call of our services is under way, its answer included.
    """

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self.idle.set()
        self._under_way = 0

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
        behaviour = handler.unary_stream if handler.response_streaming else handler.unary_unary
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        # Parsed by the guard: what can't be parsed would otherwise be answered by gRPC, with the exception's text.
        return make(self._guard(behaviour, handler.request_deserializer, method), None, handler.response_serializer)

    def _guard(self, behaviour: Any, parse: Any, method: str) -> Any:
        """The behaviour with its errors as statuses; streams write to the context, so one guard serves both."""

        async def guarded(received: bytes, context: Context) -> Any:
            self._begins()
            context.add_done_callback(self._ended)  # type: ignore[arg-type]  # the stubs ask for a class of their own
            try:
                return await behaviour(_parse(parse, received), context)
            except Exception as error:  # noqa: BLE001  # the last place that can hide it from the client
                await _abort(error, method, context)

        return guarded

    def _begins(self) -> None:
        self._under_way += 1
        self.idle.clear()

    def _ended(self, _context: Context) -> None:
        self._under_way -= 1
        if not self._under_way:
            self.idle.set()


def _parse(parse: Any, received: bytes) -> Any:
    """The request.

    Raises:
        InvalidArgument: it is none, or has a field that this server does not know.
    """
    try:
        request = parse(received)
    except DecodeError:
        raise InvalidArgument("request", "is not a message of this method") from None
    refuse_unknown_fields(request)
    return request


async def _abort(error: Exception, method: str, context: Context) -> None:
    """End the call with the error's status."""
    if isinstance(error, grpc.aio.InternalError):
        # A write failed: the client is gone, and nobody is left to be told. gRPC will cancel the call in a moment.
        raise asyncio.CancelledError from error
    if isinstance(error, grpc.aio.BaseError):
        raise error
    if isinstance(error, DueBusError):
        code, message, trailers = status_of(error)
    else:
        log_id = uuid4().hex
        log.error("unexpected error", method=method, log_id=log_id, exc_info=error)
        code, message, trailers = internal_status(log_id)
    await context.abort(code, message, trailers)
