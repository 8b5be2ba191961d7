"""The calls of EventBusAdmin, by `client.admin`."""

import base64
import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from duebus import AttemptOutcome, EventInfo, KeyPolicy, Limits, Rate
from duebus.aio import AdminClient
from duebus.v1 import admin_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["call_admin"]

Fields = dict[str, Any]

# The method, and the field of the response that has its result; None if the result has the response's fields.
_CALLS: dict[str, tuple[Callable[..., Any], str | None]] = {
    "ListTopics": (AdminClient.list_topics, "topics"),
    "GetTopic": (AdminClient.get_topic, "topic"),
    "ConfigureTopic": (AdminClient.configure_topic, "config"),
    "DeleteTopic": (AdminClient.delete_topic, None),
    "DeleteGroup": (AdminClient.delete_group, None),
    "PauseGroup": (AdminClient.pause_group, None),
    "ResumeGroup": (AdminClient.resume_group, None),
    "ListEvents": (AdminClient.list_events, "events"),
    "GetEvent": (AdminClient.get_event, "event"),
    "ListKeys": (AdminClient.list_keys, "keys"),
    "CancelEvents": (AdminClient.cancel, None),
    "RescheduleEvents": (AdminClient.reschedule, None),
    "RedriveEvents": (AdminClient.redrive, None),
    "PurgeEvents": (AdminClient.purge, None),
}

# Requests have these messages where the methods have arguments.
_FLATTENED = ("config", "retry_policy", "filter")
_VALUES = {"Rate": Rate, "Limits": Limits, "KeyPolicy": KeyPolicy}
_PREFIXES = {"Engine": "ENGINE_", "EventState": "EVENT_STATE_", "OnDead": "ON_DEAD_", "AttemptOutcome": "OUTCOME_"}
_EVENT_FIELDS = ("data", "content_type", "attributes", "key", "priority", "max_retries")


async def call_admin(admin: AdminClient, method: str, request: bytes) -> Fields:
    """A call. A list has only one page.

    Args:
        admin: Makes it.
        method: For example `GetTopic`.
        request: The request in protobuf's binary format.

    Returns:
        The response in protobuf's JSON.

    Raises:
        DueBusError: it failed.
    """
    call, field = _CALLS[method]
    arguments = _arguments(getattr(admin_pb2, f"{method}Request").FromString(request))
    if method == "DeleteGroup":
        arguments.setdefault("group", "")  # required there, although empty means "default"
    answer = call(admin, **arguments)
    result = [each async for each in answer] if isinstance(answer, AsyncIterator) else await answer
    return (_json(result) or {}) if field is None else {field: _json(result)}


def _arguments(message: Message) -> Fields:
    """The fields that are set; the others have the SDK's defaults."""
    arguments: Fields = {}
    for field, value in message.ListFields():
        if field.name in _FLATTENED:
            arguments |= _arguments(value)
        elif field.name == "order":
            arguments["newest_first"] = value == admin_pb2.ListEventsRequest.ORDER_NEWEST_FIRST
        else:
            arguments["at" if field.name == "deliver_at" else field.name] = _argument(field, value)
    return arguments


def _argument(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Duration):
        return value.ToTimedelta()
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC)
    if isinstance(value, Message):
        return _VALUES[value.DESCRIPTOR.name](**_arguments(value))
    if field.enum_type is not None:
        name: str = field.enum_type.values_by_number[value].name
        return name.removeprefix(_PREFIXES[field.enum_type.name]).lower()
    return value


def _json(value: Any) -> Any:
    """A result in protobuf's JSON."""
    if isinstance(value, EventInfo):
        info = _members(value)
        event = {"id": info.pop("event_id"), **{name: info.pop(name) for name in _EVENT_FIELDS}}
        return {"event": event, **info}
    if dataclasses.is_dataclass(value):
        return _members(value)
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    if isinstance(value, StrEnum):
        name = "UNSPECIFIED" if value is AttemptOutcome.UNDER_WAY else value.name
        return _PREFIXES[type(value).__name__] + name
    convert = _SCALARS.get(type(value))
    return value if convert is None else convert(value)


def _members(value: Any) -> Fields:
    return {each.name: _json(getattr(value, each.name)) for each in dataclasses.fields(value)}


_SCALARS: dict[type, Callable[[Any], str]] = {
    bytes: lambda value: base64.b64encode(value).decode(),
    datetime: lambda value: value.isoformat(),
    timedelta: lambda value: f"{value.total_seconds():.6f}s",
}
