"""A call over HTTP: authenticated, read, authorized, run, counted and audited like one over gRPC."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from google.protobuf import message_factory
from starlette.requests import ClientDisconnect

from duebus_server.domain.errors import DueBusError, InvalidArgument
from duebus_server.security.access import NOBODY
from duebus_server.web.errors import Failure, failure_of
from duebus_server.wire.authorization import caller_of_the_call
from duebus_server.wire.guard import unrecorded, untraced
from duebus_server.wire.status import status_of, unexpected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from google.protobuf.message import Message
    from starlette.requests import Request

    from duebus_server.security.access import Caller
    from duebus_server.wire.authorization import Authorizer
    from duebus_server.wire.guard import Record

    Trace = Callable[[str, Any], AbstractContextManager[str]]


COOKIE = "duebus_token"
"""Has the token of who is signed in to the page, as ``packed`` makes it."""

PAGE_HEADER = "duebus-page"
"""Without it, the cookie counts for nothing but reading. A page of another site can't send it."""

MAX_DIGITS = 18
"""The most digits of a Content-Length. Python refuses to parse integers of thousands of digits."""


class CallFailedError(Exception):
    """A call that failed, and the error that the caller gets."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Method:
    """A unary RPC: its path, the class of its request, and what answers it."""

    path: str
    request: type[Message]
    behaviour: Callable[[Any, HttpContext], Awaitable[Message]]


class HttpContext:
    """What the services and the authorizer read of a call, from an HTTP request in place of a gRPC context."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def peer(self) -> str:
        """The caller's address, as gRPC writes it."""
        client = self._request.client
        if client is None:
            return "unknown"
        return f"ipv6:[{client.host}]:{client.port}" if ":" in client.host else f"ipv4:{client.host}:{client.port}"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The headers, with the token of the cookie where it counts."""
        headers = tuple(self._request.headers.items())
        token = self._cookie()
        return headers if token is None else (*headers, ("authorization", f"Bearer {token}"))

    def _cookie(self) -> str | None:
        """The token of who is signed in; None if there is none, or the request has a token of its own."""
        headers = self._request.headers
        value = self._request.cookies.get(COOKIE)
        if value is None or "authorization" in headers:
            return None
        if self._request.method != "GET" and PAGE_HEADER not in headers:
            return None
        token = unquote(value)
        return token if token.isascii() else None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """The names in the client's certificate."""
        names = self._request.scope.get("state", {}).get("certificate_names", ())
        return {"x509_subject_alternative_name": [name.encode() for name in names]}


class TokenContext(HttpContext):
    """A request with a token that is not among its headers."""

    def __init__(self, request: Request, token: str) -> None:
        super().__init__(request)
        self._token = token

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The token alone."""
        return (("authorization", f"Bearer {self._token}"),)


class Calls:
    """Runs the unary RPCs of some services.

    Args:
        services: service descriptors, each with its servicer.
        authorizer: decides who may call, and what they may do.
        max_bytes: the largest body of a request.
        record: as in ``Guard``.
        trace: makes the context that a call runs in, as in ``Guard``.
    """

    def __init__(
        self,
        services: Iterable[tuple[Any, object]],
        authorizer: Authorizer,
        max_bytes: int,
        record: Record = unrecorded,
        trace: Trace = untraced,
    ) -> None:
        self.methods = {method.path: method for service in services for method in _unary_methods(*service)}
        self._authorizer = authorizer
        self._max_bytes = max_bytes
        self._record = record
        self._trace = trace

    @property
    def is_open(self) -> bool:
        """Whether callers need no credentials."""
        return not self._authorizer.knows_callers

    async def identify(self, request: Request, token: str | None = None) -> Caller:
        """Who makes a request.

        Args:
            request: the HTTP request.
            token: counts in place of the credentials of the request.

        Raises:
            Unauthenticated: the credentials are missing or unknown.
        """
        context = HttpContext(request) if token is None else TokenContext(request, token)
        await self._authorizer.authenticate(context)  # type: ignore[arg-type]  # as much of one as it reads
        return caller_of_the_call()

    async def run(self, method: Method, request: Request, parse: Callable[[bytes], Message]) -> Message:
        """Answer a request.

        Args:
            method: the RPC.
            request: the HTTP request. Its body is read once the caller is known.
            parse: makes the RPC's request of the body; raises InvalidArgument.

        Raises:
            CallFailedError: the call failed.
        """
        if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
            raise CallFailedError(Failure("unimplemented", f"requests can't be compressed: {encoding}"))
        context = HttpContext(request)
        caller, message = NOBODY, None
        code = outcome = "CANCELLED"
        began_s, trace_id = time.perf_counter(), ""
        try:
            await self._authorizer.authenticate(context)  # type: ignore[arg-type]  # as much of one as it reads
            caller = caller_of_the_call()
            message = parse(await _read(request, self._max_bytes))
            self._authorizer.authorize(caller, method.path, message)
            with self._trace(method.path, context) as trace_id:
                response = await method.behaviour(message, context)
            code = outcome = "OK"
        except ClientDisconnect:
            raise CallFailedError(Failure("canceled", "the client is gone")) from None
        except DueBusError as error:
            status, outcome = status_of(error), error.reason
            code = status[0].name
            raise CallFailedError(failure_of(status)) from None
        except Exception as error:  # noqa: BLE001  # nothing above hides it from the client
            code = outcome = "INTERNAL"
            raise CallFailedError(failure_of(unexpected(error, method.path))) from None
        finally:
            self._record(method.path, code, time.perf_counter() - began_s, trace_id)
            self._authorizer.audit(method.path, caller, message, outcome, context)  # type: ignore[arg-type]
        return response


def packed(token: str) -> str:
    """A token as the value of a cookie, in which not every character may stand. A JSON Web Token stays as it is."""
    return quote(token, safe="._~-")


def _unary_methods(service: Any, servicer: object) -> Iterator[Method]:
    for method in service.methods:
        if not method.server_streaming:
            path = f"/{service.full_name}/{method.name}"
            yield Method(path, message_factory.GetMessageClass(method.input_type), getattr(servicer, method.name))


async def _read(request: Request, max_bytes: int) -> bytes:
    """The body.

    Raises:
        InvalidArgument: it is too large. No more than ``max_bytes`` and one chunk are held.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > MAX_DIGITS or int(length) > max_bytes):
        raise _too_large(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> InvalidArgument:
    return InvalidArgument("request", f"is too large: at most {max_bytes} bytes are allowed")
