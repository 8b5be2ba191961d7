"""The calls to the service EventBusAdmin: makes requests from the caller's arguments.

Calls whose answer counts what they did are not repeatable: if the answer to the first try is lost, a second try would
find the work done and report that it did nothing.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from duebus._core import admin_answers as answers
from duebus._core import fields
from duebus._core.admin_model import (
    Cancelled,
    EventInfo,
    KeyInfo,
    Page,
    Purged,
    Redriven,
    Removed,
    Rescheduled,
    TopicConfig,
    TopicInfo,
)
from duebus._core.call import Call, Method
from duebus._core.enums import Engine, EventState
from duebus._core.fields import Span
from duebus._core.limits import KeyPolicy, Limits, encode_key_policy, encode_limits
from duebus.errors import InvalidArgument
from duebus.v1 import admin_pb2

_Condition = TypeVar("_Condition", str, list[str])

_LIST_TOPICS = Method("/duebus.v1.EventBusAdmin/ListTopics", admin_pb2.ListTopicsResponse)
_GET_TOPIC = Method("/duebus.v1.EventBusAdmin/GetTopic", admin_pb2.GetTopicResponse)
_LIST_EVENTS = Method("/duebus.v1.EventBusAdmin/ListEvents", admin_pb2.ListEventsResponse)
_LIST_KEYS = Method("/duebus.v1.EventBusAdmin/ListKeys", admin_pb2.ListKeysResponse)
_GET_EVENT = Method("/duebus.v1.EventBusAdmin/GetEvent", admin_pb2.GetEventResponse)
_CONFIGURE_TOPIC = Method("/duebus.v1.EventBusAdmin/ConfigureTopic", admin_pb2.ConfigureTopicResponse)
_DELETE_TOPIC = Method("/duebus.v1.EventBusAdmin/DeleteTopic", admin_pb2.DeleteTopicResponse)
_DELETE_GROUP = Method("/duebus.v1.EventBusAdmin/DeleteGroup", admin_pb2.DeleteGroupResponse)
_PAUSE_GROUP = Method("/duebus.v1.EventBusAdmin/PauseGroup", admin_pb2.PauseGroupResponse)
_RESUME_GROUP = Method("/duebus.v1.EventBusAdmin/ResumeGroup", admin_pb2.ResumeGroupResponse)
_CANCEL_EVENTS = Method("/duebus.v1.EventBusAdmin/CancelEvents", admin_pb2.CancelEventsResponse)
_RESCHEDULE_EVENTS = Method("/duebus.v1.EventBusAdmin/RescheduleEvents", admin_pb2.RescheduleEventsResponse)
_REDRIVE_EVENTS = Method("/duebus.v1.EventBusAdmin/RedriveEvents", admin_pb2.RedriveEventsResponse)
_PURGE_EVENTS = Method("/duebus.v1.EventBusAdmin/PurgeEvents", admin_pb2.PurgeEventsResponse)


def list_topics(
    *, engine: Engine | str | None, page_size: int, page_token: str
) -> Call[admin_pb2.ListTopicsResponse, Page[TopicInfo]]:
    """One page of the topics."""
    request = admin_pb2.ListTopicsRequest(
        engine=fields.engine("engine", engine),
        page_size=fields.uint32("page_size", page_size),
        page_token=fields.text("page_token", page_token),
    )
    return Call(_LIST_TOPICS, request, lambda response, _: answers.read_topics(response))


def get_topic(topic: str, *, engine: Engine | str | None) -> Call[admin_pb2.GetTopicResponse, TopicInfo]:
    """One topic."""
    request = admin_pb2.GetTopicRequest(engine=fields.engine("engine", engine), topic=fields.text("topic", topic))
    return Call(_GET_TOPIC, request, lambda response, _: answers.read_topic(response.topic))


def list_events(
    topic: str,
    state: EventState | str,
    *,
    group: str,
    key: str,
    engine: Engine | str | None,
    newest_first: bool,
    page_size: int,
    page_token: str,
) -> Call[admin_pb2.ListEventsResponse, Page[EventInfo]]:
    """One page of a group's events in one state."""
    order = admin_pb2.ListEventsRequest.Order
    request = admin_pb2.ListEventsRequest(
        engine=fields.engine("engine", engine),
        topic=fields.text("topic", topic),
        group=fields.text("group", group),
        state=fields.event_state("state", state),
        page_size=fields.uint32("page_size", page_size),
        page_token=fields.text("page_token", page_token),
        order=order.ORDER_NEWEST_FIRST if newest_first else order.ORDER_OLDEST_FIRST,
        key=fields.text("key", key),
    )
    return Call(_LIST_EVENTS, request, lambda response, _: answers.read_events(response))


