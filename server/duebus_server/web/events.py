"""``POST /v1/topics/{topic}/events``: an event of any media type, or CloudEvents.

Everything but the payload is in headers: ``Duebus-Delay``, ``Duebus-Deliver-At``, ``Duebus-Key``, ``Duebus-Priority``,
``Duebus-Id``, ``Duebus-Attribute-NAME`` and ``Idempotency-Key``, which is the request id. All are optional.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from duebus.v1 import event_bus_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.routing import Route

from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.units import parse_duration
from duebus_server.web import cloud_events
from duebus_server.web.calls import CallFailedError
from duebus_server.web.rpcs import json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from duebus_server.web.calls import Calls

DISPATCH = "/duebus.v1.EventBus/Dispatch"
PREFIX = "duebus-"
_INTEGER = re.compile(r"[+-]?[0-9]{1,6}", re.ASCII)
ATTRIBUTE = "attribute-"
REQUEST_ID = "idempotency-key"


def events_route(calls: Calls) -> Route:
    """The route that stores events."""
    return Route("/v1/topics/{topic}/events", partial(_dispatch, calls), methods=["POST"])


async def _dispatch(calls: Calls, request: Request) -> Response:
    try:
        response = await calls.run(calls.methods[DISPATCH], request, partial(_parse, request))
    except CallFailedError as error:
        return error.failure.response()
    return json_response(response, 202)


def _parse(request: Request, body: bytes) -> event_bus_pb2.DispatchRequest:
    """The Dispatch that a request stands for.

    Raises:
        InvalidArgument: a header is unknown, given twice, or wrong; or the body should be a CloudEvent and is not.
    """
    headers = _headers_of(request)
    events = cloud_events.parse(headers, body)
    if events is None:
        events = [event_bus_pb2.Event(data=body, content_type=headers.get("content-type", ""))]
    for event in events:
        _apply(headers, event)
    return event_bus_pb2.DispatchRequest(
        topic=request.path_params["topic"], events=events, request_id=headers.get(REQUEST_ID, "")
    )


def _headers_of(request: Request) -> dict[str, str]:
    """The headers that matter, by their names in lower case."""
    found: dict[str, str] = {}
    for raw_name, raw_value in request.headers.raw:
        name = raw_name.decode("latin-1").lower()
        if not name.startswith((PREFIX, cloud_events.PREFIX)) and name not in ("content-type", REQUEST_ID):
            continue
        if name in found:
            raise InvalidArgument(name, "is given twice")
        try:
            found[name] = raw_value.decode()
        except UnicodeDecodeError:
            raise InvalidArgument(name, "is not UTF-8") from None
    return found


def _apply(headers: Mapping[str, str], event: event_bus_pb2.Event) -> None:
    """Set what the Duebus headers say."""
    for header, value in headers.items():
        if not header.startswith(PREFIX):
            continue
        match header.removeprefix(PREFIX):
            case "id":
                event.id = value
            case "key":
                event.key = value
            case "priority":
                event.priority = _integer(header, value)
            case "delay":
                _set_delay(header, value, event)
            case "deliver-at":
                _set_deliver_at(header, value, event)
            case name if name.startswith(ATTRIBUTE):
                event.attributes[name.removeprefix(ATTRIBUTE)] = value
            case _:
                raise InvalidArgument(header, "no such header")


def _integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise InvalidArgument(name, "is not an integer such as 60 or -60")
    return int(text)


def duration_us(name: str, text: str) -> int:
    """The duration in a header or parameter, in microseconds.

    Raises:
        InvalidArgument: it is not a duration.
    """
    try:
        return parse_duration(text)
    except (ValueError, OverflowError):
        raise InvalidArgument(name, "is not a duration such as 500ms, 30s or 5m") from None


def _set_delay(header: str, value: str, event: event_bus_pb2.Event) -> None:
    delay_us = duration_us(header, value)
    limits.check_duration(header, delay_us, 0, limits.MAX_DELAY_US)
    event.delay.FromMicroseconds(delay_us)


def _set_deliver_at(header: str, value: str, event: event_bus_pb2.Event) -> None:
    if event.HasField("delay"):
        raise InvalidArgument(header, "can't be given together with duebus-delay")
    time = Timestamp()
    try:
        time.FromJsonString(value)
    except (ValueError, OverflowError):
        raise InvalidArgument(header, "is not a time such as 2030-01-01T00:00:00Z") from None
    event.deliver_at.CopyFrom(time)
