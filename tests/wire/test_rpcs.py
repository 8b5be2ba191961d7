"""Every RPC over a real socket, as any gRPC client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
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


async def test_a_request_id_that_was_used_for_other_events_is_refused(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, event(), request_id="r-1")
    failure = await failure_of(wire.dispatch(topic, event(), event(), request_id="r-1"))
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])
    assert (await wire.topic(topic)).queued == 1


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


async def test_an_engine_can_be_named_and_naming_it_twice_stores_once(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a", engines=[event_bus_pb2.ENGINE_LOCAL, event_bus_pb2.ENGINE_LOCAL])
    assert (await wire.topic(topic)).queued == 1


async def test_a_required_subscriber_may_be_in_any_group(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, group="audit")
    await wire.dispatch(topic, "a", require_subscriber=True)
    assert ids([await stream.one()]) == ["a"]


# --- Subscribe --------------------------------------------------------------------------------------------------------


async def test_started_has_the_defaults_in_force(wire: Wire, topic: str) -> None:
    started = (await wire.subscribe(topic)).started
    assert started.session_id
    assert (started.max_in_flight, started.max_in_flight_bytes) == (64, 16 << 20)
    assert (us(started.lease), us(started.disconnect_grace)) == (30_000_000, 1_000_000)
    assert started.max_request_bytes == 16 << 20
    assert not started.lost_lease_tokens


async def test_started_has_the_requested_options(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(
        topic, max_in_flight=7, max_in_flight_bytes=1_000, lease=5, disconnect_grace=0.25, engine="ENGINE_LOCAL"
    )
    started = stream.started
    assert (started.max_in_flight, started.max_in_flight_bytes) == (7, 1_000)
    assert (us(started.lease), us(started.disconnect_grace)) == (5_000_000, 250_000)


async def test_due_events_are_sent_in_one_frame(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, *[f"e{number}" for number in range(64)])
    stream = await wire.subscribe(topic)
    deliveries = await stream.take(64)
    assert len(stream.frames) == 1
    assert ids(deliveries) == [f"e{number}" for number in range(64)]
    fences = [delivery.fencing_token for delivery in deliveries]
    assert fences == sorted(set(fences))


async def test_many_small_events_that_fill_a_large_window_fit_the_frames(wire: Wire, topic: str) -> None:
    for _ in range(20):
        await wire.dispatch(topic, *[event()] * 1_000)
    stream = await wire.subscribe(topic, max_in_flight=100_000)
    assert len(set(ids(await stream.take(20_000)))) == 20_000


# --- settle -----------------------------------------------------------------------------------------------------------


async def test_an_acked_event_is_gone(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a", "b")
    a, b = await stream.take(2)
    assert await wire.ack(a) == []
    assert reasons(await wire.ack(a, b, a)) == [Reason.REASON_SETTLED] * 2
    assert (await wire.topic(topic)).queued == 0


async def test_failures_are_reported_in_request_order_and_the_others_are_settled(wire: Wire, topic: str) -> None:
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


async def test_an_event_without_retries_left_is_dead_with_its_history(wire: Wire, topic: str) -> None:
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


async def test_a_nack_can_make_a_dead_letter_at_once(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    await wire.nack(await stream.one(), error="hopeless", dead_letter=True)
    group = await wire.group(topic)
    assert (group.dead, group.ready, group.leased) == (1, 0, 0)


async def test_an_extended_lease_outlasts_its_first_expiry(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, lease=5)
    await wire.dispatch(topic, "kept", "dropped")
    kept, dropped = await stream.take(2)
    assert await wire.extend(kept, lease=duration(600)) == []
    again = await stream.one()  # when this one's lease has run out, the other's would have, too
    assert (again.event.id, again.attempt) == ("dropped", 2)
    assert await wire.ack(kept) == []
    assert reasons(await wire.extend(kept, dropped, "forged")) == [
        Reason.REASON_SETTLED,
        Reason.REASON_EXPIRED,
        Reason.REASON_MALFORMED,
    ]
