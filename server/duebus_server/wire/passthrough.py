"""Messages that carry an event as the bytes it was stored as.

A message field and a bytes field look the same on the wire (https://protobuf.dev/programming-guides/encoding/#submessages),
so a ``Delivery`` whose ``event`` is declared as bytes encodes to what the client reads as a ``Delivery`` with an
``Event``, and the server need not decode what it only hands on. The classes are made from the public descriptors, so
they can't drift from them.
"""

from __future__ import annotations

from typing import Any

from duebus.v1 import admin_pb2, event_bus_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2

_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES


def _with_event_as_bytes(file: Any, *messages: str) -> descriptor_pb2.FileDescriptorProto:
    """A copy of a file's descriptor in which ``event`` of these messages is bytes."""
    copy = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(copy)
    for message in copy.message_type:
        if message.name in messages:
            field = next(field for field in message.field if field.name == "event")
            field.type = _BYTES
            field.ClearField("type_name")
    return copy


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for known in (duration_pb2, timestamp_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for copy in (
        _with_event_as_bytes(event_bus_pb2.DESCRIPTOR, "Delivery"),
        _with_event_as_bytes(admin_pb2.DESCRIPTOR, "EventInfo"),
    ):
        pool.AddSerializedFile(copy.SerializeToString())
    return pool


_POOL = _pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"duebus.v1.{name}"))


SubscribeResponse = _message("SubscribeResponse")
Deliveries = _message("Deliveries")
Delivery = _message("Delivery")
ListEventsResponse = _message("ListEventsResponse")
GetEventResponse = _message("GetEventResponse")
EventInfo = _message("EventInfo")
EventGroupInfo = _message("EventGroupInfo")
Attempt = _message("Attempt")
