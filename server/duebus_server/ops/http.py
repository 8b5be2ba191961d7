"""The HTTP port: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h11
import structlog
import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Why = Callable[[], Awaitable[str | None]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

TEXT = "text/plain; charset=utf-8"

log = structlog.get_logger()


class HttpListenError(Exception):
    """The address can't be listened on. Its text is one line that names it."""


class HttpPort:
    """Answers probes and scrapes.

    Args:
        not_alive: returns why the process must be replaced, None if it need not be.
        not_ready: returns why the server can't take work, None if it can.
        scrape: returns all metrics as text.
    """

    def __init__(self, not_alive: Why, not_ready: Why, scrape: Callable[[], Awaitable[bytes]]) -> None:
        self._not_alive = not_alive
        self._not_ready = not_ready
        self._scrape = scrape
        self._server: _Server | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self, listen: str) -> int:
        """Listen on HOST:PORT; port 0 picks a free one.

        Returns:
            The port.

        Raises:
            HttpListenError: the address is taken, not local, or not an address.
        """
        host, _, port = listen.rpartition(":")
        try:
            listener = socket.create_server((host.strip("[]"), int(port)), family=_family(host))
        except OSError as error:
            raise HttpListenError(f"cannot listen on {listen}: {_why(error)}") from error
        config = uvicorn.Config(
            self,
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL,
            access_log=False,
            timeout_graceful_shutdown=1,
            http=StrictHttp,
        )
        self._server = _Server(config)
        self._running = asyncio.create_task(self._server.serve([listener]), name="http")
        bound: int = listener.getsockname()[1]
        log.info("http on", address=f"{host}:{bound}")
        return bound

    async def stop(self) -> None:
        """Stop serving. Does nothing if it hasn't started."""
        if self._server is not None and self._running is not None:
            self._server.should_exit = True
            await self._running

    async def __call__(self, scope: dict[str, Any], _receive: Any, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            return
        allowed = scope["method"] in ("GET", "HEAD")
        status, content_type, body = await self._answer(scope["path"]) if allowed else (405, TEXT, b"only GET\n")
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        if not allowed:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, path: str) -> tuple[int, str, bytes]:
        match path:
            case "/healthz":
                return _probed(await self._not_alive())
            case "/readyz":
                return _probed(await self._not_ready())
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, await self._scrape()
            case _:
                return 404, TEXT, b"there are /healthz, /readyz and /metrics\n"


def _probed(reason: str | None) -> tuple[int, str, bytes]:
    return (200, TEXT, b"ok\n") if reason is None else (503, TEXT, f"{reason}\n".encode())


class StrictHttp(H11Protocol):
    """HTTP/1.1 that closes a connection when a request doesn't arrive whole in time, which uvicorn doesn't."""

    REQUEST_S = 10.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the timer."""
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Stop the timer if the request is complete."""
        super().data_received(data)
        self._await_request()

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request. If its answer has begun or may have no body, only close the connection."""
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Start the timer for the next request."""
        super().on_response_complete()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        self._stop_waiting()

    def _await_request(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.REQUEST_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """Installs no signal handlers: the process's own ones start a drain."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _why(error: OSError) -> str:
    """The operating system's reason, without Python's prefix."""
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
