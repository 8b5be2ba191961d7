"""The calls to the service EventBusAdmin: from the caller's arguments to a request, from an answer to the result."""

from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message

from duebus._core import fields
from duebus._core.call import Call, Method
from duebus._core.enums import (
    Engine,
    EventState,
    attempt_outcome_from_wire,
    engine_from_wire,
    event_state_from_wire,
)
from duebus._core.inspection import (
    Attempt,
    EventGroupInfo,
    EventInfo,
    GroupInfo,
    Page,
    Rates,
    RetryPolicy,
    Subscriber,
    TopicConfig,
    TopicInfo,
)
from duebus.v1 import admin_pb2

_LIST_TOPICS = Method("/duebus.v1.EventBusAdmin/ListTopics", admin_pb2.ListTopicsResponse)
_GET_TOPIC = Method("/duebus.v1.EventBusAdmin/GetTopic", admin_pb2.GetTopicResponse)
_LIST_EVENTS = Method("/duebus.v1.EventBusAdmin/ListEvents", admin_pb2.ListEventsResponse)
_GET_EVENT = Method("/duebus.v1.EventBusAdmin/GetEvent", admin_pb2.GetEventResponse)


def list_topics(
    *, engine: Engine | str | None, page_size: int, page_token: str
) -> Call[admin_pb2.ListTopicsResponse, Page[TopicInfo]]:
    """One page of the topics."""
    request = admin_pb2.ListTopicsRequest(
        engine=fields.engine("engine", engine),
        page_size=fields.uint32("page_size", page_size),
        page_token=fields.text("page_token", page_token),
    )
    return Call(_LIST_TOPICS, request, lambda response, _: _read_topics(response))


def get_topic(topic: str, *, engine: Engine | str | None) -> Call[admin_pb2.GetTopicResponse, TopicInfo]:
    """One topic."""
    request = admin_pb2.GetTopicRequest(engine=fields.engine("engine", engine), topic=fields.text("topic", topic))
    return Call(_GET_TOPIC, request, lambda response, _: _read_topic(response.topic))


def list_events(
    topic: str,
    state: EventState | str,
    *,
    group: str,
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
    )
    return Call(_LIST_EVENTS, request, lambda response, _: _read_events(response))


def get_event(topic: str, event_id: str, *, engine: Engine | str | None) -> Call[admin_pb2.GetEventResponse, EventInfo]:
    """The whole story of one event."""
    request = admin_pb2.GetEventRequest(
        engine=fields.engine("engine", engine),
        topic=fields.text("topic", topic),
        event_id=fields.text("event_id", event_id),
    )
    return Call(_GET_EVENT, request, lambda response, _: _read_event(response.event))


def _read_topics(response: admin_pb2.ListTopicsResponse) -> Page[TopicInfo]:
    return Page([_read_topic(each) for each in response.topics], response.next_page_token)


def _read_events(response: admin_pb2.ListEventsResponse) -> Page[EventInfo]:
    return Page([_read_event(each) for each in response.events], response.next_page_token)


def _read_topic(message: admin_pb2.TopicInfo) -> TopicInfo:
    return TopicInfo(
        topic=message.topic,
        engine=engine_from_wire(message.engine),
        config=_read_config(message.config),
        queued=message.queued,
        groups=tuple(_read_group(each) for each in message.groups),
    )


def _read_config(message: admin_pb2.TopicConfig) -> TopicConfig:
    policy = message.retry_policy
    return TopicConfig(
        retry_policy=RetryPolicy(
            max_retries=policy.max_retries,
            backoff_initial=policy.backoff_initial.ToTimedelta(),
            backoff_max=policy.backoff_max.ToTimedelta(),
        ),
        lease=message.lease.ToTimedelta(),
        max_queued=message.max_queued,
        dead_letter_retention=message.dead_letter_retention.ToTimedelta(),
        dedupe_window=message.dedupe_window.ToTimedelta(),
    )


def _read_group(message: admin_pb2.GroupInfo) -> GroupInfo:
    return GroupInfo(
        group=message.group,
        paused=message.paused,
        scheduled=message.scheduled,
        ready=message.ready,
        leased=message.leased,
        dead=message.dead,
        subscribers=tuple(_read_subscriber(each) for each in message.subscribers),
        oldest_ready_age=_span(message, "oldest_ready_age"),
        rates=Rates(
            dispatched=message.rates.dispatched,
            delivered=message.rates.delivered,
            acked=message.rates.acked,
            nacked=message.rates.nacked,
        ),
    )


def _read_subscriber(message: admin_pb2.Subscriber) -> Subscriber:
    return Subscriber(
        session_id=message.session_id,
        consumer=message.consumer,
        in_flight=message.in_flight,
        connected_at=_moment(message, "connected_at"),
    )


def _read_event(message: admin_pb2.EventInfo) -> EventInfo:
    event = message.event
    return EventInfo(
        event_id=event.id,
        topic=message.topic,
        data=event.data,
        content_type=event.content_type,
        attributes=dict(event.attributes),
        max_retries=event.max_retries if event.HasField("max_retries") else None,
        dispatched_at=_moment(message, "dispatched_at"),
        dispatched_by=message.dispatched_by,
        groups=tuple(_read_event_group(each) for each in message.groups),
    )


def _read_event_group(message: admin_pb2.EventGroupInfo) -> EventGroupInfo:
    return EventGroupInfo(
        group=message.group,
        state=event_state_from_wire(message.state),
        attempts=message.attempts,
        max_retries=message.max_retries,
        deliver_at=_moment(message, "deliver_at"),
        last_error=message.last_error,
        lease_expires_at=_moment(message, "lease_expires_at"),
        consumer=message.consumer,
        dead_at=_moment(message, "dead_at"),
        history=tuple(_read_attempt(each) for each in message.history),
    )


def _read_attempt(message: admin_pb2.Attempt) -> Attempt:
    return Attempt(
        attempt=message.attempt,
        started_at=_moment(message, "started_at"),
        ended_at=_moment(message, "ended_at"),
        consumer=message.consumer,
        outcome=attempt_outcome_from_wire(message.outcome),
        error=message.error,
    )


def _moment(message: Message, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    moment: datetime = getattr(message, field).ToDatetime(UTC)
    return moment


def _span(message: Message, field: str) -> timedelta | None:
    if not message.HasField(field):
        return None
    span: timedelta = getattr(message, field).ToTimedelta()
    return span
