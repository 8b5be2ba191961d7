"""A gRPC server that no request can bring down, and that checks a caller's credentials before it reads a message.

The server of grpc.aio accepts calls in one loop. When a method isn't registered by name, the loop decodes the call's
path. A path that isn't UTF-8 raises there, and the port closes for good. Here every method is registered and has a loop
of its own, which checks whether to admit a call before it does anything else. A call of any other method is refused
without looking at its path.

This is the only module that uses private names of grpcio. They are those of ``TESTED_VERSION``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import structlog
from grpc._cython import cygrpc
from grpc._cython.cygrpc import (
    AioServer,
    _finish_handler_with_stream_responses,
    _finish_handler_with_unary_response,
    _handle_rpc,
    _MethodResolver,
    _schedule_rpc_coro,
    _ServicerContext,
    get_working_loop,
)

from duebus_server.wire.call_cleanup import abort
from duebus_server.wire.status import unexpected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence

    from grpc.aio import Server

    from duebus_server.wire.status import Status

    Context = grpc.aio.ServicerContext[Any, Any]
    Admit = Callable[[str, Context], Awaitable[Status | None]]
    Handlers = Mapping[str, grpc.RpcMethodHandler[Any, Any]]
else:
    from grpc.aio._server import Server

log = structlog.get_logger()

TESTED_VERSION = "1.85."

UNIMPLEMENTED: Status = (grpc.StatusCode.UNIMPLEMENTED, "there is no such method", ())

ACCEPTED_AT_ONCE = 8

WAKE_UPS_AT_ONCE = 4_096
"""How many wake-ups of the event loop one read takes; more cost another turn of the loop."""

MAX_REFUSALS = 100
"""How many refused calls wait for their answer at once. Further ones are reset."""


_log_of_grpc = logging.getLogger("grpc._cython.cygrpc")


def _is_no_vanished_caller(record: logging.LogRecord) -> bool:
    """Whether to log a record of gRPC: not that an answer can't be sent, since anyone can cause that by going away."""
    return not (record.exc_info and isinstance(record.exc_info[1], cygrpc.ExecuteBatchError))


class ServerEndedError(Exception):
    """The server has stopped accepting calls without being asked to."""


class GrpcServer(Server):
    """Serves the methods that are registered by name, and no others.

    Args:
        options: gRPC's channel arguments.
        admit: takes the path of a registered method and a call's context, and returns the status that refuses the
            call, or None to admit it. It must not read the call's message. Without it every call is admitted.

    Attributes:
        ended: set when the server has stopped accepting calls without being asked to.
    """

    def __init__(self, options: Sequence[tuple[str, int]], admit: Admit | None = None) -> None:
        if not grpc.__version__.startswith(TESTED_VERSION):
            log.warning("the server was not tested with this version of grpcio", version=grpc.__version__)
        self.ended = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._cancelling: asyncio.Task[None] | None = None
        self._loop = get_working_loop()
        _log_of_grpc.addFilter(_is_no_vanished_caller)
        with _few_wake_ups():
            self._server = _AioServer(self._loop, None, (), (), tuple(options), None)
        self._server.prepare(admit, self.ended)

    def register(self, service: str, handlers: Handlers, accepted_at_once: Mapping[str, int] | None = None) -> None:
        """Serve methods of a service, before the start.

        Args:
            service: its full name.
            handlers: by the names of the methods.
            accepted_at_once: how many calls of a method are accepted in one turn of the event loop, by the method's
                name; ``ACCEPTED_AT_ONCE`` if it isn't named. More wait in gRPC, and from
                "grpc.server.max_pending_requests" on are cancelled.
        """
        at_once = accepted_at_once or {}
        for name, handler in handlers.items():
            self._server.register(f"/{service}/{name}", handler, at_once.get(name, ACCEPTED_AT_ONCE))

    async def stop(self, grace: float | None = None) -> None:
        """Accept no more calls, and cancel those that still run after ``grace`` seconds; at once for None.

        It can be called several times; the shortest grace counts. grpc.aio's own method crashes the process if it is
        called, or its grace ends, while another call destroys the server.
        """
        self._ending = self._ending or asyncio.create_task(super().stop(math.inf))
        await asyncio.wait((self._ending,), timeout=grace or 0)
        self._cancelling = self._cancelling or asyncio.create_task(super().stop(None))
        await asyncio.wait((self._ending, self._cancelling))
        self._ending.result()
        self._cancelling.result()


