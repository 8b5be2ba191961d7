"""The dashboard: its files at ``/`` and ``/assets``, who uses it at ``/session``, and what changes at ``/events``."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from duebus_server.domain import limits
from duebus_server.domain.errors import DueBusError
from duebus_server.security.acl import ALL_TOPICS, Verb
from duebus_server.web.calls import COOKIE, PAGE_HEADER, packed
from duebus_server.web.errors import Failure, failure_of
from duebus_server.web.live import encoded
from duebus_server.wire.status import status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from duebus_server.security.access import Caller
    from duebus_server.web.calls import Calls
    from duebus_server.web.live import Live, Message

STATIC = Path(str(resources.files("duebus_server.web"))) / "static"

SESSION_S = 3_600
"""How long a browser stays signed in."""

MAX_COOKIE_BYTES = 4_000
"""The largest value of a cookie that every browser keeps."""

SHOWN_VERBS = (Verb.VIEW, Verb.PAYLOAD, Verb.ADMIN, Verb.DISPATCH)

_INLINE = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)


def dashboard_routes(calls: Calls, live: Live) -> list[Route | Mount]:
    """The routes of the page. Its files need no credentials; everything that they show does."""
    page = (STATIC / "index.html").read_text()
    headers = _security_headers(page)

    async def index(_request: Request) -> Response:
        return HTMLResponse(page, headers=headers)

    return [
        Route("/", index),
        Route("/favicon.ico", _favicon),
        Route("/session", _Session(calls).answer, methods=["GET", "POST", "DELETE"]),
        Route("/events", _Stream(calls, live).answer),
        Mount("/assets", _Assets(directory=STATIC)),
    ]


def _security_headers(page: str) -> dict[str, str]:
    """What a browser may do with the page: run our files and ask this server, nothing else."""
    [inline] = _INLINE.findall(page)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    policy = {
        "default-src": "'none'",
        "script-src": f"'self' 'sha256-{digest}'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


async def _favicon(_request: Request) -> Response:
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


class _Assets(StaticFiles):
    """The files, which a browser asks for again after an update of the server."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


class _Session:
    """Who uses the page. POST turns a token into a cookie, DELETE removes it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def answer(self, request: Request) -> Response:
        if request.method != "GET" and PAGE_HEADER not in request.headers:
            return Failure("permission_denied", f"the header {PAGE_HEADER} is missing").response()
        try:
            match request.method:
                case "POST":
                    return await self._sign_in(request)
                case "DELETE":
                    response = Response(status_code=204)
                    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_is_secure(request))
                    return response
            topic = request.query_params.get("topic", "")
            if topic:
                limits.check_name("topic", topic)
            return self._facts(await self._calls.identify(request), topic or ALL_TOPICS)
        except DueBusError as error:
            return failure_of(status_of(error)).response()

    async def _sign_in(self, request: Request) -> Response:
        token = b""
        async for chunk in request.stream():
            token += chunk
            if len(token) > MAX_COOKIE_BYTES:
                return _too_long()
        text = token.decode("ascii", errors="replace").strip()
        if not text.isascii() or not text.isprintable():
            return Failure("unauthenticated", "the token is not known").response()
        cookie = packed(text)
        if len(cookie) > MAX_COOKIE_BYTES:
            return _too_long()
        response = self._facts(await self._calls.identify(request, text), ALL_TOPICS)
        response.set_cookie(
            COOKIE, cookie, max_age=SESSION_S, httponly=True, samesite="strict", secure=_is_secure(request)
        )
        return response

    def _facts(self, caller: Caller, topic: str) -> Response:
        may = [verb.value for verb in SHOWN_VERBS if caller.may(verb, topic)]
        facts = {"identity": caller.identity, "open": self._calls.is_open, "may": may}
        return JSONResponse(facts, headers={"Cache-Control": "no-store"})


class _Stream:
    """Server-sent events: what changes, for those who may see it."""

    def __init__(self, calls: Calls, live: Live) -> None:
        self._calls = calls
        self._live = live

    async def answer(self, request: Request) -> Response:
        try:
            caller = await self._calls.identify(request)
        except DueBusError as error:
            return failure_of(status_of(error)).response()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._messages(request, caller), media_type="text/event-stream", headers=headers)

    async def _messages(self, request: Request, caller: Caller) -> AsyncIterator[bytes]:
        async for message in self._live.messages():
            now = caller if self._calls.is_open else await self._caller(request)
            if now is None or now.names != caller.names:
                yield b"event: signed-out\ndata: {}\n\n"
                return
            if now != caller:  # the rules have changed: the page connects again, and gets all that they allow
                return
            yield _encoded(message, caller)

    async def _caller(self, request: Request) -> Caller | None:
        """Whose credentials these are; None if they are no longer accepted."""
        try:
            return await self._calls.identify(request)
        except DueBusError:
            return None


def _encoded(message: Message, caller: Caller) -> bytes:
    """The message with what the caller may see. For those who may see all, it is encoded once."""
    if caller.may(Verb.VIEW, ALL_TOPICS):
        return message.encoded
    content = message.content
    seen = {
        "topics": [each for each in content["topics"] if caller.may(Verb.VIEW, each["topic"])],
        "schedules": [
            each for each in content["schedules"] if caller.may(Verb.VIEW, each["info"]["schedule"]["topic"])
        ],
        "removed": [each for each in content["removed"] if caller.may(Verb.VIEW, each[1])],
    }
    return encoded({**content, **seen})


def _too_long() -> Response:
    text = f"the token is too long for a cookie: at most {MAX_COOKIE_BYTES:,} bytes are allowed"
    return Failure("invalid_argument", text).response()


def _is_secure(request: Request) -> bool:
    """Whether the browser came by HTTPS, which a proxy may have ended."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
