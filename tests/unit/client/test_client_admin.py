"""The client's admin calls that read: requests, pages, and results."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from duebus import (
    AttemptOutcome,
    Client,
    Engine,
    EventState,
    GroupMinute,
    Lateness,
    TopicMinute,
    aio,
    errors,
)
from duebus.v1 import admin_pb2, event_bus_pb2
from unit.client.fake_bus import LOST, Failure, FakeBus

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def topic(name: str) -> admin_pb2.TopicInfo:
    message = admin_pb2.TopicInfo(topic=name, engine=event_bus_pb2.ENGINE_LOCAL, queued=3)
    message.config.retry_policy.max_retries = 3
    message.config.retry_policy.backoff_initial.FromTimedelta(timedelta(seconds=0.5))
    message.config.lease.FromTimedelta(timedelta(seconds=30))
    message.config.partitions = 4
    group = message.groups.add(group="default", scheduled=1, ready=2, leased=3, dead=4)
    group.oldest_ready_age.FromTimedelta(timedelta(seconds=7))
    group.rates.dispatched = 1.5
    group.retry_policy.max_retries = 8
    subscriber = group.subscribers.add(session_id="s-1", consumer="me", in_flight=3)
    subscriber.connected_at.FromDatetime(NOON)
    group.lateness.p50.FromMilliseconds(2)
    group.lateness.p99.FromMilliseconds(40)
    message.lateness.CopyFrom(group.lateness)
    message.groups.add(group="idle")
    minute = message.minutes.add(dispatched=9)
    minute.start.FromDatetime(NOON)
    minute.groups.add(group="default", delivered=8, acked=7, nacked=6, dead=5).lateness.CopyFrom(group.lateness)
    return message


def event(event_id: str) -> admin_pb2.EventInfo:
    message = admin_pb2.EventInfo(topic="orders", dispatched_by="127.0.0.1:5")
    message.event.id = event_id
    message.event.data = b'{"id":42}'
    message.event.content_type = "application/json"
    message.event.attributes["trace"] = "7"
    message.dispatched_at.FromDatetime(NOON)
    group = message.groups.add(
        group="default", state=admin_pb2.EVENT_STATE_DEAD, attempts=4, max_retries=3, last_error="boom"
    )
    group.dead_at.FromDatetime(NOON)
    attempt = group.history.add(attempt=1, outcome=admin_pb2.Attempt.OUTCOME_NACKED, error="boom")
    attempt.started_at.FromDatetime(NOON)
    attempt.ended_at.FromDatetime(NOON + timedelta(seconds=1))
    attempt.redriven_at.FromDatetime(NOON + timedelta(hours=1))
    group.history.add(attempt=2)
    return message


def test_topics_are_fetched_page_by_page(bus: FakeBus) -> None:
    bus.answer(
        "ListTopics",
        admin_pb2.ListTopicsResponse(topics=[topic("a"), topic("b")], next_page_token="more"),
        admin_pb2.ListTopicsResponse(topics=[topic("c")]),
    )
    with Client(bus.target) as client:
        topics = list(client.admin.list_topics(engine="local", page_size=2))

    assert [each.topic for each in topics] == ["a", "b", "c"]
    local = event_bus_pb2.ENGINE_LOCAL
    assert bus.requests["ListTopics"] == [
        admin_pb2.ListTopicsRequest(engine=local, page_size=2),
        admin_pb2.ListTopicsRequest(engine=local, page_size=2, page_token="more"),
    ]


async def test_events_are_fetched_page_by_page(bus: FakeBus) -> None:
    bus.answer(
        "ListEvents",
        admin_pb2.ListEventsResponse(events=[event("a")], next_page_token="more"),
        admin_pb2.ListEventsResponse(events=[], next_page_token="and more"),
        admin_pb2.ListEventsResponse(events=[event("b")]),
    )
    async with aio.Client(bus.target) as client:
        listed = client.admin.list_events("orders", "dead", group="audit", newest_first=True)
        assert [each.event_id async for each in listed] == ["a", "b"]

    assert [each.page_token for each in bus.requests["ListEvents"]] == ["", "more", "and more"]
    for request in bus.requests["ListEvents"]:
        assert (request.topic, request.group) == ("orders", "audit")
        assert request.state == admin_pb2.EVENT_STATE_DEAD
        assert request.order == admin_pb2.ListEventsRequest.ORDER_NEWEST_FIRST


async def test_a_single_page_can_be_fetched(bus: FakeBus) -> None:
    bus.answer("ListEvents", admin_pb2.ListEventsResponse(events=[event("a")], next_page_token="more"))
    async with aio.Client(bus.target) as client:
        page = await client.admin.list_events_page("orders", EventState.READY, page_token="earlier")

    assert ([each.event_id for each in page.items], page.next_page_token) == (["a"], "more")
    assert bus.requests["ListEvents"][0].page_token == "earlier"
    assert bus.requests["ListEvents"][0].order == admin_pb2.ListEventsRequest.ORDER_OLDEST_FIRST


def test_all_fields_of_a_topic_are_read(bus: FakeBus) -> None:
    bus.answer("GetTopic", admin_pb2.GetTopicResponse(topic=topic("orders")))
    with Client(bus.target) as client:
        info = client.admin.get_topic("orders")

    assert (info.topic, info.engine, info.queued) == ("orders", Engine.LOCAL, 3)
    assert info.config.retry_policy.max_retries == 3
    assert info.config.retry_policy.backoff_initial == timedelta(seconds=0.5)
    assert info.config.lease == timedelta(seconds=30)
    assert info.config.partitions == 4
    default, idle = info.groups
    assert (default.scheduled, default.ready, default.leased, default.dead) == (1, 2, 3, 4)
    assert default.oldest_ready_age == timedelta(seconds=7)
    assert idle.oldest_ready_age is None
    assert default.rates.dispatched == 1.5
    assert default.retry_policy.max_retries == 8
    (subscriber,) = default.subscribers
    assert (subscriber.session_id, subscriber.consumer, subscriber.in_flight) == ("s-1", "me", 3)
    assert subscriber.connected_at == NOON


def test_the_minutes_of_a_topic_are_read(bus: FakeBus) -> None:
    bus.answer("GetTopic", admin_pb2.GetTopicResponse(topic=topic("orders")))
    with Client(bus.target) as client:
        read = client.admin.get_topic("orders")

    lateness = Lateness(p50=timedelta(milliseconds=2), p99=timedelta(milliseconds=40))
    group = GroupMinute(group="default", delivered=8, acked=7, nacked=6, dead=5, lateness=lateness)
    assert read.minutes == (TopicMinute(start=NOON, dispatched=9, groups=(group,), lateness=None),)
    assert (read.lateness, [each.lateness for each in read.groups]) == (lateness, [lateness, None])


def test_all_fields_of_an_event_are_read(bus: FakeBus) -> None:
    bus.answer("GetEvent", admin_pb2.GetEventResponse(event=event("o-42")))
    with Client(bus.target) as client:
        info = client.admin.get_event("orders", "o-42", engine=Engine.LOCAL)

    assert bus.requests["GetEvent"][0].event_id == "o-42"
    assert (info.event_id, info.topic, info.dispatched_by) == ("o-42", "orders", "127.0.0.1:5")
    assert (info.json(), info.text()) == ({"id": 42}, '{"id":42}')
    assert (info.attributes, info.max_retries, info.dispatched_at) == ({"trace": "7"}, None, NOON)
    (group,) = info.groups
    assert (group.state, group.attempts, group.last_error) == (EventState.DEAD, 4, "boom")
    assert (group.dead_at, group.lease_expires_at, group.deliver_at) == (NOON, None, None)
    nacked, under_way = group.history
    assert (nacked.outcome, nacked.error) == (AttemptOutcome.NACKED, "boom")
    assert nacked.ended_at == NOON + timedelta(seconds=1)
    assert (nacked.redriven_at, under_way.redriven_at) == (NOON + timedelta(hours=1), None)
    assert (under_way.outcome, under_way.ended_at) == (AttemptOutcome.UNDER_WAY, None)


def test_reading_calls_are_retried(bus: FakeBus) -> None:
    bus.answer("GetTopic", LOST, admin_pb2.GetTopicResponse(topic=topic("orders")))
    with Client(bus.target) as client:
        assert client.admin.get_topic("orders").topic == "orders"


def test_an_unknown_topic_is_not_found(bus: FakeBus) -> None:
    bus.answer("GetEvent", Failure(grpc.StatusCode.NOT_FOUND, "no event o-1", "NOT_FOUND", {"event_id": "o-1"}))
    with Client(bus.target) as client, pytest.raises(errors.NotFound) as raised:
        client.admin.get_event("orders", "o-1")

    assert raised.value.metadata == {"event_id": "o-1"}


@pytest.mark.parametrize("state", ["gone", "unknown", ""])
def test_an_unknown_state_is_refused(state: Any) -> None:
    with Client() as client, pytest.raises(errors.InvalidArgument, match=r"^state: must be one of"):
        client.admin.list_events_page("orders", state)
