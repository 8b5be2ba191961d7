"""A gRPC server that no request's path can end, and that says so when it no longer accepts calls.

The server of grpc.aio accepts calls in one loop. When a method isn't registered by name, the loop decodes the call's
path. A path that isn't UTF-8 raises there, and the port closes for good. So every method is registered here, and the
loop never sees a call of any other method: it is answered before.

The only module that uses private names of grpcio. They are those of ``TESTED_VERSION``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from grpc._cython.cygrpc import AioServer, _ServicerContext, get_working_loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grpc.aio import Server
else:
    from grpc.aio._server import Server

log = structlog.get_logger()

TESTED_VERSION = "1.85."


class ServerEndedError(Exception):
    """The server has stopped accepting calls without being told to."""


class GrpcServer(Server):
    """Serves the methods that are registered by name, and no others.

    Args:
        interceptors: what every call goes through.
        options: gRPC's channel arguments.

    Attributes:
        ended: set when the server has stopped accepting calls without being told to.
    """

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],  # type: ignore[type-arg]  # not generic at run time
        options: Sequence[tuple[str, int]],
    ) -> None:
        if not grpc.__version__.startswith(TESTED_VERSION):
            log.warning("the server was not tested with this version of grpcio", version=grpc.__version__)
        self.ended = asyncio.Event()
        self._loop = get_working_loop()
        self._server = _AioServer(self._loop, None, (), tuple(interceptors), tuple(options), None)
        self._server.ended = self.ended

    def register(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        """Serve methods of a service, before the start.

        Args:
            service: its full name.
            handlers: by the names of the methods.
        """
        self._server.add_registered_method_handlers({f"/{service}/{name}": each for name, each in handlers.items()})


class _AioServer(AioServer):  # type: ignore[misc]  # has no types
    """The server beneath grpc.aio's."""

    ended: asyncio.Event

    async def _server_main_loop(self, started: asyncio.Future[bool]) -> None:
        """The loop that accepts calls."""
        try:
            await super()._server_main_loop(started)
        finally:
            if self.is_running():
                self.ended.set()

    async def _request_call(self) -> None:
        """Would give the loop the next call of a method that is not registered. Answers all of them instead."""
        answers = set()
        while True:
            call = await super()._request_call()
            answer = asyncio.create_task(_unimplemented(call))
            answers.add(answer)
            answer.add_done_callback(answers.discard)


async def _unimplemented(call: Any) -> None:
    context = _ServicerContext(call, None, None, asyncio.get_running_loop())
    with suppress(grpc.aio.BaseError):  # that of the abort, or the client is gone
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
