"""A TCP proxy whose connections can be cut or held up."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


class Proxy:
    """Passes bytes on to `target` and back.

    Args:
        target: HOST:PORT.
        tls: Clients must use TLS; the proxy still talks to the target in plaintext.

    Attributes:
        address: HOST:PORT on which it listens.
        delay_s: how long each piece is delayed, in seconds.
    """

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        self.aim(target)
        self._tls = tls
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallowed: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._requests = asyncio.Event()
        self._answers = asyncio.Event()
        self.flow()
        self.address = ""
        self.delay_s = 0.0

    def aim(self, target: str) -> None:
        """Send new connections to another target."""
        self._host, port = target.rsplit(":", 1)
        self._port = int(port)

    async def start(self) -> None:
        """Listens on a free port of the loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    def cut(self) -> int:
        """Resets every connection; new ones are accepted. Returns how many there were."""
        cut = len(self._writers) // 2
        for writer in self._writers:
            writer.transport.abort()
        return cut

    def stall(self, *, requests: bool = True) -> None:
        """Holds every byte back until `flow`, on old and new connections; or only what the target sends."""
        self._answers.clear()
        if requests:
            self._requests.clear()

    def swallow(self) -> None:
        """Silently drops every byte on the existing connections; new ones work.

        A firewall that has forgotten them behaves like this, or a host that is gone.
        """
        self._swallowed |= self._writers

    def flow(self) -> None:
        """Forwards again, starting with what was held back."""
        self._requests.set()
        self._answers.set()

    async def close(self) -> None:
        """Stops the proxy."""
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self.cut()
        await self._server.wait_closed()

    def _choose(self) -> tuple[str, int]:
        """Where a new connection goes."""
        return self._host, self._port

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Our own task: asyncio's would print that it was cancelled."""
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self._choose())
        except (OSError, asyncio.CancelledError):  # the target is away, or the proxy ends; so does this connection
            writer.transport.abort()
            return
        writers = {writer, onward_writer}
        self._writers |= writers
        requests = self._pipe(reader, onward_writer, self._requests)
        answers = self._pipe(onward_reader, writer, self._answers)
        await asyncio.gather(requests, answers)
        self._writers -= writers
        self._swallowed -= writers

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await flowing.wait()
                if writer in self._swallowed:
                    continue
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[Proxy]:
    """A proxy that runs during the block."""
    proxy = Proxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
