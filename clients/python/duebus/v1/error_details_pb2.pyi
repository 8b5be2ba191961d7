from duebus.v1 import event_bus_pb2 as _event_bus_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_DISPATCHER_NOT_WORKING: _ClassVar[ErrorReason]
    ERROR_REASON_NO_DISPATCHER_SPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_NO_TOPIC_SPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_ARGUMENT: _ClassVar[ErrorReason]
    ERROR_REASON_NO_EVENT_SPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_NO_HANDLER_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_DUPLICATE_INITIALIZED: _ClassVar[ErrorReason]
    ERROR_REASON_MAX_QUEUED_EVENTS_REACHED: _ClassVar[ErrorReason]
    ERROR_REASON_CONCURRENT_MODIFICATION: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    ERROR_REASON_UNIMPLEMENTED: _ClassVar[ErrorReason]
    ERROR_REASON_UNAUTHENTICATED: _ClassVar[ErrorReason]
    ERROR_REASON_PERMISSION_DENIED: _ClassVar[ErrorReason]
    ERROR_REASON_MAX_STREAMS_REACHED: _ClassVar[ErrorReason]
    ERROR_REASON_TOPIC_HAS_SCHEDULES: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_DISPATCHER_NOT_WORKING: ErrorReason
ERROR_REASON_NO_DISPATCHER_SPECIFIED: ErrorReason
ERROR_REASON_NO_TOPIC_SPECIFIED: ErrorReason
ERROR_REASON_INVALID_ARGUMENT: ErrorReason
ERROR_REASON_NO_EVENT_SPECIFIED: ErrorReason
ERROR_REASON_NO_HANDLER_FOUND: ErrorReason
ERROR_REASON_DUPLICATE_INITIALIZED: ErrorReason
ERROR_REASON_MAX_QUEUED_EVENTS_REACHED: ErrorReason
ERROR_REASON_CONCURRENT_MODIFICATION: ErrorReason
ERROR_REASON_NOT_FOUND: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
ERROR_REASON_UNIMPLEMENTED: ErrorReason
ERROR_REASON_UNAUTHENTICATED: ErrorReason
ERROR_REASON_PERMISSION_DENIED: ErrorReason
ERROR_REASON_MAX_STREAMS_REACHED: ErrorReason
ERROR_REASON_TOPIC_HAS_SCHEDULES: ErrorReason

class PartialDispatch(_message.Message):
    __slots__ = ("stored_engines", "event_ids")
    STORED_ENGINES_FIELD_NUMBER: _ClassVar[int]
    EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    stored_engines: _containers.RepeatedScalarFieldContainer[_event_bus_pb2.Engine]
    event_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stored_engines: _Optional[_Iterable[_Union[_event_bus_pb2.Engine, str]]] = ..., event_ids: _Optional[_Iterable[str]] = ...) -> None: ...
