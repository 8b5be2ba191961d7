"""The network between a client and a server, when a case is about it."""

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
    """A proxy in a thread of its own.

    Args:
        certificates: with which it talks TLS to clients; None: what passes is left as it is.

    Attributes:
        address: what clients connect to.
    """

    def __init__(self, target: str, certificates: Certificates | None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxy = Proxy(target, None if certificates is None else _context(certificates))
        asyncio.run_coroutine_threadsafe(self._proxy.start(), self._loop).result()
        self.address = self._proxy.address

    def cut(self) -> None:
        """Every connection is reset; new ones are accepted."""
        self._loop.call_soon_threadsafe(self._proxy.cut)

    def stall(self) -> None:
        """No byte passes any more, and nobody is told."""
        self._loop.call_soon_threadsafe(self._proxy.stall)

    def stall_answers(self) -> None:
        """Nothing passes that the server says."""
        self._loop.call_soon_threadsafe(partial(self._proxy.stall, requests=False))

    def swallow(self) -> None:
        """The connections that there are die silently; new ones work."""
        self._loop.call_soon_threadsafe(self._proxy.swallow)

    def flow(self) -> None:
        """Passes on again."""
        self._loop.call_soon_threadsafe(self._proxy.flow)

    def aim(self, target: str) -> None:
        """New connections lead to another server."""
        self._loop.call_soon_threadsafe(self._proxy.aim, target)

    def close(self) -> None:
        """Ends it."""
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
