"""The HTTP port."""

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
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from starlette.types import ASGIApp

CONNECTIONS = 1_000
"""How many connections a port may have. More are answered 503."""

log = structlog.get_logger()


class HttpListenError(Exception):
    """The address can't be listened on. Its text is one line that names it."""


class HttpPort:
    """Serves an ASGI application.

    Attributes:
        url: where it listens, once it does.

    Args:
        app: the application. The names in a client's certificate are its ``state["certificate_names"]``.
        name: what the log calls this port.
        tls: for HTTPS; None: plaintext.
        shares_port: other processes of the same server listen on the same address.
    """

    def __init__(
        self, app: ASGIApp, name: str = "http", tls: ssl.SSLContext | None = None, *, shares_port: bool = False
    ) -> None:
        self._app = app
        self._name = name
        self._tls = tls
        self._shares_port = shares_port
        self.url = ""
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
            address = (host.strip("[]"), int(port))
            listener = socket.create_server(address, family=_family(host), reuse_port=self._shares_port)
        except OSError as error:
            raise HttpListenError(f"can't listen on {listen}: {_why(error)}") from error
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            http=StrictHttp,
            limit_concurrency=CONNECTIONS,
        )
        config.load()
        config.ssl = self._tls
        self._server = _Server(config)
        self._running = asyncio.create_task(self._server.serve([listener]), name=self._name)
        bound: int = listener.getsockname()[1]
        self.url = f"{'http' if self._tls is None else 'https'}://{host}:{bound}"
        log.info(f"{self._name} on", address=f"{host}:{bound}")
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
        if (tls := transport.get_extra_info("ssl_object")) is not None:
            self.app_state = {**self.app_state, "certificate_names": names_in(tls.getpeercert() or {})}
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


def names_in(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in a certificate that ``ssl`` has decoded, the common name first."""
    common = [value for parts in certificate.get("subject", ()) for kind, value in parts if kind == "commonName"]
    return (*common, *(value for _, value in certificate.get("subjectAltName", ())))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _why(error: OSError) -> str:
    """The operating system's reason, without Python's prefix."""
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
