"""The application behind ``--web-listen``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from duebus_server.web.actions import actions_route
from duebus_server.web.dashboard import dashboard_routes
from duebus_server.web.engines import engines_route
from duebus_server.web.errors import Failure, failure_of
from duebus_server.web.events import events_route
from duebus_server.web.openapi import openapi_route
from duebus_server.web.origin import SameOrigin
from duebus_server.web.pull import pull_route
from duebus_server.web.rpcs import rpc_routes
from duebus_server.wire.status import unexpected

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from duebus_server.bus.actions import Actions
    from duebus_server.bus.engines import Engines
    from duebus_server.bus.pulling import Pulling
    from duebus_server.web.calls import Calls
    from duebus_server.web.live import Live

GZIP_BYTES = 1_000
"""Answers from this size on are compressed, if the client takes that."""


def web_app(
    calls: Calls, pulling: Pulling, live: Live, engines: Engines, actions: Actions, *, on_loopback: bool
) -> Starlette:
    """The application.

    Args:
        calls: what it can do.
        pulling: leases events to callers without a stream.
        live: what the dashboard shows.
        engines: the engines of this server.
        actions: what operators did.
        on_loopback: it listens where only this machine can connect.
    """
    return Starlette(
        routes=[
            *rpc_routes(calls),
            events_route(calls),
            pull_route(calls, pulling),
            openapi_route(),
            *dashboard_routes(calls, live),
            engines_route(calls, engines),
            actions_route(calls, actions, engines),
        ],
        middleware=[
            Middleware(SameOrigin, loopback_only=on_loopback and calls.is_open),
            Middleware(GZipMiddleware, minimum_size=GZIP_BYTES),
        ],
        exception_handlers={404: _not_found, 405: _not_allowed, Exception: _failed},
    )


async def _not_found(request: Request, _: Exception) -> Response:
    return Failure("unimplemented", f"there is no {request.url.path}", status=404).response()


async def _failed(request: Request, error: Exception) -> Response:
    return failure_of(unexpected(error, request.url.path)).response()


async def _not_allowed(_: Request, error: Exception) -> Response:
    headers = error.headers if isinstance(error, HTTPException) and error.headers else {}
    response = Failure("unimplemented", f"only {headers.get('Allow')}", status=405).response()
    response.headers.update(headers)
    return response
