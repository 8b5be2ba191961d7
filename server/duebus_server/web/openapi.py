"""``GET /openapi.json``: the OpenAPI document of this port, which ``make proto`` makes from the contract."""

from __future__ import annotations

from importlib import resources

from starlette.responses import Response
from starlette.routing import Route


def openapi_route() -> Route:
    """The route of the document. Nothing in it depends on who asks, so it needs no credentials."""
    content = (resources.files("duebus.v1") / "openapi.json").read_bytes()

    async def answer(_request: object) -> Response:
        return Response(content, media_type="application/json")

    return Route("/openapi.json", answer)
