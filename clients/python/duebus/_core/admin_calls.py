"""The calls to the service EventBusAdmin that look: from the caller's arguments to a request."""

from duebus._core import admin_answers as answers
from duebus._core import fields
from duebus._core.call import Call, Method
from duebus._core.enums import Engine, EventState
from duebus._core.inspection import EventInfo, Page, TopicInfo
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
    return Call(_LIST_EVENTS, request, lambda response, _: answers.read_events(response))


def get_event(topic: str, event_id: str, *, engine: Engine | str | None) -> Call[admin_pb2.GetEventResponse, EventInfo]:
    """The whole story of one event."""
    request = admin_pb2.GetEventRequest(
        engine=fields.engine("engine", engine),
        topic=fields.text("topic", topic),
        event_id=fields.text("event_id", event_id),
    )
    return Call(_GET_EVENT, request, lambda response, _: answers.read_event(response.event))
