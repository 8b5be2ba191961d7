"""Refuses requests that a page of another site makes a browser send.

Without credentials, whoever reaches the address may use the bus. On the loopback interface that is meant for programs
of this machine, but its browsers run the programs of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from duebus_server.web.errors import Failure

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class SameOrigin:
    """ASGI middleware that checks where a request comes from, and whom it is for.

    Args:
        app: the application.
        loopback_only: refuse other host names than those of the loopback interface: a name that someone makes point
            here would give his pages this origin (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, loopback_only: bool) -> None:
        self._app = app
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on."""
        app = self._app
        if scope["type"] == "http" and (reason := self._refusal(scope)) is not None:
            app = Failure("permission_denied", reason).response()
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._loopback_only and _name_of(host) not in LOOPBACK_HOSTS:
            return "the host must be that of the loopback interface, because the server needs no credentials"
        origin = headers.get("origin")
        if origin is not None and origin not in self._own_origins(scope["scheme"], host):
            return "the request comes from a page of another site"
        return None

    def _own_origins(self, scheme: str, host: str) -> tuple[str, ...]:
        """What browsers call the pages of this server. A proxy may have ended the TLS, but not on loopback."""
        schemes = (scheme,) if self._loopback_only else (scheme, "https")
        return tuple(f"{each}://{host}" for each in schemes)


def _name_of(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()