def list_keys(
    topic: str, *, group: str, engine: Engine | str | None, page_size: int, page_token: str
) -> Call[admin_pb2.ListKeysResponse, Page[KeyInfo]]:
    """One page of a group's keys."""
    request = admin_pb2.ListKeysRequest(
        **_group(topic, group, engine),
        page_size=fields.uint32("page_size", page_size),
        page_token=fields.text("page_token", page_token),
    )
    return Call(_LIST_KEYS, request, lambda response, _: answers.read_keys(response))


def get_event(topic: str, event_id: str, *, engine: Engine | str | None) -> Call[admin_pb2.GetEventResponse, EventInfo]:
    """One event and its history."""
    request = admin_pb2.GetEventRequest(
        engine=fields.engine("engine", engine),
        topic=fields.text("topic", topic),
        event_id=fields.text("event_id", event_id),
    )
    return Call(_GET_EVENT, request, lambda response, _: answers.read_event(response.event))


def configure_topic(
    topic: str,
    *,
    group: str,
    max_retries: int | None,
    backoff_initial: Span | None,
    backoff_max: Span | None,
    lease: Span | None,
    max_queued: int | None,
    dead_letter_retention: Span | None,
    dedupe_window: Span | None,
    partitions: int | None,
    limits: Limits | None,
    keys: KeyPolicy | None,
    engine: Engine | str | None,
) -> Call[admin_pb2.ConfigureTopicResponse, TopicConfig]:
    """The settings that are not None."""
    config = admin_pb2.TopicConfig()
    if max_retries is not None:
        config.retry_policy.max_retries = fields.uint32("max_retries", max_retries)
    if max_queued is not None:
        config.max_queued = fields.uint64("max_queued", max_queued)
    if partitions is not None:
        config.partitions = fields.uint32("partitions", partitions)
    if limits is not None:
        config.limits.CopyFrom(encode_limits(limits))
    if keys is not None:
        config.keys.CopyFrom(encode_key_policy(keys))
    _set_durations(config.retry_policy, backoff_initial=backoff_initial, backoff_max=backoff_max)
    _set_durations(config, lease=lease, dead_letter_retention=dead_letter_retention, dedupe_window=dedupe_window)
    request = admin_pb2.ConfigureTopicRequest(
        engine=fields.engine("engine", engine),
        topic=fields.text("topic", topic),
        group=fields.text("group", group),
        config=config,
    )
    return Call(_CONFIGURE_TOPIC, request, lambda response, _: answers.read_config(response.config))


def _set_durations(message: Any, **values: Span | None) -> None:
    """The values that are not None, in the fields of these names."""
    for name, value in values.items():
        if value is not None:
            getattr(message, name).CopyFrom(fields.duration(name, value))


def delete_topic(topic: str, *, engine: Engine | str | None) -> Call[admin_pb2.DeleteTopicResponse, Removed]:
    """A topic and everything in it."""
    request = admin_pb2.DeleteTopicRequest(engine=fields.engine("engine", engine), topic=fields.text("topic", topic))
    return Call(_DELETE_TOPIC, request, lambda response, _: Removed(response.removed), repeatable=False, waits=True)


def delete_group(
    topic: str, group: str, *, engine: Engine | str | None
) -> Call[admin_pb2.DeleteGroupResponse, Removed]:
    """A group and its copies of the events."""
    request = admin_pb2.DeleteGroupRequest(**_group(topic, group, engine))
    return Call(_DELETE_GROUP, request, lambda response, _: Removed(response.removed), repeatable=False, waits=True)


def pause_group(topic: str, group: str, *, engine: Engine | str | None) -> Call[admin_pb2.PauseGroupResponse, None]:
    """One group."""
    return Call(_PAUSE_GROUP, admin_pb2.PauseGroupRequest(**_group(topic, group, engine)), lambda *_: None)


