"""What the HTTP port answers: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    Why = Callable[[], Awaitable[str | None]]


def probes(not_alive: Why, not_ready: Why, scrape: Callable[[], Awaitable[bytes]]) -> Starlette:
    """The application that answers probes and scrapes.

    Args:
        not_alive: returns why the process must be replaced, None if it need not be.
        not_ready: returns why the server can't take work, None if it can.
        scrape: returns all metrics as text.
    """

    async def healthz(_: Request) -> Response:
        return _probed(await not_alive())

    async def readyz(_: Request) -> Response:
        return _probed(await not_ready())

    async def metrics(_: Request) -> Response:
        return Response(await scrape(), headers={"content-type": CONTENT_TYPE_LATEST})

    endpoints = (healthz, readyz, metrics)
    return Starlette(routes=[Route(f"/{endpoint.__name__}", endpoint) for endpoint in endpoints])


def _probed(reason: str | None) -> Response:
    return PlainTextResponse(f"{reason or 'ok'}\n", 200 if reason is None else 503)
