"""Operators' calls over a real socket: settings, pauses, deletions, and stuck events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from support.wire import duration, event, failure_of, ids, us

if TYPE_CHECKING:
    from support.wire import Wire

HOUR_S = 3_600


async def dead(wire: Wire, topic: str, *names: str, error: str = "boom") -> None:
    """Dispatch events and make them dead letters, in this order. A stream of the default group is open."""
    stream = await wire.subscribe(topic, max_in_flight=1)
    for name in names:
        await wire.dispatch(topic, name)
        await wire.nack(await stream.one(), dead_letter=True, error=error)
    await stream.cancel()
    await wire.until_subscribers(topic, 0)


async def listed(wire: Wire, topic: str, state: str) -> list[str]:
    """The events of the default group in a state."""
    request = admin_pb2.ListEventsRequest(topic=topic, state=f"EVENT_STATE_{state}")
    return [info.event.id for info in (await wire.admin.ListEvents(request)).events]


# --- settings ---------------------------------------------------------------------------------------------------------


async def test_settings_are_changed_one_by_one_and_returned(wire: Wire, topic: str) -> None:
    policy = admin_pb2.RetryPolicy(max_retries=0, backoff_initial=duration(1), backoff_max=duration(60))
    request = admin_pb2.ConfigureTopicRequest(topic=topic, config=admin_pb2.TopicConfig(retry_policy=policy))
    first = (await wire.admin.ConfigureTopic(request)).config
    request.config.CopyFrom(admin_pb2.TopicConfig(lease=duration(45), max_queued=0, partitions=1))

    second = (await wire.admin.ConfigureTopic(request)).config

    assert first.retry_policy == second.retry_policy == policy
    assert (us(first.lease), first.max_queued) == (30_000_000, 100_000)
    assert (us(second.lease), second.max_queued, second.partitions) == (45_000_000, 0, 1)
    assert (await wire.topic(topic)).config == second


async def test_a_full_topic_can_be_given_more_room(wire: Wire, topic: str) -> None:
    config = admin_pb2.TopicConfig(max_queued=1)
    await wire.admin.ConfigureTopic(admin_pb2.ConfigureTopicRequest(topic=topic, config=config))
    await wire.dispatch(topic, "a")
    assert (await failure_of(wire.dispatch(topic, "b"))).reason == "MAX_QUEUED_EVENTS_REACHED"

    config.max_queued = 2
    await wire.admin.ConfigureTopic(admin_pb2.ConfigureTopicRequest(topic=topic, config=config))

    await wire.dispatch(topic, "b")


async def test_a_subscriber_comes_again_when_its_group_gets_its_first_limit(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "held")
    held = await stream.one()
    config = admin_pb2.TopicConfig(limits=admin_pb2.Limits(max_in_flight=2))

    await wire.admin.ConfigureTopic(admin_pb2.ConfigureTopicRequest(topic=topic, config=config))

    assert (await stream.closing()).reason == event_bus_pb2.Closing.REASON_REBALANCE
    again = await wire.subscribe(topic, held_lease_tokens=[held.lease_token])
    assert again.started.limited
    assert not again.started.lost_lease_tokens
    assert await wire.ack(held) == []


async def test_a_group_has_its_own_retry_policy(wire: Wire, topic: str) -> None:
    hasty, patient = await wire.subscribe(topic, group="hasty"), await wire.subscribe(topic, group="patient")
    config = admin_pb2.TopicConfig(retry_policy=admin_pb2.RetryPolicy(max_retries=0))
    request = admin_pb2.ConfigureTopicRequest(topic=topic, group="hasty", config=config)
    assert (await wire.admin.ConfigureTopic(request)).config.retry_policy.max_retries == 0
    await wire.dispatch(topic, "a")

    for stream in (hasty, patient):
        await wire.nack(await stream.one(), error="no")

    groups = {group.group: group for group in (await wire.topic(topic)).groups}
    assert (groups["hasty"].dead, groups["hasty"].retry_policy.max_retries) == (1, 0)
    assert (groups["patient"].scheduled, groups["patient"].retry_policy.max_retries) == (1, 3)


async def test_an_open_stream_keeps_the_lease_in_started(wire: Wire, topic: str) -> None:
    """A worker extends at intervals that suit the lease in its Started frame; a shorter one would run out."""
    old = await wire.subscribe(topic, max_in_flight=1)
    config = admin_pb2.TopicConfig(lease=duration(HOUR_S))
    await wire.admin.ConfigureTopic(admin_pb2.ConfigureTopicRequest(topic=topic, config=config))
    new = await wire.subscribe(topic, max_in_flight=1)

    await wire.dispatch(topic, "a", "b")

    for stream in (old, new):
        delivery = await stream.one()
        lease_us = us(delivery.lease_expires_at) - us(delivery.deliver_at)
        assert us(stream.started.lease) <= lease_us < us(stream.started.lease) + 10_000_000
    assert (us(old.started.lease), us(new.started.lease)) == (30_000_000, HOUR_S * 1_000_000)


# --- pauses -----------------------------------------------------------------------------------------------------------


async def test_a_paused_group_gets_its_events_when_it_is_resumed(wire: Wire, topic: str) -> None:
    paused, other = await wire.subscribe(topic), await wire.subscribe(topic, group="other")
    await wire.admin.PauseGroup(admin_pb2.PauseGroupRequest(topic=topic))
    await wire.dispatch(topic, "a", "b")
    assert ids(await other.take(2)) == ["a", "b"]
    group = await wire.group(topic)
    assert (group.paused, group.ready, len(group.subscribers)) == (True, 2, 1)
    assert paused.come() == []

    await wire.admin.ResumeGroup(admin_pb2.ResumeGroupRequest(topic=topic))

    assert ids(await paused.take(2)) == ["a", "b"]
    assert not (await wire.group(topic)).paused


async def test_leases_of_a_paused_group_can_be_settled(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    delivery = await stream.one()

    await wire.admin.PauseGroup(admin_pb2.PauseGroupRequest(topic=topic, group="default"))

    assert await wire.ack(delivery) == []


# --- deletions --------------------------------------------------------------------------------------------------------


async def test_subscribers_of_a_deleted_group_are_told_and_their_leases_are_settled(wire: Wire, topic: str) -> None:
    stream, other = await wire.subscribe(topic), await wire.subscribe(topic, group="other")
    await wire.dispatch(topic, "a", event("later", delay=HOUR_S))
    delivery, of_other = await stream.one(), await other.one()

    answer = await wire.admin.DeleteGroup(admin_pb2.DeleteGroupRequest(topic=topic))

    assert answer.removed == 2
    assert (await stream.closing()).reason == event_bus_pb2.Closing.REASON_GROUP_DELETED
    (failure,) = await wire.ack(delivery)
    assert failure.reason == event_bus_pb2.LeaseFailure.REASON_SETTLED
    assert [group.group for group in (await wire.topic(topic)).groups] == ["other"]
    assert await wire.ack(of_other) == []


async def test_subscribers_of_a_deleted_topic_are_told_in_every_group(wire: Wire, topic: str) -> None:
    streams = [await wire.subscribe(topic, group=group) for group in ("left", "right")]
    bystander = await wire.subscribe(f"{topic}.other")
    await wire.dispatch(topic, "a")
    deliveries = [await stream.one() for stream in streams]

    answer = await wire.admin.DeleteTopic(admin_pb2.DeleteTopicRequest(topic=topic))

    assert answer.removed == 1
    for stream in streams:
        closing = await stream.closing()
        assert closing.reason == event_bus_pb2.Closing.REASON_TOPIC_DELETED
        assert us(closing.reconnect_after) == 1_000_000
    failures = await wire.ack(*deliveries)
    assert [failure.reason for failure in failures] == [event_bus_pb2.LeaseFailure.REASON_SETTLED] * 2
    assert topic not in await wire.topic_names()
    await wire.dispatch(f"{topic}.other", "still there")
    assert ids([await bystander.one()]) == ["still there"]


async def test_a_deleted_topic_is_created_again(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a", request_id="r")
    await wire.admin.DeleteTopic(admin_pb2.DeleteTopicRequest(topic=topic))

    assert not (await wire.dispatch(topic, "a", request_id="r")).duplicate_event_ids

    assert ids([await (await wire.subscribe(topic)).one()]) == ["a"]


# --- events that wait -------------------------------------------------------------------------------------------------


async def test_events_are_cancelled_and_skipped_ones_are_named(wire: Wire, topic: str) -> None:
    await dead(wire, topic, "dead")
    stream = await wire.subscribe(topic, max_in_flight=1)
    await wire.dispatch(topic, "leased", "ready", event("later", delay=HOUR_S))
    await stream.one()
    names = ["ready", "leased", "later", "dead", "missing", "ready"]

    answer = await wire.admin.CancelEvents(admin_pb2.CancelEventsRequest(topic=topic, event_ids=names))

    assert answer.cancelled == 2
    assert list(answer.leased_event_ids) == ["leased", "dead"]
    assert list(answer.missing_event_ids) == ["missing"]


async def test_an_event_is_cancelled_in_one_group(wire: Wire, topic: str) -> None:
    for group in ("left", "right"):
        await (await wire.subscribe(topic, group=group)).cancel()
    await wire.dispatch(topic, "a")

    await wire.admin.CancelEvents(admin_pb2.CancelEventsRequest(topic=topic, event_ids=["a"], group="left"))

    assert [group.group for group in (await wire.find_event(topic, "a")).groups] == ["right"]


async def test_events_are_rescheduled_all_or_none(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, max_in_flight=1)
    await wire.dispatch(topic, "leased")
    await stream.one()
    await wire.dispatch(topic, "ready", event("later", delay=HOUR_S))
    in_an_hour = Timestamp(seconds=us((await wire.find_event(topic, "ready")).dispatched_at) // 1_000_000 + HOUR_S)
    request = admin_pb2.RescheduleEventsRequest(topic=topic, event_ids=["ready", "leased"], deliver_at=in_an_hour)

    failure = await failure_of(wire.admin.RescheduleEvents(request))

    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "CONCURRENT_MODIFICATION")
    assert (failure.metadata["event"], failure.metadata["state"]) == ("leased", "leased")
    assert await listed(wire, topic, "READY") == ["ready"]
    request.event_ids[:] = ["ready", "later", "ready"]
    assert (await wire.admin.RescheduleEvents(request)).rescheduled == 2
    (where,) = (await wire.find_event(topic, "ready")).groups
    assert where.deliver_at == in_an_hour


async def test_a_scheduled_event_is_delivered_at_once(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, event("later", delay=HOUR_S))

    await wire.admin.RescheduleEvents(
        admin_pb2.RescheduleEventsRequest(topic=topic, event_ids=["later"], delay=duration(0))
    )

    assert ids([await stream.one()]) == ["later"]


# --- dead letters -----------------------------------------------------------------------------------------------------


async def test_dead_letters_are_redriven_and_keep_their_history(wire: Wire, topic: str) -> None:
    await dead(wire, topic, "a", error="no such customer")

    answer = await wire.admin.RedriveEvents(admin_pb2.RedriveEventsRequest(topic=topic))

    assert answer.redriven == 1
    delivery = await (await wire.subscribe(topic, consumer="second")).one()
    assert (delivery.event.id, delivery.attempt, delivery.last_error) == ("a", 1, "no such customer")
    (where,) = (await wire.find_event(topic, "a")).groups
    first, second = where.history
    assert (first.outcome, first.error) == (admin_pb2.Attempt.OUTCOME_DEAD, "no such customer")
    assert us(first.ended_at) <= us(first.redriven_at) <= us(second.started_at)
    assert (second.consumer, second.HasField("redriven_at")) == ("second", False)


async def test_dead_letters_are_redriven_at_a_rate(wire: Wire, topic: str) -> None:
    await dead(wire, topic, "a", "b", "c")

    await wire.admin.RedriveEvents(admin_pb2.RedriveEventsRequest(topic=topic, rate=0.01))

    assert await listed(wire, topic, "READY") == ["a"]
    assert await listed(wire, topic, "SCHEDULED") == ["b", "c"]
    a, b, c = [(await wire.find_event(topic, name)).groups[0].deliver_at for name in "abc"]
    assert us(b) - us(a) == us(c) - us(b) == 100_000_000


@pytest.mark.parametrize("method", ["RedriveEvents", "PurgeEvents"])
async def test_only_selected_dead_letters_are_redriven(wire: Wire, topic: str, method: str) -> None:
    await dead(wire, topic, "a", "b", error="connection refused")
    await dead(wire, topic, "c", error="no such customer")
    chosen = admin_pb2.DeadLetterFilter(error_contains="refused", event_ids=["b", "c"], min_age=duration(0.000_001))

    await getattr(wire.admin, method)(getattr(admin_pb2, f"{method}Request")(topic=topic, filter=chosen))

    assert await listed(wire, topic, "DEAD") == ["a", "c"]
    assert await listed(wire, topic, "READY") == (["b"] if method == "RedriveEvents" else [])


async def test_many_dead_letters_take_several_steps(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, max_in_flight=10_000)
    for part in range(3):
        await wire.dispatch(topic, *[f"e{part}.{number}" for number in range(1_000)])
    await wire.nack(*await stream.take(3_000), dead_letter=True)
    await stream.cancel()
    assert (await wire.group(topic)).dead == 3_000

    answer = await wire.admin.RedriveEvents(admin_pb2.RedriveEventsRequest(topic=topic))

    assert answer.redriven == 3_000
    group = await wire.group(topic)
    assert (group.ready, group.dead) == (3_000, 0)


async def test_dead_letters_are_purged(wire: Wire, topic: str) -> None:
    await dead(wire, topic, "a", "b")

    assert (await wire.admin.PurgeEvents(admin_pb2.PurgeEventsRequest(topic=topic))).purged == 2

    assert (await wire.group(topic)).dead == 0
    assert (await failure_of(wire.find_event(topic, "a"))).code is grpc.StatusCode.NOT_FOUND


# --- missing topics and groups ----------------------------------------------------------------------------------------

DUE: dict[str, Any] = {"event_ids": ["a"], "delay": duration(1)}
CALLS: list[tuple[str, dict[str, Any], bool]] = [
    ("ConfigureTopic", {"group": "nobody"}, True),
    ("DeleteTopic", {}, False),
    ("DeleteGroup", {"group": "nobody"}, True),
    ("PauseGroup", {"group": "nobody"}, True),
    ("ResumeGroup", {"group": "nobody"}, True),
    ("CancelEvents", {"event_ids": ["a"], "group": "nobody"}, True),
    ("RescheduleEvents", DUE | {"group": "nobody"}, True),
    ("RedriveEvents", {"group": "nobody"}, True),
    ("PurgeEvents", {"group": "nobody"}, True),
]


@pytest.mark.parametrize(("method", "fields", "in_a_group"), CALLS)
async def test_an_unknown_topic_or_group_is_not_found(
    wire: Wire, topic: str, method: str, fields: dict[str, Any], in_a_group: bool
) -> None:
    call, request = getattr(wire.admin, method), getattr(admin_pb2, f"{method}Request")
    failure = await failure_of(call(request(topic=topic, **fields)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert failure.metadata == {"topic": topic}
    assert topic in failure.message
    assert topic not in await wire.topic_names()
    if not in_a_group:
        return

    await wire.dispatch(topic, "a")
    failure = await failure_of(call(request(topic=topic, **fields)))
    assert (failure.code, failure.metadata) == (grpc.StatusCode.NOT_FOUND, {"topic": topic, "group": "nobody"})
    assert "nobody" in failure.message
    assert (await wire.topic(topic)).queued == 1


async def test_rescheduling_an_unknown_event_is_not_found(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a")
    request = admin_pb2.RescheduleEventsRequest(topic=topic, event_ids=["a", "b"], delay=duration(HOUR_S))

    failure = await failure_of(wire.admin.RescheduleEvents(request))

    assert (failure.code, failure.metadata) == (grpc.StatusCode.NOT_FOUND, {"topic": topic, "event": "b"})
    assert await listed(wire, topic, "READY") == ["a"]
