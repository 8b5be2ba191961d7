"""What operators did, for the dashboard: ``/actions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DueBusError
from duebus_server.security.acl import ALL_TOPICS, Verb
from duebus_server.web.errors import failure_of
from duebus_server.wire.status import status_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from duebus_server.bus.actions import Actions
    from duebus_server.bus.engines import Engines
    from duebus_server.domain.actions import Action
    from duebus_server.web.calls import Calls


def actions_route(calls: Calls, actions: Actions, engines: Engines) -> Route:
    """The route. Callers get the actions on topics that they may view; those without a topic need the right to view all
    topics.
    """

    async def answer(request: Request) -> Response:
        try:
            caller = await calls.identify(request)
        except DueBusError as error:
            return failure_of(status_of(error)).response()
        found = [
            _encoded(running.engine.name, action)
            for running in engines
            for action in await actions.latest(running.engine)
            if caller.may(Verb.VIEW, action.topic or ALL_TOPICS)
        ]
        found.sort(key=lambda one: one["at"], reverse=True)
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    return Route("/actions", answer, methods=["GET"])


def _encoded(engine: str, action: Action) -> dict[str, Any]:
    return {
        "engine": engine,
        "at": action.at_us / SECOND,
        "identity": action.identity,
        "peer": action.peer,
        "verb": action.verb,
        "topic": action.topic,
        "group": action.group,
        "subject": action.subject,
        "outcome": action.outcome,
    }
