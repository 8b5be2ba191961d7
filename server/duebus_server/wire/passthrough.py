"""Messages that carry parts which are encoded already: events as they were stored, times that a frame repeats.

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

_DELIVERY_TIMES = ("deliver_at", "dispatched_at", "lease_expires_at")


def _with_bytes(file: Any, message_name: str, *fields: str) -> descriptor_pb2.FileDescriptorProto:
    """A copy of a file's descriptor in which these fields of a message are bytes."""
    copy = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(copy)
    message = next(message for message in copy.message_type if message.name == message_name)
    for field in message.field:
        if field.name in fields:
            field.type = _BYTES
            field.ClearField("type_name")
    return copy


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for known in (duration_pb2, timestamp_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for copy in (
        _with_bytes(event_bus_pb2.DESCRIPTOR, "Delivery", "event", *_DELIVERY_TIMES),
        _with_bytes(admin_pb2.DESCRIPTOR, "EventInfo", "event"),
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
