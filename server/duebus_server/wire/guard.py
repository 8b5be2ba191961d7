"""The guard that every call passes: authentication, parsing, authorization, and errors turned into statuses."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from duebus_server.domain.errors import DueBusError, InvalidArgument
from duebus_server.security.access import NOBODY
from duebus_server.wire.authorization import Authorizer, caller_of_the_call
from duebus_server.wire.call_cleanup import abort, when_ended
from duebus_server.wire.status import status_of, unexpected
from duebus_server.wire.unknown_fields import refuse_unknown_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    from duebus_server.wire.status import Status

    Record = Callable[[str, str, float | None, str], None]
    Trace = Callable[[str, "Context"], AbstractContextManager[str]]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger()

OURS = "/duebus."
WITHOUT_CREDENTIALS = "/grpc.health."
"""Methods for probes, which have no credentials."""


def unrecorded(_method: str, _code: str, _seconds: float | None, _trace_id: str) -> None:
    """Counts nothing."""


_NO_SPAN = nullcontext("")


def untraced(_method: str, _context: Context) -> AbstractContextManager[str]:
    """The context of a call that makes no span."""
    return _NO_SPAN


class Guard:
    """Wraps the handlers of our services. Nothing else sets a status.

    Args:
        authorizer: decides who may call, and what they may do.
        record: called when a call has ended, with its method's path, the name of its status code, how many seconds it
            took (None for a stream), and the id of its trace (empty if it has none).
        trace: makes the context that every unary call runs in, from its method's path and its context. The context's
            value is the id of the trace.

    Attributes:
        idle: set while no call of our services is running, and every answer has been sent.
    """

    def __init__(
        self,
        authorizer: Authorizer | None = None,
        record: Record = unrecorded,
        trace: Trace = untraced,
    ) -> None:
        self.idle = asyncio.Event()
        self.idle.set()
        self._authorizer = authorizer or Authorizer()
        self._record = record
        self._trace = trace
        self._under_way = 0

    @property
    def knows_callers(self) -> bool:
        """Whether callers need credentials. If not, ``admit`` admits every call."""
        return self._authorizer.knows_callers

    async def admit(self, method: str, context: Context) -> Status | None:
        """Authenticate a call before its message is read. Returns the status that refuses it, or None."""
        if method.startswith(WITHOUT_CREDENTIALS):
            return None
        try:
            await self._authorizer.authenticate(context)
        except DueBusError as error:
            status = status_of(error)
            self._record(method, status[0].name, None, "")
            self._authorizer.audit(method, NOBODY, None, error.reason, context)
            return status
        return None

    def wrap(self, method: str, handler: Handler) -> Handler:
        """A handler of our services, guarded."""
        behaviour = handler.unary_stream if handler.response_streaming else handler.unary_unary
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        # The guard reads and parses requests itself: gRPC would answer a malformed one with the text of an exception,
        # and a call without a message with nothing.
        guarded = self._guard(behaviour, handler.request_deserializer, method, streams=handler.response_streaming)
        return make(guarded, None, handler.response_serializer)

    def _guard(self, behaviour: Any, parse: Any, method: str, *, streams: bool = False) -> Any:
        """The behaviour, with its errors as statuses. Streams write to the context, so this serves both kinds."""

        async def guarded(_requests: object, context: Context) -> Any:
            received = await context.read()
            self._begins()
            when_ended(self._ended)
            caller, request, response, status = caller_of_the_call(), None, None, None
            code = outcome = "CANCELLED"
            began_s, trace_id = time.perf_counter(), ""
            try:
                request = _parse(parse, received, method)
                del received
                self._authorizer.authorize(caller, method, request)
                if streams:
                    await self._authorizer.run_stream(method, request, context, partial(behaviour, request, context))
                else:
                    with self._trace(method, context) as trace_id:
                        response = await behaviour(request, context)
                code = outcome = "OK"
            except Exception as error:  # noqa: BLE001  # nothing above hides it from the client
                status, outcome = _status_for(error, method)
                code = status[0].name
            finally:
                seconds = time.perf_counter() - began_s
                self._record(method, code, None if streams else seconds, trace_id)
                log.debug("call ended", method=method, code=code, seconds=seconds, caller=caller.identity)
                self._authorizer.audit(method, caller, request, outcome, context)
            if status is None:
                return response
            del request
            return await abort(context, status)

        return guarded

    def _begins(self) -> None:
        self._under_way += 1
        self.idle.clear()

    def _ended(self, _task: object) -> None:
        self._under_way -= 1
        if not self._under_way:
            self.idle.set()


def parsed_stream(behaviour: Any, parse: Callable[[bytes], Any], serialize: Callable[[Any], bytes]) -> Handler:
    """A handler for streams in both directions that refuses requests it can't parse."""

    async def requests(context: Context) -> AsyncIterator[Any]:
        while isinstance(received := await context.read(), bytes):
            try:
                request = parse(received)
            except DecodeError:
                break
            yield request
        else:
            return
        await abort(context, status_of(InvalidArgument("request", "is not a message of this method")))

    async def parsed(_requests: object, context: Context) -> AsyncIterator[Any]:
        async for response in behaviour(requests(context), context):
            yield response

    return grpc.stream_stream_rpc_method_handler(parsed, None, serialize)


def _parse(parse: Any, received: object, method: str) -> Any:
    """Parse a request.

    Raises:
        InvalidArgument: there is none, it can't be parsed, or it has a field that this server doesn't know.
    """
    if not isinstance(received, bytes):
        raise InvalidArgument("request", "is missing: the call ended without a message")
    try:
        request = parse(received)
    except DecodeError:
        raise InvalidArgument("request", "is not a message of this method") from None
    if method.startswith(OURS):
        refuse_unknown_fields(request)
    return request


def _status_for(error: Exception, method: str) -> tuple[Status, str]:
    """The status of a call that failed, and the reason for the audit log."""
    if isinstance(error, grpc.aio.InternalError):
        # A write failed: the client is gone. gRPC is about to cancel the call.
        raise asyncio.CancelledError from error
    if isinstance(error, grpc.aio.BaseError):
        raise error
    if isinstance(error, DueBusError):
        return status_of(error), error.reason
    return unexpected(error, method), "INTERNAL"
