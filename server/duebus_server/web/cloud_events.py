"""CloudEvents 1.0 as events.

See https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md. The attributes become
event attributes ``ce-NAME``; ``datacontenttype`` is the content type, ``partitionkey`` the key. ``source`` and ``id``
together identify a CloudEvent: with a space between, they are the event's id.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from cloudevents.core.exceptions import BaseCloudEventException, CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent
from duebus.v1 import event_bus_pb2

from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "ce-"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
OTHER_FORMATS = "application/cloudevents"
REQUIRED = ("specversion", "id", "source", "type")


def parse(headers: Mapping[str, str], body: bytes) -> list[event_bus_pb2.Event] | None:
    """The events of a request; None if it has no CloudEvents.

    Args:
        headers: by their names in lower case.
        body: of the request.

    Raises:
        InvalidArgument: it has some, and one is not valid, or they are in a format that is not JSON.
    """
    content_type = headers.get("content-type", "")
    media_type, _, parameters = (part.strip().lower() for part in content_type.partition(";"))
    if media_type in (STRUCTURED, BATCH):
        if parameters.replace(" ", "").replace('"', "") not in ("", "charset=utf-8"):
            raise InvalidArgument("content-type", "must be UTF-8")
        return [_structured(each, path) for path, each in _read(body, is_batch=media_type == BATCH)]
    if media_type.startswith(OTHER_FORMATS):
        raise InvalidArgument("content-type", f"must be {STRUCTURED} or {BATCH}")
    attributes = {
        name.removeprefix(PREFIX): _unquoted(name, value) for name, value in headers.items() if name.startswith(PREFIX)
    }
    if not attributes:
        return None
    if content_type:
        attributes["datacontenttype"] = content_type
    return [_event(attributes, body, "")]


def _read(body: bytes, *, is_batch: bool) -> list[tuple[str, dict[str, Any]]]:
    """Each CloudEvent of a JSON document, with its path in the request."""
    try:
        read = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidArgument("request", "is not JSON") from None
    if is_batch and not isinstance(read, list):
        raise InvalidArgument("request", "must be a list of CloudEvents")
    listed = [(f"events[{index}]", each) for index, each in enumerate(read)] if is_batch else [("", read)]
    for path, each in listed:
        if not isinstance(each, dict):
            raise InvalidArgument(path or "request", "is not a CloudEvent")
    if len(listed) > limits.MAX_EVENTS:
        raise InvalidArgument("events", f"has {len(listed)} events, at most {limits.MAX_EVENTS} are allowed")
    return listed


def _structured(members: dict[str, Any], path: str) -> event_bus_pb2.Event:
    """An event from the members of a JSON object."""
    attributes = {
        name: _text(value, _within(path, name))
        for name, value in members.items()
        if value is not None and name not in ("data", "data_base64")
    }
    data, encoded = members.get("data"), members.get("data_base64")
    if encoded is not None:
        if data is not None or not isinstance(encoded, str):
            raise InvalidArgument(_within(path, "data_base64"), "must be text, and can't be given together with data")
        try:
            return _event(attributes, base64.b64decode(encoded, validate=True), path)
        except (ValueError, binascii.Error):
            raise InvalidArgument(_within(path, "data_base64"), "is not Base64") from None
    if data is not None:
        attributes.setdefault("datacontenttype", "application/json")
    is_text = isinstance(data, str) and not _is_json(attributes.get("datacontenttype", ""))
    text = "" if data is None else data if is_text else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    try:
        return _event(attributes, text.encode(), path)
    except UnicodeEncodeError:
        raise InvalidArgument(_within(path, "data"), "has text that UTF-8 can't encode") from None


def _event(attributes: dict[str, str], data: bytes, path: str) -> event_bus_pb2.Event:
    """An event from the attributes of a CloudEvent, once they have been checked."""
    _check(attributes, path)
    event = event_bus_pb2.Event(
        id=f"{attributes['source']} {attributes['id']}",
        data=data,
        content_type=attributes.pop("datacontenttype", ""),
        key=attributes.get("partitionkey", ""),
    )
    for name, value in attributes.items():
        event.attributes[PREFIX + name] = value
    return event


def _check(attributes: Mapping[str, str], path: str) -> None:
    """Check attributes by the rules of CloudEvents.

    Raises:
        InvalidArgument: one is missing or malformed.
    """
    for name in REQUIRED:  # the library would fill in some
        if not attributes.get(name):
            raise InvalidArgument(_within(path, name), "is required in a CloudEvent")
    for name, value in attributes.items():
        if not (name.isascii() and name.isprintable()):
            raise InvalidArgument(_within(path, name), "is not a name of an attribute")
        if not value.isprintable():
            raise InvalidArgument(_within(path, name), "must be printable text")
    if " " in attributes["source"]:
        raise InvalidArgument(_within(path, "source"), "must be a URI reference, without spaces")
    typed: dict[str, Any] = dict(attributes)
    if "time" in attributes:
        typed["time"] = _time(attributes["time"], path)
    try:
        CloudEvent(typed)
    except CloudEventValidationError as error:
        name, errors = next(iter(error.errors.items()))
        raise InvalidArgument(_within(path, name), str(errors[0])) from None
    except BaseCloudEventException as error:
        raise InvalidArgument(path or "request", str(error)) from None


def _time(text: str, path: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(_within(path, "time"), "is not a time such as 2030-01-01T00:00:00Z") from None


def _text(value: object, path: str) -> str:
    """An attribute's value in its canonical text (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type-system)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, int) and -(1 << 31) <= value < 1 << 31:
        return str(value)
    raise InvalidArgument(path, "must be text, a 32-bit integer, true or false")


def _unquoted(header: str, value: str) -> str:
    """A header's value, whose special characters are percent-encoded. Older clients quote it as a whole."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise InvalidArgument(header, "is not percent-encoded UTF-8") from None


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.endswith(("/json", "+json"))


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _within(path: str, name: str) -> str:
    """The path of an attribute. JSON can hold names that UTF-8 can't encode."""
    name = name.encode(errors="backslashreplace").decode()
    return f"{path}.{name}" if path else name
