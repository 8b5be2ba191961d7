import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Engine(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENGINE_UNSPECIFIED: _ClassVar[Engine]
    ENGINE_LOCAL: _ClassVar[Engine]
    ENGINE_REDIS: _ClassVar[Engine]
ENGINE_UNSPECIFIED: Engine
ENGINE_LOCAL: Engine
ENGINE_REDIS: Engine

class DispatchRequest(_message.Message):
    __slots__ = ("topic", "events", "engines", "request_id", "require_subscriber")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_SUBSCRIBER_FIELD_NUMBER: _ClassVar[int]
    topic: str
    events: _containers.RepeatedCompositeFieldContainer[Event]
    engines: _containers.RepeatedScalarFieldContainer[Engine]
    request_id: str
    require_subscriber: bool
    def __init__(self, topic: _Optional[str] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., engines: _Optional[_Iterable[_Union[Engine, str]]] = ..., request_id: _Optional[str] = ..., require_subscriber: bool = ...) -> None: ...

class DispatchResponse(_message.Message):
    __slots__ = ("event_ids", "duplicate_event_ids")
    EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    event_ids: _containers.RepeatedScalarFieldContainer[str]
    duplicate_event_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, event_ids: _Optional[_Iterable[str]] = ..., duplicate_event_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "data", "content_type", "attributes", "delay", "deliver_at", "max_retries", "key", "priority")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    DELIVER_AT_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    id: str
    data: bytes
    content_type: str
    attributes: _containers.ScalarMap[str, str]
    delay: _duration_pb2.Duration
    deliver_at: _timestamp_pb2.Timestamp
    max_retries: int
    key: str
    priority: int
    def __init__(self, id: _Optional[str] = ..., data: _Optional[bytes] = ..., content_type: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deliver_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., max_retries: _Optional[int] = ..., key: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("topic", "group", "engine", "consumer", "max_in_flight", "max_in_flight_bytes", "lease", "disconnect_grace", "held_lease_tokens", "ephemeral")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    DISCONNECT_GRACE_FIELD_NUMBER: _ClassVar[int]
    HELD_LEASE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    topic: str
    group: str
    engine: Engine
    consumer: str
    max_in_flight: int
    max_in_flight_bytes: int
    lease: _duration_pb2.Duration
    disconnect_grace: _duration_pb2.Duration
    held_lease_tokens: _containers.RepeatedScalarFieldContainer[str]
    ephemeral: bool
    def __init__(self, topic: _Optional[str] = ..., group: _Optional[str] = ..., engine: _Optional[_Union[Engine, str]] = ..., consumer: _Optional[str] = ..., max_in_flight: _Optional[int] = ..., max_in_flight_bytes: _Optional[int] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., disconnect_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., held_lease_tokens: _Optional[_Iterable[str]] = ..., ephemeral: bool = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("started", "deliveries", "heartbeat", "closing")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    started: Started
    deliveries: Deliveries
    heartbeat: Heartbeat
    closing: Closing
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., deliveries: _Optional[_Union[Deliveries, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("session_id", "max_in_flight", "max_in_flight_bytes", "lease", "disconnect_grace", "lost_lease_tokens", "group", "max_request_bytes", "limited")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    DISCONNECT_GRACE_FIELD_NUMBER: _ClassVar[int]
    LOST_LEASE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    LIMITED_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    max_in_flight: int
    max_in_flight_bytes: int
    lease: _duration_pb2.Duration
    disconnect_grace: _duration_pb2.Duration
    lost_lease_tokens: _containers.RepeatedScalarFieldContainer[str]
    group: str
    max_request_bytes: int
    limited: bool
    def __init__(self, session_id: _Optional[str] = ..., max_in_flight: _Optional[int] = ..., max_in_flight_bytes: _Optional[int] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., disconnect_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lost_lease_tokens: _Optional[_Iterable[str]] = ..., group: _Optional[str] = ..., max_request_bytes: _Optional[int] = ..., limited: bool = ...) -> None: ...

class Deliveries(_message.Message):
    __slots__ = ("deliveries",)
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    deliveries: _containers.RepeatedCompositeFieldContainer[Delivery]
    def __init__(self, deliveries: _Optional[_Iterable[_Union[Delivery, _Mapping]]] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("event", "topic", "group", "lease_token", "fencing_token", "attempt", "deliver_at", "dispatched_at", "lease_expires_at", "last_error")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DELIVER_AT_FIELD_NUMBER: _ClassVar[int]
    DISPATCHED_AT_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    event: Event
    topic: str
    group: str
    lease_token: str
    fencing_token: int
    attempt: int
    deliver_at: _timestamp_pb2.Timestamp
    dispatched_at: _timestamp_pb2.Timestamp
    lease_expires_at: _timestamp_pb2.Timestamp
    last_error: str
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., topic: _Optional[str] = ..., group: _Optional[str] = ..., lease_token: _Optional[str] = ..., fencing_token: _Optional[int] = ..., attempt: _Optional[int] = ..., deliver_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dispatched_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_error: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("server_time", "backlog")
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_FIELD_NUMBER: _ClassVar[int]
    server_time: _timestamp_pb2.Timestamp
    backlog: int
    def __init__(self, server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., backlog: _Optional[int] = ...) -> None: ...

class Closing(_message.Message):
    __slots__ = ("reason", "reconnect_after")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Closing.Reason]
        REASON_DRAINING: _ClassVar[Closing.Reason]
        REASON_GROUP_DELETED: _ClassVar[Closing.Reason]
        REASON_TOPIC_DELETED: _ClassVar[Closing.Reason]
        REASON_REBALANCE: _ClassVar[Closing.Reason]
    REASON_UNSPECIFIED: Closing.Reason
    REASON_DRAINING: Closing.Reason
    REASON_GROUP_DELETED: Closing.Reason
    REASON_TOPIC_DELETED: Closing.Reason
    REASON_REBALANCE: Closing.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_AFTER_FIELD_NUMBER: _ClassVar[int]
    reason: Closing.Reason
    reconnect_after: _duration_pb2.Duration
    def __init__(self, reason: _Optional[_Union[Closing.Reason, str]] = ..., reconnect_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AckRequest(_message.Message):
    __slots__ = ("lease_tokens",)
    LEASE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    lease_tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lease_tokens: _Optional[_Iterable[str]] = ...) -> None: ...

class AckResponse(_message.Message):
    __slots__ = ("failures",)
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    failures: _containers.RepeatedCompositeFieldContainer[LeaseFailure]
    def __init__(self, failures: _Optional[_Iterable[_Union[LeaseFailure, _Mapping]]] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("lease_token", "error", "delay", "dead_letter", "release", "pause")
    class Pause(_message.Message):
        __slots__ = ("duration", "scope")
        class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            SCOPE_UNSPECIFIED: _ClassVar[Nack.Pause.Scope]
            SCOPE_KEY: _ClassVar[Nack.Pause.Scope]
            SCOPE_GROUP: _ClassVar[Nack.Pause.Scope]
        SCOPE_UNSPECIFIED: Nack.Pause.Scope
        SCOPE_KEY: Nack.Pause.Scope
        SCOPE_GROUP: Nack.Pause.Scope
        DURATION_FIELD_NUMBER: _ClassVar[int]
        SCOPE_FIELD_NUMBER: _ClassVar[int]
        duration: _duration_pb2.Duration
        scope: Nack.Pause.Scope
        def __init__(self, duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., scope: _Optional[_Union[Nack.Pause.Scope, str]] = ...) -> None: ...
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    lease_token: str
    error: str
    delay: _duration_pb2.Duration
    dead_letter: bool
    release: bool
    pause: Nack.Pause
    def __init__(self, lease_token: _Optional[str] = ..., error: _Optional[str] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., dead_letter: bool = ..., release: bool = ..., pause: _Optional[_Union[Nack.Pause, _Mapping]] = ...) -> None: ...

class NackRequest(_message.Message):
    __slots__ = ("nacks",)
    NACKS_FIELD_NUMBER: _ClassVar[int]
    nacks: _containers.RepeatedCompositeFieldContainer[Nack]
    def __init__(self, nacks: _Optional[_Iterable[_Union[Nack, _Mapping]]] = ...) -> None: ...

class NackResponse(_message.Message):
    __slots__ = ("failures",)
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    failures: _containers.RepeatedCompositeFieldContainer[LeaseFailure]
    def __init__(self, failures: _Optional[_Iterable[_Union[LeaseFailure, _Mapping]]] = ...) -> None: ...

class ExtendRequest(_message.Message):
    __slots__ = ("lease_tokens", "lease")
    LEASE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease_tokens: _containers.RepeatedScalarFieldContainer[str]
    lease: _duration_pb2.Duration
    def __init__(self, lease_tokens: _Optional[_Iterable[str]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ExtendResponse(_message.Message):
    __slots__ = ("failures",)
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    failures: _containers.RepeatedCompositeFieldContainer[LeaseFailure]
    def __init__(self, failures: _Optional[_Iterable[_Union[LeaseFailure, _Mapping]]] = ...) -> None: ...

class LeaseFailure(_message.Message):
    __slots__ = ("lease_token", "reason")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[LeaseFailure.Reason]
        REASON_EXPIRED: _ClassVar[LeaseFailure.Reason]
        REASON_SETTLED: _ClassVar[LeaseFailure.Reason]
        REASON_MALFORMED: _ClassVar[LeaseFailure.Reason]
        REASON_ENGINE_STOPPED: _ClassVar[LeaseFailure.Reason]
        REASON_NO_KEY: _ClassVar[LeaseFailure.Reason]
    REASON_UNSPECIFIED: LeaseFailure.Reason
    REASON_EXPIRED: LeaseFailure.Reason
    REASON_SETTLED: LeaseFailure.Reason
    REASON_MALFORMED: LeaseFailure.Reason
    REASON_ENGINE_STOPPED: LeaseFailure.Reason
    REASON_NO_KEY: LeaseFailure.Reason
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease_token: str
    reason: LeaseFailure.Reason
    def __init__(self, lease_token: _Optional[str] = ..., reason: _Optional[_Union[LeaseFailure.Reason, str]] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("engines", "drain_timeout")
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    DRAIN_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedScalarFieldContainer[Engine]
    drain_timeout: _duration_pb2.Duration
    def __init__(self, engines: _Optional[_Iterable[_Union[Engine, str]]] = ..., drain_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StopResponse(_message.Message):
    __slots__ = ("engines",)
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedCompositeFieldContainer[StoppedEngine]
    def __init__(self, engines: _Optional[_Iterable[_Union[StoppedEngine, _Mapping]]] = ...) -> None: ...

class StoppedEngine(_message.Message):
    __slots__ = ("engine", "released", "queued")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    engine: Engine
    released: int
    queued: int
    def __init__(self, engine: _Optional[_Union[Engine, str]] = ..., released: _Optional[int] = ..., queued: _Optional[int] = ...) -> None: ...
