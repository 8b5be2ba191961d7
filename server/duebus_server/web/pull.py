"""``POST /v1/topics/{topic}/groups/{group}:pull``: due events for a program without a stream.

In the query, all optional: ``max`` events, ``wait`` for the first of them, ``lease``, and ``consumer``, a name for the
caller. Ack, Nack and Extend settle what was pulled.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from duebus.v1 import event_bus_pb2
from google.protobuf.json_format import MessageToDict
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Route

from duebus_server.delivery.window import MAX_FRAME_EVENTS
from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument
from duebus_server.web.calls import CallFailedError, Method
from duebus_server.web.events import duration_us
from duebus_server.wire import decode, encode

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from duebus_server.bus.pulling import Pulled, Pulling
    from duebus_server.web.calls import Calls

SUBSCRIBE = "/duebus.v1.EventBus/Subscribe"
"""The RPC that a pull counts as, for the rules, the metrics and the traces."""

DEFAULT_MAX = 10
MAX_DIGITS = 6


def pull_route(calls: Calls, pulling: Pulling) -> Route:
    """The route that leases events."""

    async def answer(request: Request) -> Response:
        return await _Pull(pulling, request).answer(calls)

    return Route("/v1/topics/{topic}/groups/{group}:pull", answer, methods=["POST"])


class _Pull:
    """One request, from its wait to the last byte of its answer."""

    def __init__(self, pulling: Pulling, request: Request) -> None:
        self._pulling = pulling
        self._request = request
        self._wait_us = 0
        self._pulled: Pulled | None = None
        self._gone: asyncio.Task[None] | None = None

    async def answer(self, calls: Calls) -> Response:
        method = Method(SUBSCRIBE, event_bus_pb2.SubscribeRequest, self._run)
        try:
            found = await calls.run(method, self._request, self._parse)
        except CallFailedError as error:
            self.stop_watching()
            return error.failure.response()
        return _Answer({"deliveries": MessageToDict(found).get("deliveries", [])}, self)

    def _parse(self, body: bytes) -> Message:
        """The Subscribe that the request stands for.

        Raises:
            InvalidArgument: it has a body, or a parameter is unknown, given twice, or wrong.
        """
        if body:
            raise InvalidArgument("request", "must have no body: a pull takes its parameters from the query")
        pairs = self._request.query_params.multi_items()
        given = dict(pairs)
        if len(given) < len(pairs):
            raise InvalidArgument("query", "a parameter is given twice")
        subscribe = event_bus_pb2.SubscribeRequest(
            topic=self._request.path_params["topic"],
            group=self._request.path_params["group"],
            consumer=given.pop("consumer", ""),
            max_in_flight=_number("max", given.pop("max", str(DEFAULT_MAX))),
        )
        self._wait_us = duration_us("wait", given.pop("wait", "0s"))
        if "lease" in given:
            subscribe.lease.FromMicroseconds(duration_us("lease", given.pop("lease")))
        for name in given:
            raise InvalidArgument(name, "no such parameter")
        return subscribe

    async def _run(self, subscribe: event_bus_pb2.SubscribeRequest, _context: object) -> Message:
        """Pull, unless the client goes away first."""
        self._gone = asyncio.create_task(_until_gone(self._request))
        pull = asyncio.create_task(self._pulling.pull(decode.pull_command(subscribe, self._wait_us)))
        try:
            await asyncio.wait((pull, self._gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not pull.done():
                pull.cancel()
                await asyncio.wait((pull,))
        if pull.cancelled():
            raise ClientDisconnect
        self._pulled = pull.result()
        return encode.deliveries(self._pulled)

    async def is_connected(self) -> bool:
        """Whether the client is still there."""
        return not await self._request.is_disconnected()

    async def release(self) -> None:
        """Give back what the client did not get."""
        if self._pulled is not None:
            await self._pulled.release()

    def stop_watching(self) -> None:
        """No longer watch whether the client is there."""
        if self._gone is not None:
            self._gone.cancel()


class _Answer(JSONResponse):
    """The answer to a pull. If the client is gone before it is written, its events are released."""

    def __init__(self, content: Any, pull: _Pull) -> None:
        super().__init__(content)
        self._pull = pull

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as Starlette calls it
        is_written = False
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            # Returns once little of the body is left to write, or the connection is lost.
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            is_written = await self._pull.is_connected()
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._pull.stop_watching()
            if not is_written:
                await self._pull.release()


async def _until_gone(request: Request) -> None:
    """Return when the client has closed the connection. The body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > MAX_DIGITS:
        raise InvalidArgument(name, f"must be a number from 1 to {MAX_FRAME_EVENTS}")
    limits.check_range(name, int(text), 1, MAX_FRAME_EVENTS)
    return int(text)
