"""Messages of the admin service that carry events as they were stored, encoded already.

A message field and a bytes field look the same on the wire
(https://protobuf.dev/programming-guides/encoding/#submessages), so an ``EventInfo`` whose ``event`` is declared as
bytes encodes to what the client reads as an ``EventInfo`` with an ``Event``, and the server need not decode what it
only hands on. The classes are made from the public descriptors, so they can't drift from them. (``deliveries.py`` does
the same for deliveries, faster.)
"""

from __future__ import annotations

from typing import Any

from duebus.v1 import admin_pb2, event_bus_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2

_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES


def _with_bytes(file: Any, message_name: str, field_name: str) -> descriptor_pb2.FileDescriptorProto:
    """A copy of a file's descriptor in which this field of a message is bytes."""
    copy = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(copy)
    message = next(message for message in copy.message_type if message.name == message_name)
    field = next(field for field in message.field if field.name == field_name)
    field.type = _BYTES
    field.ClearField("type_name")
    return copy


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for as_it_is in (duration_pb2, timestamp_pb2, event_bus_pb2):
        pool.AddSerializedFile(as_it_is.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_with_bytes(admin_pb2.DESCRIPTOR, "EventInfo", "event").SerializeToString())
    return pool


_POOL = _pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"duebus.v1.{name}"))


ListEventsResponse = _message("ListEventsResponse")
GetEventResponse = _message("GetEventResponse")
EventInfo = _message("EventInfo")
EventGroupInfo = _message("EventGroupInfo")
Attempt = _message("Attempt")