class _AioServer(AioServer):  # type: ignore[misc]  # has no types
    """The server beneath grpc.aio's."""

    def prepare(self, admit: Admit | None, ended: asyncio.Event) -> None:
        """Set what the constructor has no arguments for."""
        self._admit = admit
        self._ended = ended
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._accepted_at_once: dict[str, int] = {}
        self._resolver = _MethodResolver([], self._handlers)
        self._calls: set[asyncio.Task[None]] = set()
        self._refusals = 0

    def register(self, method: str, handler: grpc.RpcMethodHandler[Any, Any], accepted_at_once: int) -> None:
        """Serve one method, by its path."""
        self.add_registered_method_handlers({method: handler})
        self._handlers[method] = handler
        self._accepted_at_once[method] = accepted_at_once

    async def _server_main_loop(self, started: asyncio.Future[bool]) -> None:
        """Runs until the server is stopped; it waits for the tasks of ``_make_request_call_future``."""
        try:
            await super()._server_main_loop(started)
        finally:
            if self.is_running():
                self._ended.set()

    def _make_request_call_future(self, path: bytes | None) -> asyncio.Task[object]:
        """A task for the calls of one registered method, or with None for those of all others."""
        return asyncio.create_task(self._refuse_all() if path is None else self._accept_all(path.decode(), path))

    async def _accept_all(self, method: str, path: bytes) -> None:
        await asyncio.gather(*(self._accept(method, path) for _ in range(self._accepted_at_once[method])))

    async def _accept(self, method: str, path: bytes) -> NoReturn:
        while True:
            call = await self._request_registered_call(path)
            refusal = await self._refusal(method, call)
            if refusal is None:
                self._start(self._handling(method, call))
            else:
                self._refuse(call, refusal)
            del call  # otherwise it would be kept until the next call arrives

    async def _refusal(self, method: str, call: Any) -> Status | None:
        """The status that refuses a call, or None to admit it. An error in the check refuses only this call."""
        if self._admit is None:
            return None
        try:
            return await self._admit(method, _ServicerContext(call, None, None, asyncio.get_running_loop()))
        except Exception as error:  # noqa: BLE001  # it would end the loop, and with it the server
            return unexpected(error, method)

    def _handling(self, method: str, call: Any) -> Any:
        """The task that runs a call, cancelled when its client cancels. It has the caller that the check has found."""
        loop = asyncio.get_running_loop()
        return _schedule_rpc_coro(self._handled(method, call, loop), call, loop, method)

    def _handled(self, method: str, call: Any, loop: asyncio.AbstractEventLoop) -> Coroutine[Any, Any, None]:
        """The call's handler, and the answer it makes.

        A handler that reads its own requests is run at once. gRPC would first read the call's metadata, look for the
        handler and make an iterator of the requests, which took a tenth of a server's core time for a call.
        """
        handler = self._handlers[method]
        if not handler.request_streaming:
            return _handle_rpc(method, self._resolver, (), call, loop, False)  # type: ignore[no-any-return]
        serialize = handler.response_serializer
        context = _ServicerContext(call, None, serialize, loop)
        if handler.response_streaming:
            return _finish_handler_with_stream_responses(call, handler.stream_stream, None, context, loop)  # type: ignore[no-any-return]
        return _finish_handler_with_unary_response(call, handler.stream_unary, None, context, serialize, loop)  # type: ignore[no-any-return]

    async def _refuse_all(self) -> NoReturn:
        while True:
            self._refuse(await self._request_call(), UNIMPLEMENTED)

    def _start(self, run: Any) -> None:
        task = asyncio.get_running_loop().create_task(run)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _refuse(self, call: Any, status: Status) -> None:
        """Answer a call with a status, or, when many answers wait, reset it by dropping it."""
        if self._refusals < MAX_REFUSALS:
            self._refusals += 1
            self._start(self._answer(call, status))

    async def _answer(self, call: Any, status: Status) -> None:
        context = _ServicerContext(call, None, None, asyncio.get_running_loop())
        try:
            with suppress(grpc.aio.BaseError):  # the abort's own, or the client is gone
                await abort(context, status)
        finally:
            self._refusals -= 1


class _WakeUps(socket.socket):
    """A socket on which gRPC's thread sends the event loop a byte whenever an operation has ended.

    At a byte, grpc.aio handles all operations that have ended, and reads this one byte. Each further byte then costs a
    turn of the loop in which there is nothing to do; a call ends four operations. Here a read takes all bytes that have
    arrived. With 64 calls at a time, the loop turns 0.7 times a call instead of 4.6 times, and its thread needs a tenth
    less core time for a call. No wake-up is lost: the byte of an operation is sent after the operation is in the queue.
    """

    def recv(self, _size: int, flags: int = 0) -> bytes:
        """All wake-ups that have arrived, at least one."""
        return super().recv(WAKE_UPS_AT_ONCE, flags)


@contextmanager
def _few_wake_ups() -> Iterator[None]:
    """Let grpc.aio use ``_WakeUps``. The first of a process's servers and clients makes the one socket for all."""
    own = cygrpc.socket
    cygrpc.socket = SimpleNamespace(
        socketpair=lambda: tuple(_WakeUps(fileno=each.detach()) for each in socket.socketpair())
    )
    try:
        yield
    finally:
        cygrpc.socket = own
