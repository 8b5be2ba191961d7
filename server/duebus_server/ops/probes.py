"""What the HTTP port answers: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from duebus_server.ops.metrics import Scrape

    Why = Callable[[], Awaitable[str | None]]


def probes(not_alive: Why, not_ready: Why, scrape: Callable[[str], Awaitable[Scrape]]) -> Starlette:
    """The application that answers probes and scrapes.

    Args:
        not_alive: returns why the process must be replaced, None if it need not be.
        not_ready: returns why the server can't take work, None if it can.
        scrape: returns all metrics, in the format that the header ``accept`` asks for.
    """

    async def healthz(_: Request) -> Response:
        return _probed(await not_alive())

    async def readyz(_: Request) -> Response:
        return _probed(await not_ready())

    async def metrics(request: Request) -> Response:
        text, content_type = await scrape(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type, "vary": "Accept"})

    endpoints = (healthz, readyz, metrics)
    routes = [Route(f"/{endpoint.__name__}", endpoint) for endpoint in endpoints]
    return Starlette(routes=routes, middleware=[Middleware(GZipMiddleware, compresslevel=1)])


def _probed(reason: str | None) -> Response:
    return PlainTextResponse(f"{reason or 'ok'}\n", 200 if reason is None else 503)
