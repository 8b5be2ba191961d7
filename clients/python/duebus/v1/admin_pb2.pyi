import datetime

from duebus.v1 import event_bus_pb2 as _event_bus_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_STATE_UNSPECIFIED: _ClassVar[EventState]
    EVENT_STATE_SCHEDULED: _ClassVar[EventState]
    EVENT_STATE_READY: _ClassVar[EventState]
    EVENT_STATE_LEASED: _ClassVar[EventState]
    EVENT_STATE_DEAD: _ClassVar[EventState]
    EVENT_STATE_BLOCKED: _ClassVar[EventState]
EVENT_STATE_UNSPECIFIED: EventState
EVENT_STATE_SCHEDULED: EventState
EVENT_STATE_READY: EventState
EVENT_STATE_LEASED: EventState
EVENT_STATE_DEAD: EventState
EVENT_STATE_BLOCKED: EventState

class RetryPolicy(_message.Message):
    __slots__ = ("max_retries", "backoff_initial", "backoff_max")
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_INITIAL_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MAX_FIELD_NUMBER: _ClassVar[int]
    max_retries: int
    backoff_initial: _duration_pb2.Duration
    backoff_max: _duration_pb2.Duration
    def __init__(self, max_retries: _Optional[int] = ..., backoff_initial: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., backoff_max: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Rate(_message.Message):
    __slots__ = ("events", "per", "burst")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    PER_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    events: int
    per: _duration_pb2.Duration
    burst: int
    def __init__(self, events: _Optional[int] = ..., per: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., burst: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_in_flight", "rate")
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    max_in_flight: int
    rate: Rate
    def __init__(self, max_in_flight: _Optional[int] = ..., rate: _Optional[_Union[Rate, _Mapping]] = ...) -> None: ...

class KeyPolicy(_message.Message):
    __slots__ = ("max_in_flight", "rate", "on_dead", "max_blocked")
    class OnDead(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ON_DEAD_UNSPECIFIED: _ClassVar[KeyPolicy.OnDead]
        ON_DEAD_SKIP: _ClassVar[KeyPolicy.OnDead]
        ON_DEAD_HOLD: _ClassVar[KeyPolicy.OnDead]
    ON_DEAD_UNSPECIFIED: KeyPolicy.OnDead
    ON_DEAD_SKIP: KeyPolicy.OnDead
    ON_DEAD_HOLD: KeyPolicy.OnDead
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    ON_DEAD_FIELD_NUMBER: _ClassVar[int]
    MAX_BLOCKED_FIELD_NUMBER: _ClassVar[int]
    max_in_flight: int
    rate: Rate
    on_dead: KeyPolicy.OnDead
    max_blocked: int
    def __init__(self, max_in_flight: _Optional[int] = ..., rate: _Optional[_Union[Rate, _Mapping]] = ..., on_dead: _Optional[_Union[KeyPolicy.OnDead, str]] = ..., max_blocked: _Optional[int] = ...) -> None: ...

class TopicConfig(_message.Message):
    __slots__ = ("retry_policy", "lease", "max_queued", "dead_letter_retention", "dedupe_window", "partitions", "limits", "keys")
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_RETENTION_FIELD_NUMBER: _ClassVar[int]
    DEDUPE_WINDOW_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    retry_policy: RetryPolicy
    lease: _duration_pb2.Duration
    max_queued: int
    dead_letter_retention: _duration_pb2.Duration
    dedupe_window: _duration_pb2.Duration
    partitions: int
    limits: Limits
    keys: KeyPolicy
    def __init__(self, retry_policy: _Optional[_Union[RetryPolicy, _Mapping]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_queued: _Optional[int] = ..., dead_letter_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., dedupe_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., partitions: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., keys: _Optional[_Union[KeyPolicy, _Mapping]] = ...) -> None: ...

class Rates(_message.Message):
    __slots__ = ("dispatched", "delivered", "acked", "nacked")
    DISPATCHED_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    NACKED_FIELD_NUMBER: _ClassVar[int]
    dispatched: float
    delivered: float
    acked: float
    nacked: float
    def __init__(self, dispatched: _Optional[float] = ..., delivered: _Optional[float] = ..., acked: _Optional[float] = ..., nacked: _Optional[float] = ...) -> None: ...

class Lateness(_message.Message):
    __slots__ = ("p50", "p99")
    P50_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    p50: _duration_pb2.Duration
    p99: _duration_pb2.Duration
    def __init__(self, p50: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p99: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TopicMinute(_message.Message):
    __slots__ = ("start", "dispatched", "groups", "lateness")
    START_FIELD_NUMBER: _ClassVar[int]
    DISPATCHED_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    LATENESS_FIELD_NUMBER: _ClassVar[int]
    start: _timestamp_pb2.Timestamp
    dispatched: int
    groups: _containers.RepeatedCompositeFieldContainer[GroupMinute]
    lateness: Lateness
    def __init__(self, start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dispatched: _Optional[int] = ..., groups: _Optional[_Iterable[_Union[GroupMinute, _Mapping]]] = ..., lateness: _Optional[_Union[Lateness, _Mapping]] = ...) -> None: ...

class GroupMinute(_message.Message):
    __slots__ = ("group", "delivered", "acked", "nacked", "dead", "lateness")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    NACKED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    LATENESS_FIELD_NUMBER: _ClassVar[int]
    group: str
    delivered: int
    acked: int
    nacked: int
    dead: int
    lateness: Lateness
    def __init__(self, group: _Optional[str] = ..., delivered: _Optional[int] = ..., acked: _Optional[int] = ..., nacked: _Optional[int] = ..., dead: _Optional[int] = ..., lateness: _Optional[_Union[Lateness, _Mapping]] = ...) -> None: ...

class Subscriber(_message.Message):
    __slots__ = ("session_id", "consumer", "in_flight", "connected_at")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_AT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    consumer: str
    in_flight: int
    connected_at: _timestamp_pb2.Timestamp
    def __init__(self, session_id: _Optional[str] = ..., consumer: _Optional[str] = ..., in_flight: _Optional[int] = ..., connected_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GroupInfo(_message.Message):
    __slots__ = ("group", "paused", "scheduled", "ready", "leased", "dead", "subscribers", "oldest_ready_age", "rates", "retry_policy", "blocked", "limits", "keys", "throttled_until", "oldest_blocked_age", "ephemeral", "lateness")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBERS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_READY_AGE_FIELD_NUMBER: _ClassVar[int]
    RATES_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    OLDEST_BLOCKED_AGE_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    LATENESS_FIELD_NUMBER: _ClassVar[int]
    group: str
    paused: bool
    scheduled: int
    ready: int
    leased: int
    dead: int
    subscribers: _containers.RepeatedCompositeFieldContainer[Subscriber]
    oldest_ready_age: _duration_pb2.Duration
    rates: Rates
    retry_policy: RetryPolicy
    blocked: int
    limits: Limits
    keys: KeyPolicy
    throttled_until: _timestamp_pb2.Timestamp
    oldest_blocked_age: _duration_pb2.Duration
    ephemeral: bool
    lateness: Lateness
    def __init__(self, group: _Optional[str] = ..., paused: bool = ..., scheduled: _Optional[int] = ..., ready: _Optional[int] = ..., leased: _Optional[int] = ..., dead: _Optional[int] = ..., subscribers: _Optional[_Iterable[_Union[Subscriber, _Mapping]]] = ..., oldest_ready_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rates: _Optional[_Union[Rates, _Mapping]] = ..., retry_policy: _Optional[_Union[RetryPolicy, _Mapping]] = ..., blocked: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., keys: _Optional[_Union[KeyPolicy, _Mapping]] = ..., throttled_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., oldest_blocked_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., ephemeral: bool = ..., lateness: _Optional[_Union[Lateness, _Mapping]] = ...) -> None: ...

class TopicInfo(_message.Message):
    __slots__ = ("topic", "engine", "config", "queued", "groups", "problem", "durable", "lateness", "minutes")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    LATENESS_FIELD_NUMBER: _ClassVar[int]
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    engine: _event_bus_pb2.Engine
    config: TopicConfig
    queued: int
    groups: _containers.RepeatedCompositeFieldContainer[GroupInfo]
    problem: str
    durable: bool
    lateness: Lateness
    minutes: _containers.RepeatedCompositeFieldContainer[TopicMinute]
    def __init__(self, topic: _Optional[str] = ..., engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., config: _Optional[_Union[TopicConfig, _Mapping]] = ..., queued: _Optional[int] = ..., groups: _Optional[_Iterable[_Union[GroupInfo, _Mapping]]] = ..., problem: _Optional[str] = ..., durable: bool = ..., lateness: _Optional[_Union[Lateness, _Mapping]] = ..., minutes: _Optional[_Iterable[_Union[TopicMinute, _Mapping]]] = ...) -> None: ...

class ListTopicsRequest(_message.Message):
    __slots__ = ("engine", "page_size", "page_token")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    page_size: int
    page_token: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTopicsResponse(_message.Message):
    __slots__ = ("topics", "next_page_token")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[TopicInfo]
    next_page_token: str
    def __init__(self, topics: _Optional[_Iterable[_Union[TopicInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetTopicRequest(_message.Message):
    __slots__ = ("engine", "topic")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ...) -> None: ...

class GetTopicResponse(_message.Message):
    __slots__ = ("topic",)
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    topic: TopicInfo
    def __init__(self, topic: _Optional[_Union[TopicInfo, _Mapping]] = ...) -> None: ...

class ConfigureTopicRequest(_message.Message):
    __slots__ = ("engine", "topic", "config", "group")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    config: TopicConfig
    group: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., config: _Optional[_Union[TopicConfig, _Mapping]] = ..., group: _Optional[str] = ...) -> None: ...

class ConfigureTopicResponse(_message.Message):
    __slots__ = ("config",)
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: TopicConfig
    def __init__(self, config: _Optional[_Union[TopicConfig, _Mapping]] = ...) -> None: ...

class DeleteTopicRequest(_message.Message):
    __slots__ = ("engine", "topic")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ...) -> None: ...

class DeleteTopicResponse(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: int
    def __init__(self, removed: _Optional[int] = ...) -> None: ...

class DeleteGroupRequest(_message.Message):
    __slots__ = ("engine", "topic", "group")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    group: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class DeleteGroupResponse(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: int
    def __init__(self, removed: _Optional[int] = ...) -> None: ...

class PauseGroupRequest(_message.Message):
    __slots__ = ("engine", "topic", "group")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    group: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class PauseGroupResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeGroupRequest(_message.Message):
    __slots__ = ("engine", "topic", "group")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    group: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class ResumeGroupResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("engine", "topic", "group", "state", "page_size", "page_token", "order", "key")
    class Order(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ORDER_UNSPECIFIED: _ClassVar[ListEventsRequest.Order]
        ORDER_OLDEST_FIRST: _ClassVar[ListEventsRequest.Order]
        ORDER_NEWEST_FIRST: _ClassVar[ListEventsRequest.Order]
    ORDER_UNSPECIFIED: ListEventsRequest.Order
    ORDER_OLDEST_FIRST: ListEventsRequest.Order
    ORDER_NEWEST_FIRST: ListEventsRequest.Order
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    group: str
    state: EventState
    page_size: int
    page_token: str
    order: ListEventsRequest.Order
    key: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., group: _Optional[str] = ..., state: _Optional[_Union[EventState, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order: _Optional[_Union[ListEventsRequest.Order, str]] = ..., key: _Optional[str] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[EventInfo]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[EventInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetEventRequest(_message.Message):
    __slots__ = ("engine", "topic", "event_id")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    event_id: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., event_id: _Optional[str] = ...) -> None: ...

class GetEventResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: EventInfo
    def __init__(self, event: _Optional[_Union[EventInfo, _Mapping]] = ...) -> None: ...

class EventInfo(_message.Message):
    __slots__ = ("event", "topic", "dispatched_at", "groups", "dispatched_by", "data_withheld")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    DISPATCHED_AT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    DISPATCHED_BY_FIELD_NUMBER: _ClassVar[int]
    DATA_WITHHELD_FIELD_NUMBER: _ClassVar[int]
    event: _event_bus_pb2.Event
    topic: str
    dispatched_at: _timestamp_pb2.Timestamp
    groups: _containers.RepeatedCompositeFieldContainer[EventGroupInfo]
    dispatched_by: str
    data_withheld: bool
    def __init__(self, event: _Optional[_Union[_event_bus_pb2.Event, _Mapping]] = ..., topic: _Optional[str] = ..., dispatched_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., groups: _Optional[_Iterable[_Union[EventGroupInfo, _Mapping]]] = ..., dispatched_by: _Optional[str] = ..., data_withheld: bool = ...) -> None: ...

class EventGroupInfo(_message.Message):
    __slots__ = ("group", "state", "attempts", "max_retries", "deliver_at", "last_error", "lease_expires_at", "consumer", "dead_at", "history", "waits_for", "free_attempts")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    DELIVER_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    DEAD_AT_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    FREE_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    group: str
    state: EventState
    attempts: int
    max_retries: int
    deliver_at: _timestamp_pb2.Timestamp
    last_error: str
    lease_expires_at: _timestamp_pb2.Timestamp
    consumer: str
    dead_at: _timestamp_pb2.Timestamp
    history: _containers.RepeatedCompositeFieldContainer[Attempt]
    waits_for: str
    free_attempts: int
    def __init__(self, group: _Optional[str] = ..., state: _Optional[_Union[EventState, str]] = ..., attempts: _Optional[int] = ..., max_retries: _Optional[int] = ..., deliver_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_error: _Optional[str] = ..., lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., consumer: _Optional[str] = ..., dead_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., history: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., waits_for: _Optional[str] = ..., free_attempts: _Optional[int] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("attempt", "started_at", "ended_at", "consumer", "outcome", "error", "redriven_at")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Attempt.Outcome]
        OUTCOME_NACKED: _ClassVar[Attempt.Outcome]
        OUTCOME_DEAD: _ClassVar[Attempt.Outcome]
        OUTCOME_RELEASED: _ClassVar[Attempt.Outcome]
        OUTCOME_EXPIRED: _ClassVar[Attempt.Outcome]
    OUTCOME_UNSPECIFIED: Attempt.Outcome
    OUTCOME_NACKED: Attempt.Outcome
    OUTCOME_DEAD: Attempt.Outcome
    OUTCOME_RELEASED: Attempt.Outcome
    OUTCOME_EXPIRED: Attempt.Outcome
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REDRIVEN_AT_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    consumer: str
    outcome: Attempt.Outcome
    error: str
    redriven_at: _timestamp_pb2.Timestamp
    def __init__(self, attempt: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., consumer: _Optional[str] = ..., outcome: _Optional[_Union[Attempt.Outcome, str]] = ..., error: _Optional[str] = ..., redriven_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CancelEventsRequest(_message.Message):
    __slots__ = ("engine", "topic", "event_ids", "group", "key")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    event_ids: _containers.RepeatedScalarFieldContainer[str]
    group: str
    key: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., event_ids: _Optional[_Iterable[str]] = ..., group: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class CancelEventsResponse(_message.Message):
    __slots__ = ("cancelled", "leased_event_ids", "missing_event_ids")
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    LEASED_EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    MISSING_EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    cancelled: int
    leased_event_ids: _containers.RepeatedScalarFieldContainer[str]
    missing_event_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cancelled: _Optional[int] = ..., leased_event_ids: _Optional[_Iterable[str]] = ..., missing_event_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RescheduleEventsRequest(_message.Message):
    __slots__ = ("engine", "topic", "event_ids", "group", "delay", "deliver_at")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    DELIVER_AT_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    event_ids: _containers.RepeatedScalarFieldContainer[str]
    group: str
    delay: _duration_pb2.Duration
    deliver_at: _timestamp_pb2.Timestamp
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., event_ids: _Optional[_Iterable[str]] = ..., group: _Optional[str] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deliver_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RescheduleEventsResponse(_message.Message):
    __slots__ = ("rescheduled",)
    RESCHEDULED_FIELD_NUMBER: _ClassVar[int]
    rescheduled: int
    def __init__(self, rescheduled: _Optional[int] = ...) -> None: ...

class DeadLetterFilter(_message.Message):
    __slots__ = ("event_ids", "error_contains", "min_age", "key")
    EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CONTAINS_FIELD_NUMBER: _ClassVar[int]
    MIN_AGE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    event_ids: _containers.RepeatedScalarFieldContainer[str]
    error_contains: str
    min_age: _duration_pb2.Duration
    key: str
    def __init__(self, event_ids: _Optional[_Iterable[str]] = ..., error_contains: _Optional[str] = ..., min_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., key: _Optional[str] = ...) -> None: ...

class RedriveEventsRequest(_message.Message):
    __slots__ = ("engine", "topic", "group", "filter", "rate")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    group: str
    filter: DeadLetterFilter
    rate: float
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., group: _Optional[str] = ..., filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ..., rate: _Optional[float] = ...) -> None: ...

class RedriveEventsResponse(_message.Message):
    __slots__ = ("redriven",)
    REDRIVEN_FIELD_NUMBER: _ClassVar[int]
    redriven: int
    def __init__(self, redriven: _Optional[int] = ...) -> None: ...

class PurgeEventsRequest(_message.Message):
    __slots__ = ("engine", "topic", "group", "filter")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    group: str
    filter: DeadLetterFilter
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., group: _Optional[str] = ..., filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ...) -> None: ...

class PurgeEventsResponse(_message.Message):
    __slots__ = ("purged",)
    PURGED_FIELD_NUMBER: _ClassVar[int]
    purged: int
    def __init__(self, purged: _Optional[int] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ("engine", "topic", "group", "page_size", "page_token")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    engine: _event_bus_pb2.Engine
    topic: str
    group: str
    page_size: int
    page_token: str
    def __init__(self, engine: _Optional[_Union[_event_bus_pb2.Engine, str]] = ..., topic: _Optional[str] = ..., group: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "next_page_token")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyInfo]
    next_page_token: str
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class KeyInfo(_message.Message):
    __slots__ = ("key", "blocked", "in_flight", "head_event_id", "held", "opens_at")
    KEY_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    HEAD_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    OPENS_AT_FIELD_NUMBER: _ClassVar[int]
    key: str
    blocked: int
    in_flight: int
    head_event_id: str
    held: bool
    opens_at: _timestamp_pb2.Timestamp
    def __init__(self, key: _Optional[str] = ..., blocked: _Optional[int] = ..., in_flight: _Optional[int] = ..., head_event_id: _Optional[str] = ..., held: bool = ..., opens_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
