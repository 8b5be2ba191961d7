"""The HTTP port."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

log = structlog.get_logger()


class HttpListenError(Exception):
    """The address can't be listened on. Its text is one line that names it."""


class HttpPort:
    """Serves an ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
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
            self._app,
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
