"""Every RPC over a real socket, as any gRPC client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from support.wire import duration, event, failure_of, ids, tokens, us

if TYPE_CHECKING:
    from support.wire import Wire

Reason = event_bus_pb2.LeaseFailure


def reasons(failures: list[event_bus_pb2.LeaseFailure]) -> list[int]:
    return [failure.reason for failure in failures]


# --- Dispatch ---------------------------------------------------------------------------------------------------------


async def test_dispatch_answers_one_id_an_event_in_request_order(wire: Wire, topic: str) -> None:
    answer = await wire.dispatch(topic, "b", event(), "a")
    assert (answer.event_ids[0], answer.event_ids[2]) == ("b", "a")
    assert len(answer.event_ids[1]) == 36
    assert not answer.duplicate_event_ids


async def test_an_id_that_the_topic_holds_adds_nothing_and_is_reported(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a")
    answer = await wire.dispatch(topic, "a", "b", "b")
    assert (list(answer.event_ids), list(answer.duplicate_event_ids)) == (["a", "b", "b"], ["a", "b"])
    assert (await wire.topic(topic)).queued == 2


async def test_a_repeated_request_gets_the_first_answer_and_adds_nothing(wire: Wire, topic: str) -> None:
    first = await wire.dispatch(topic, event(), event(), request_id="r-1")
    assert await wire.dispatch(topic, event(), event(), request_id="r-1") == first
    assert (await wire.topic(topic)).queued == 2


async def test_an_event_arrives_as_it_was_dispatched(wire: Wire, topic: str) -> None:
    sent = event(
        "größe/🎉",
        bytes(range(256)),
        content_type="application/octet-stream",
        attributes={"trace": "7", "empty": "", "ünï": "cödé"},
        max_retries=0,
        delay=0,
    )
    stream = await wire.subscribe(topic, group="billing")
    await wire.dispatch(topic, sent)
    delivery = await stream.one()
    assert delivery.event == sent
    assert (delivery.topic, delivery.group, delivery.attempt, delivery.last_error) == (topic, "billing", 1, "")
    assert us(delivery.deliver_at) == us(delivery.dispatched_at)
    assert us(delivery.lease_expires_at) > us(delivery.dispatched_at) + 29_000_000


async def test_an_engine_may_be_named_and_naming_it_twice_stores_once(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a", engines=[event_bus_pb2.ENGINE_LOCAL, event_bus_pb2.ENGINE_LOCAL])
    assert (await wire.topic(topic)).queued == 1


async def test_a_subscriber_that_is_required_may_be_of_any_group(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, group="audit")
    await wire.dispatch(topic, "a", require_subscriber=True)
    assert ids([await stream.one()]) == ["a"]


# --- Subscribe --------------------------------------------------------------------------------------------------------


async def test_started_tells_the_defaults_in_force(wire: Wire, topic: str) -> None:
    started = (await wire.subscribe(topic)).started
    assert started.session_id
    assert (started.max_in_flight, started.max_in_flight_bytes) == (64, 16 << 20)
    assert (us(started.lease), us(started.disconnect_grace)) == (30_000_000, 1_000_000)
    assert not started.lost_lease_tokens


async def test_started_tells_what_was_asked_for(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(
        topic, max_in_flight=7, max_in_flight_bytes=1_000, lease=5, disconnect_grace=0.25, engine="ENGINE_LOCAL"
    )
    started = stream.started
    assert (started.max_in_flight, started.max_in_flight_bytes) == (7, 1_000)
    assert (us(started.lease), us(started.disconnect_grace)) == (5_000_000, 250_000)


async def test_what_is_due_comes_in_one_frame(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, *[f"e{number}" for number in range(64)])
    stream = await wire.subscribe(topic)
    deliveries = await stream.take(64)
    assert len(stream.frames) == 1
    assert ids(deliveries) == [f"e{number}" for number in range(64)]
    fences = [delivery.fencing_token for delivery in deliveries]
    assert fences == sorted(set(fences))


async def test_many_small_events_that_fill_a_large_window_fit_the_frames_that_any_client_takes(
    wire: Wire, topic: str
) -> None:
    for _ in range(20):
        await wire.dispatch(topic, *[event()] * 1_000)
    stream = await wire.subscribe(topic, max_in_flight=100_000)
    assert len(set(ids(await stream.take(20_000)))) == 20_000


# --- settle -----------------------------------------------------------------------------------------------------------


async def test_acked_is_gone(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a", "b")
    a, b = await stream.take(2)
    assert await wire.ack(a) == []
    assert reasons(await wire.ack(a, b, a)) == [Reason.REASON_SETTLED] * 2
    assert (await wire.topic(topic)).queued == 0


async def test_failures_are_reported_in_request_order_and_the_others_carried_out(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a", "b", "c")
    a, b, c = await stream.take(3)
    await wire.ack(a)
    await wire.nack(b, release=True)
    (again,) = await stream.take(1)
    failures = await wire.ack("forged", a, c, b)
    assert [failure.lease_token for failure in failures] == ["forged", *tokens([a, b])]
    assert reasons(failures) == [Reason.REASON_MALFORMED, Reason.REASON_SETTLED, Reason.REASON_EXPIRED]
    assert again.fencing_token > b.fencing_token
    assert (await wire.group(topic)).leased == 1


async def test_a_nack_without_an_action_is_retried_after_the_backoff(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    first = await stream.one()
    assert await wire.nack(first, error="boom") == []
    second = await stream.one()
    assert (second.attempt, second.last_error) == (2, "boom")
    waited_us = us(second.deliver_at) - us(first.deliver_at)
    assert waited_us > 0.8 * 500_000


async def test_a_nack_with_a_delay_is_retried_after_it(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    await wire.nack(await stream.one(), delay=duration(0.05))
    assert (await stream.one()).attempt == 2


async def test_a_release_does_not_count(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, event("a", max_retries=0))
    for _ in range(3):
        delivery = await stream.one()
        assert (delivery.attempt, delivery.last_error) == (1, "")
        await wire.nack(delivery, release=True)


async def test_an_event_without_retries_left_is_dead_with_its_story(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, consumer="billing-7f9c")
    await wire.dispatch(topic, event("a", max_retries=1))
    await wire.nack(await stream.one(), error="first", delay=duration(0))
    await wire.nack(await stream.one(), error="last", delay=duration(0))
    (group,) = (await wire.find_event(topic, "a")).groups
    assert (group.state, group.attempts, group.max_retries) == (admin_pb2.EVENT_STATE_DEAD, 2, 1)
    assert group.last_error == "last"
    assert us(group.dead_at) >= us(group.deliver_at)
    assert [(each.attempt, each.error, each.consumer) for each in group.history] == [
        (1, "first", "billing-7f9c"),
        (2, "last", "billing-7f9c"),
    ]
    assert [each.outcome for each in group.history] == [
        admin_pb2.Attempt.OUTCOME_NACKED,
        admin_pb2.Attempt.OUTCOME_DEAD,
    ]


async def test_a_nack_may_say_dead_at_once(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    await wire.nack(await stream.one(), error="hopeless", dead_letter=True)
    group = await wire.group(topic)
    assert (group.dead, group.ready, group.leased) == (1, 0, 0)


async def test_a_lease_that_is_extended_outlives_its_first_end(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, lease=0.3)
    await wire.dispatch(topic, "kept", "dropped")
    kept, dropped = await stream.take(2)
    assert await wire.extend(kept, lease=duration(30)) == []
    again = await stream.one()  # when this one's lease has run out, the other's would have, too
    assert (again.event.id, again.attempt) == ("dropped", 2)
    assert await wire.ack(kept) == []
    assert reasons(await wire.extend(kept, dropped, "forged")) == [
        Reason.REASON_SETTLED,
        Reason.REASON_EXPIRED,
        Reason.REASON_MALFORMED,
    ]


# --- admin ------------------------------------------------------------------------------------------------------------


async def test_get_topic_tells_how_many_events_are_where(wire: Wire, topic: str) -> None:
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


async def test_the_settings_of_a_topic_are_told(wire: Wire, topic: str) -> None:
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
    await wire.dispatch(topic, *[event(name, delay=3600 + place) for place, name in enumerate(names)])
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


async def test_a_page_of_events_with_long_errors_fits_the_message_that_any_client_takes(wire: Wire, topic: str) -> None:
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


async def test_get_event_tells_where_the_event_stands_in_each_group(wire: Wire, topic: str) -> None:
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
    assert groups.keys() == {"default", "later"}, "audit is done with it"
    default = groups["default"]
    assert (default.state, default.attempts, default.consumer) == (admin_pb2.EVENT_STATE_LEASED, 1, "billing-1")
    assert default.lease_expires_at == delivery.lease_expires_at
    (attempt,) = default.history
    assert (attempt.attempt, attempt.outcome) == (1, admin_pb2.Attempt.OUTCOME_UNSPECIFIED)
    assert not attempt.HasField("ended_at")


async def test_events_that_no_group_has_claimed_are_in_a_group_without_a_name(wire: Wire, topic: str) -> None:
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
async def test_a_topic_that_is_not_there_is_not_found(
    wire: Wire, method: str, request_: Any, metadata: dict[str, str]
) -> None:
    failure = await failure_of(getattr(wire.admin, method)(request_))
    assert (failure.code, failure.reason, failure.metadata) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", metadata)
    assert "no.such" not in await wire.topic_names()


async def test_an_event_or_a_group_that_is_not_there_is_not_found(wire: Wire, topic: str) -> None:
    await wire.subscribe(topic)
    missing = await failure_of(wire.find_event(topic, "no-such"))
    assert (missing.code, missing.metadata) == (grpc.StatusCode.NOT_FOUND, {"topic": topic, "event": "no-such"})
    request = admin_pb2.ListEventsRequest(topic=topic, group="nobody", state="EVENT_STATE_READY")
    missing = await failure_of(wire.admin.ListEvents(request))
    assert (missing.code, missing.metadata) == (grpc.StatusCode.NOT_FOUND, {"topic": topic, "group": "nobody"})


WORKING = {"ListTopics", "GetTopic", "ListEvents", "GetEvent"}
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["EventBusAdmin"]


@pytest.mark.parametrize("method", sorted({method.name for method in ADMIN.methods} - WORKING))
async def test_what_this_server_does_not_offer_yet_is_unimplemented_with_the_reason(
    wire: Wire, topic: str, method: str
) -> None:
    await wire.dispatch(topic, "a")
    request: Any = getattr(admin_pb2, f"{method}Request")(topic=topic)
    failure = await failure_of(getattr(wire.admin, method)(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
    assert failure.metadata == {"method": method}
    assert (await wire.topic(topic)).queued == 1
