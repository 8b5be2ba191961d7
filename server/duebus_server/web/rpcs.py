"""Every unary RPC over HTTP, by the Connect protocol (https://connectrpc.com/docs/protocol/#unary-request).

``POST /duebus.v1.EventBus/Dispatch`` with the request as JSON, in protobuf's own mapping.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from duebus_server.domain.errors import InvalidArgument
from duebus_server.web.calls import CallFailedError
from duebus_server.web.errors import Failure
from duebus_server.wire.unknown_fields import refuse_unknown_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message
    from starlette.requests import Request

    from duebus_server.web.calls import Calls, Method

JSON = "application/json"
PROTO = "application/proto"

_PLACE = re.compile(r'at "?\w+\.([\w.\[\]]+\w\]?)')
_NAMED = re.compile(r"Failed to parse (\w+) field")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}", re.ASCII)


def rpc_routes(calls: Calls) -> Iterator[Route]:
    """A route for each RPC."""
    for method in calls.methods.values():
        yield Route(method.path, partial(_answer, calls, method), methods=["POST"])


async def _answer(calls: Calls, method: Method, request: Request) -> Response:
    """Answer one RPC."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (JSON, PROTO):
        return Failure("unknown", f"the content type must be {JSON} or {PROTO}", status=415).response()
    parse = parse_json if media_type == JSON else _parse_proto
    try:
        response = await calls.run(method, request, partial(parse, method.request))
    except CallFailedError as error:
        return error.failure.response()
    if media_type == PROTO:
        return Response(response.SerializeToString(), media_type=PROTO)
    return json_response(response)


def json_response(message: Message, status: int = 200) -> Response:
    """A message as JSON."""
    return JSONResponse(MessageToDict(message), status)


def parse_json(kind: type[Message], body: bytes) -> Message:
    """A message from JSON; from an empty body, the empty message.

    Raises:
        InvalidArgument: it is not JSON, or not this message. The text names the field.
    """
    message = kind()
    try:
        read = json.loads(body or b"{}", object_pairs_hook=_object)
        if not isinstance(read, dict):
            raise InvalidArgument("request", "must be a JSON object")
        _check_bytes(kind.DESCRIPTOR, read, "")
        ParseDict(read, message)
    except (ParseError, ValueError, ArithmeticError, TypeError, RecursionError) as error:
        text = _printable(error)
        raise InvalidArgument(_field(text), f"is not the JSON of {message.DESCRIPTOR.name}: {text}") from None
    return message


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, which must not name a member twice."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member is given twice")
    return found


def _check_bytes(descriptor: Any, members: Mapping[str, Any], path: str) -> None:
    """Refuse bytes that are not Base64. The library skips what is not, so that a text would become other bytes."""
    for name, value in members.items():
        field = descriptor.fields_by_camelcase_name.get(name) or descriptor.fields_by_name.get(name)
        if field is None:
            continue
        for index, each in enumerate(value if isinstance(value, list) else [value]):
            place = f"{path}{name}[{index}]" if isinstance(value, list) else f"{path}{name}"
            if field.type == field.TYPE_BYTES and isinstance(each, str) and not _BASE64.fullmatch(each):
                raise InvalidArgument(place, "is not Base64")
            if field.message_type is not None and isinstance(each, dict):
                _check_bytes(field.message_type, each, f"{place}.")


def _field(text: str) -> str:
    """The path of the field that an error of the library names, in one of its two ways."""
    place = _PLACE.search(text)
    return place[1] if place else ".".join(_NAMED.findall(text)) or "request"


def _parse_proto(kind: type[Message], body: bytes) -> Message:
    try:
        message = kind.FromString(body)
    except DecodeError:
        raise InvalidArgument("request", f"is not a {kind.DESCRIPTOR.name}") from None
    refuse_unknown_fields(message)
    return message


def _printable(error: Exception) -> str:
    """The library's text, which may quote the request."""
    return "".join(each if each.isprintable() else " " for each in str(error))[:500]
