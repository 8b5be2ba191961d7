"""The network between a client and a server, in cases about it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from functools import partial
from typing import TYPE_CHECKING

from support.proxy import Proxy

if TYPE_CHECKING:
    from support.tls import Certificates


class Link:
    """A proxy on its own thread.

    Args:
        certificates: for TLS with the clients; None: bytes are passed on unchanged.

    Attributes:
        address: the address that clients connect to.
    """

    def __init__(self, target: str, certificates: Certificates | None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxy = Proxy(target, None if certificates is None else _context(certificates))
        asyncio.run_coroutine_threadsafe(self._proxy.start(), self._loop).result()
        self.address = self._proxy.address

    def cut(self) -> None:
        """Reset every connection; new ones are accepted."""
        self._loop.call_soon_threadsafe(self._proxy.cut)

    def stall(self) -> None:
        """Silently hold back every byte."""
        self._loop.call_soon_threadsafe(self._proxy.stall)

    def stall_answers(self) -> None:
        """Hold back what the server sends."""
        self._loop.call_soon_threadsafe(partial(self._proxy.stall, requests=False))

    def swallow(self) -> None:
        """Silently drop every byte on the existing connections; new ones work."""
        self._loop.call_soon_threadsafe(self._proxy.swallow)

    def flow(self) -> None:
        """Forward again."""
        self._loop.call_soon_threadsafe(self._proxy.flow)

    def aim(self, target: str) -> None:
        """Connect new connections to another server."""
        self._loop.call_soon_threadsafe(self._proxy.aim, target)

    def close(self) -> None:
        """Stop the proxy."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await self._proxy.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*serving, return_exceptions=True)


def _context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    context.set_alpn_protocols(["h2"])
    return context
