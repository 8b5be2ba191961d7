"""Topics, groups and events as operators see them over a real socket, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from support.wire import event, failure_of, ids, us

if TYPE_CHECKING:
    from support.wire import Wire


async def test_get_topic_counts_the_events_in_each_state(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, max_in_flight=2, consumer="billing-1")
    await wire.dispatch(topic, "leased", "dead", event("later", delay=3600))
    leased, dead = await stream.take(2)
    await wire.nack(dead, dead_letter=True)
    await wire.subscribe(topic, group="slow", max_in_flight=1)
    await wire.dispatch(topic, "one", "two", "three")
    assert ids([await stream.one()]) == ["one"]

    info = await wire.topic(topic)
    assert (info.topic, info.engine, info.queued) == (topic, event_bus_pb2.ENGINE_LOCAL, 5)
    default, slow = sorted(info.groups, key=lambda group: group.group)
    assert (default.scheduled, default.ready, default.leased, default.dead) == (1, 2, 2, 1)
    assert (slow.scheduled, slow.ready, slow.leased, slow.dead) == (0, 2, 1, 0)
    assert not default.paused
    assert us(default.oldest_ready_age) >= 0
    assert default.rates.delivered > 0
    (subscriber,) = default.subscribers
    assert (subscriber.session_id, subscriber.consumer) == (stream.started.session_id, "billing-1")
    assert subscriber.in_flight == 2
    assert us(subscriber.connected_at) <= us(leased.dispatched_at)


async def test_get_topic_tells_what_happened_in_each_minute(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "one", "two")
    one, two = await stream.take(2)
    await wire.ack(one)
    await wire.nack(two, dead_letter=True)

    info = await wire.topic(topic)

    groups = [group for minute in info.minutes for group in minute.groups]
    assert sum(minute.dispatched for minute in info.minutes) == 2
    assert {group.group for group in groups} == {"default"}
    for name, count in {"delivered": 2, "acked": 1, "nacked": 1, "dead": 1}.items():
        assert sum(getattr(group, name) for group in groups) == count, name
    assert all(us(minute.start) % 60_000_000 == 0 for minute in info.minutes)
    for lateness in (info.lateness, info.groups[0].lateness, info.minutes[-1].lateness, groups[-1].lateness):
        assert us(lateness.p50) <= us(lateness.p99) < 60_000_000
    assert info.groups[0].HasField("lateness")
    listed = (await wire.admin.ListTopics(admin_pb2.ListTopicsRequest(page_size=1000))).topics
    assert [not one.minutes and one.HasField("lateness") for one in listed if one.topic == topic] == [True]


async def test_get_topic_has_the_settings(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a")
    config = (await wire.topic(topic)).config
    policy = config.retry_policy
    assert (policy.max_retries, us(policy.backoff_initial), us(policy.backoff_max)) == (3, 500_000, 300_000_000)
    assert (us(config.lease), config.max_queued, us(config.dedupe_window)) == (30_000_000, 100_000, 600_000_000)
    assert config.HasField("dead_letter_retention")


async def test_topics_are_listed_by_name_page_by_page(wire: Wire, topic: str) -> None:
    names = [f"{topic}.{number}" for number in range(5)]
    for name in reversed(names):
        await wire.dispatch(name, "a")
    every = await wire.topic_names()
    assert [name for name in every if name.startswith(topic)] == names
    assert every == sorted(every)

    paged: list[str] = []
    request = admin_pb2.ListTopicsRequest(page_size=2)
    while True:
        answer = await wire.admin.ListTopics(request)
        assert len(answer.topics) <= 2
        paged += [info.topic for info in answer.topics]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert paged == every


@pytest.mark.parametrize("newest_first", [False, True])
async def test_events_are_listed_by_state_page_by_page(wire: Wire, topic: str, newest_first: bool) -> None:
    names = [f"e{number}" for number in range(7)]
    await wire.dispatch(topic, *[event(name, delay=3600 + index) for index, name in enumerate(names)])
    order = "ORDER_NEWEST_FIRST" if newest_first else "ORDER_UNSPECIFIED"
    request = admin_pb2.ListEventsRequest(topic=topic, state=admin_pb2.EVENT_STATE_SCHEDULED, page_size=3, order=order)
    listed: list[str] = []
    sizes: list[int] = []
    while True:
        answer = await wire.admin.ListEvents(request)
        sizes.append(len(answer.events))
        listed += [info.event.id for info in answer.events]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert listed == (names[::-1] if newest_first else names)
    assert sizes == [3, 3, 1]


async def test_a_page_of_events_with_long_errors_fits_a_message(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, max_in_flight=1_000)
    await wire.dispatch(topic, *[event(f"e{number}", b"x" * 3_000) for number in range(1_000)])
    await wire.nack(*await stream.take(1_000), error="x" * 4_096, dead_letter=True)
    request = admin_pb2.ListEventsRequest(topic=topic, state=admin_pb2.EVENT_STATE_DEAD, page_size=1_000)
    seen: set[str] = set()
    while True:
        answer = await wire.admin.ListEvents(request)
        seen |= {info.event.id for info in answer.events}
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert len(seen) == 1_000


async def test_get_event_has_the_state_in_each_group(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, consumer="billing-1")
    done = await wire.subscribe(topic, group="audit")
    await wire.subscribe(topic, group="later", max_in_flight=1)
    await wire.dispatch(topic, event("a", b"payload", attributes={"k": "v"}))
    delivery = await stream.one()
    await wire.ack(await done.one())

    info = await wire.find_event(topic, "a")
    assert (info.event.id, info.event.data, dict(info.event.attributes)) == ("a", b"payload", {"k": "v"})
    assert (info.topic, info.dispatched_at) == (topic, delivery.dispatched_at)
    assert info.dispatched_by.startswith("ipv4:127.0.0.1:")
    groups = {group.group: group for group in info.groups}
    assert groups.keys() == {"default", "later"}, "the group audit has settled it"
    default = groups["default"]
    assert (default.state, default.attempts, default.consumer) == (admin_pb2.EVENT_STATE_LEASED, 1, "billing-1")
    assert default.lease_expires_at == delivery.lease_expires_at
    (attempt,) = default.history
    assert (attempt.attempt, attempt.outcome) == (1, admin_pb2.Attempt.OUTCOME_UNSPECIFIED)
    assert not attempt.HasField("ended_at")


async def test_unclaimed_events_are_in_a_group_without_a_name(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a")
    (group,) = (await wire.topic(topic)).groups
    assert (group.group, group.ready) == ("", 1)
    answer = await wire.admin.ListEvents(admin_pb2.ListEventsRequest(topic=topic, state=admin_pb2.EVENT_STATE_READY))
    assert [info.event.id for info in answer.events] == ["a"]


@pytest.mark.parametrize(
    ("method", "request_", "metadata"),
    [
        ("GetTopic", admin_pb2.GetTopicRequest(topic="no.such"), {"topic": "no.such"}),
        ("GetEvent", admin_pb2.GetEventRequest(topic="no.such", event_id="a"), {"topic": "no.such"}),
        ("ListEvents", admin_pb2.ListEventsRequest(topic="no.such", state="EVENT_STATE_DEAD"), {"topic": "no.such"}),
    ],
)
async def test_an_unknown_topic_is_not_found(wire: Wire, method: str, request_: Any, metadata: dict[str, str]) -> None:
    failure = await failure_of(getattr(wire.admin, method)(request_))
    assert (failure.code, failure.reason, failure.metadata) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", metadata)
    assert "no.such" not in await wire.topic_names()


async def test_an_unknown_event_or_group_is_not_found(wire: Wire, topic: str) -> None:
    await wire.subscribe(topic)
    missing = await failure_of(wire.find_event(topic, "no-such"))
    assert (missing.code, missing.metadata) == (grpc.StatusCode.NOT_FOUND, {"topic": topic, "event": "no-such"})
    request = admin_pb2.ListEventsRequest(topic=topic, group="nobody", state="EVENT_STATE_READY")
    missing = await failure_of(wire.admin.ListEvents(request))
    assert (missing.code, missing.metadata) == (grpc.StatusCode.NOT_FOUND, {"topic": topic, "group": "nobody"})