def resume_group(topic: str, group: str, *, engine: Engine | str | None) -> Call[admin_pb2.ResumeGroupResponse, None]:
    """One group."""
    return Call(_RESUME_GROUP, admin_pb2.ResumeGroupRequest(**_group(topic, group, engine)), lambda *_: None)


def cancel(
    topic: str, event_ids: Iterable[str] | str, *, key: str, group: str, engine: Engine | str | None
) -> Call[admin_pb2.CancelEventsResponse, Cancelled]:
    """Events by their ids, or those with a key."""
    request = admin_pb2.CancelEventsRequest(
        **_group(topic, group, engine), event_ids=_event_ids(event_ids), key=fields.text("key", key)
    )
    return Call(
        _CANCEL_EVENTS,
        request,
        lambda response, _: answers.read_cancelled(response),
        repeatable=False,
        waits=bool(key),
    )


def reschedule(
    topic: str,
    event_ids: Iterable[str] | str,
    *,
    delay: Span | None,
    at: datetime | None,
    group: str,
    engine: Engine | str | None,
) -> Call[admin_pb2.RescheduleEventsResponse, Rescheduled]:
    """Events by their ids; all or none."""
    if delay is not None and at is not None:
        raise InvalidArgument.of_field("delay", "can't be set together with at")
    request = admin_pb2.RescheduleEventsRequest(**_group(topic, group, engine), event_ids=_event_ids(event_ids))
    _set_durations(request, delay=delay)
    if at is not None:
        request.deliver_at.CopyFrom(fields.timestamp("at", at))
    return Call(_RESCHEDULE_EVENTS, request, lambda response, _: Rescheduled(response.rescheduled), repeatable=False)


def redrive(
    topic: str,
    *,
    group: str,
    event_ids: Iterable[str] | str | None,
    error_contains: str | None,
    min_age: Span | None,
    key: str | None,
    rate: float,
    engine: Engine | str | None,
) -> Call[admin_pb2.RedriveEventsResponse, Redriven]:
    """The dead letters that meet all conditions."""
    request = admin_pb2.RedriveEventsRequest(
        **_group(topic, group, engine),
        filter=_filter(event_ids, error_contains, min_age, key),
        rate=fields.number("rate", rate),
    )
    return Call(_REDRIVE_EVENTS, request, lambda response, _: Redriven(response.redriven), repeatable=False, waits=True)


def purge(
    topic: str,
    *,
    group: str,
    event_ids: Iterable[str] | str | None,
    error_contains: str | None,
    min_age: Span | None,
    key: str | None,
    engine: Engine | str | None,
) -> Call[admin_pb2.PurgeEventsResponse, Purged]:
    """The dead letters that meet all conditions."""
    request = admin_pb2.PurgeEventsRequest(
        **_group(topic, group, engine), filter=_filter(event_ids, error_contains, min_age, key)
    )
    return Call(_PURGE_EVENTS, request, lambda response, _: Purged(response.purged), repeatable=False, waits=True)


def _group(topic: str, group: str, engine: Engine | str | None) -> dict[str, Any]:
    """The fields that most requests have in common."""
    return {
        "engine": fields.engine("engine", engine),
        "topic": fields.text("topic", topic),
        "group": fields.text("group", group),
    }


def _event_ids(event_ids: Iterable[str] | str) -> list[str]:
    if isinstance(event_ids, str):
        return [fields.text("event_ids", event_ids)]
    return [fields.text(f"event_ids[{index}]", each) for index, each in enumerate(event_ids)]


def _filter(
    event_ids: Iterable[str] | str | None, error_contains: str | None, min_age: Span | None, key: str | None
) -> admin_pb2.DeadLetterFilter:
    chosen = admin_pb2.DeadLetterFilter()
    if event_ids is not None:
        chosen.event_ids.extend(_condition("event_ids", _event_ids(event_ids)))
    if error_contains is not None:
        chosen.error_contains = _condition("error_contains", fields.text("error_contains", error_contains))
    if key is not None:
        chosen.key = _condition("key", fields.text("key", key))
    _set_durations(chosen, min_age=min_age)
    return chosen


def _condition(field: str, value: _Condition) -> _Condition:
    """The value, unless it is empty: in a request that means all, which its caller does not mean.

    Raises:
        InvalidArgument: it is empty.
    """
    if not value:
        raise InvalidArgument.of_field(field, "is empty; pass None to select all")
    return value
