"""The Python clients against a real server: guarantees that need both sides."""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duebus.aio
import pytest
from duebus import Client, ClosingReason, Delivery, Engine, EventState, LeaseFailureReason, NewEvent, Worker, errors
from support.proxy import proxy_to
from support.wire import SIGNAL_TIMEOUT_S, connect
from support.workers import serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess


def test_a_failed_event_is_redelivered_with_its_error_until_it_is_acked(client: Client, topic: str) -> None:
    with client.subscribe(topic) as subscription:
        client.dispatch(topic, {"id": 42}, id="o-42", attributes={"trace": "7"})
        first = next(subscription)
        assert client.nack(first, error="boom", delay=0) == []

        second = next(subscription)
        assert (second.event_id, second.json(), second.attributes) == ("o-42", {"id": 42}, {"trace": "7"})
        assert (first.attempt, second.attempt, second.last_error) == (1, 2, "boom")
        assert second.fencing_token > first.fencing_token

        stale = client.ack(first)
        assert [each.reason for each in stale] == [LeaseFailureReason.EXPIRED]
        assert client.ack(second) == []
        assert [each.reason for each in client.ack(second)] == [LeaseFailureReason.SETTLED]
        assert [each.reason for each in client.ack("forged")] == [LeaseFailureReason.MALFORMED]


def test_an_event_is_due_after_a_delay_or_at_a_time(client: Client, topic: str) -> None:
    with client.subscribe(topic) as subscription:
        begun = time.monotonic()
        client.dispatch(topic, "later", delay=timedelta(milliseconds=200))
        client.dispatch(topic, "sooner", at=datetime.now(UTC) + timedelta(milliseconds=50))

        assert [next(subscription).text() for _ in range(2)] == ["sooner", "later"]
        assert time.monotonic() - begun >= 0.2


def test_the_last_error_of_a_dead_letter_can_be_read(client: Client, topic: str) -> None:
    with client.subscribe(topic) as subscription:
        client.dispatch(topic, b"x", id="bad")
        client.nack(next(subscription), error="not today", dead_letter=True)

    (dead,) = client.admin.list_events(topic, EventState.DEAD)
    assert (dead.event_id, dead.groups[0].last_error) == ("bad", "not today")
    assert client.admin.get_event(topic, "bad").groups[0].history[0].error == "not today"
    assert client.admin.get_topic(topic).groups[0].dead == 1


async def test_unseen_deliveries_are_released_without_counting(server: ServerProcess, topic: str) -> None:
    async with duebus.aio.Client(server.address, timeout=10) as client:
        await client.dispatch_many(topic, range(10))
        async with client.subscribe(topic, disconnect_grace=60) as subscription:
            await client.ack(await anext(subscription))

        async with client.subscribe(topic) as subscription:
            rest = [await anext(subscription) for _ in range(9)]
    assert sorted(each.json() for each in rest) == list(range(1, 10))
    assert {each.attempt for each in rest} == {1}


async def test_a_lease_moves_to_the_next_stream(server: ServerProcess, topic: str) -> None:
    async with duebus.aio.Client(server.address, timeout=10) as client:
        await client.dispatch(topic, "x")
        async with client.subscribe(topic) as subscription:
            held = await anext(subscription)

        async with client.subscribe(topic, held_lease_tokens=[held, "forged"]) as subscription:
            assert (await subscription.started()).lost_lease_tokens == ("forged",)
            assert await client.extend(held, 60) == []
            assert await client.ack(held) == []


def test_a_repeated_request_adds_nothing(client: Client, topic: str) -> None:
    first = client.dispatch(topic, "x", request_id="r-1")

    assert client.dispatch(topic, "x", request_id="r-1") == first
    assert client.admin.get_topic(topic).queued == 1


def test_a_dispatch_survives_a_crash_of_the_server(start_server: Callable[..., ServerProcess], topic: str) -> None:
    crashed = start_server()
    with ThreadPoolExecutor() as threads, Client(crashed.address, timeout=30) as client:
        client.dispatch(topic, "before")
        crashed.kill()
        dispatching = threads.submit(client.dispatch, topic, "after", id="after")
        start_server(listen=crashed.address)

        assert dispatching.result(30).event_id == "after"
        assert client.admin.get_topic(topic).queued == 1


def test_a_stopping_server_tells_its_subscribers(start_server: Callable[..., ServerProcess], topic: str) -> None:
    server = start_server()
    with Client(server.address, timeout=10) as client, client.subscribe(topic) as subscription:
        client.dispatch(topic, "x", delay=60)
        (stopped,) = client.stop()

        assert (stopped.engine, stopped.released, stopped.queued) == (Engine.LOCAL, 0, 1)
        assert list(subscription) == []
        assert subscription.closing is not None
        assert subscription.closing.reason is ClosingReason.DRAINING
        assert server.wait() == 0
        with pytest.raises(errors.Unavailable):
            client.dispatch(topic, "x", timeout=0.3)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("topic", {"topic": "no spaces please"}),
        ("events[0].delay", {"delay": -1}),
        ("events[0].delay", {"delay": timedelta(days=36_500)}),
        ("delay", {"delay": math.inf}),
        ("events[0].deliver_at", {"at": datetime(9000, 1, 1, tzinfo=UTC)}),
        ("at", {"at": datetime(2026, 1, 1)}),  # noqa: DTZ001 - without a zone on purpose
        ("events[0].data", {"data": bytes(2 * 1024 * 1024)}),
        ("request", {"data": bytes(20 * 1024 * 1024)}),
        ("events[0].id", {"id": "x" * 256}),
        ("events[0].attributes", {"attributes": {"": "x"}}),
        ("engines[0]", {"engines": ["kafka"]}),
        ("request_id", {"request_id": "x" * 256}),
    ],
)
def test_bad_input_is_named_and_nothing_is_stored(
    client: Client, topic: str, field: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        client.dispatch(**({"topic": topic, "data": b"x"} | arguments))

    assert [each.field for each in raised.value.field_violations] == [field]
    assert field in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(errors.NotFound):
        client.admin.get_topic(topic)


def test_a_batch_is_stored_wholly_or_not_at_all(client: Client, topic: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"events\[1\]\.delay"):
        client.dispatch_many(topic, [NewEvent(data=1), NewEvent(data=2, delay=-1)])
    with pytest.raises(errors.NoEventSpecified):
        client.dispatch_many(topic, [])
    with pytest.raises(errors.InvalidArgument, match="events"):
        client.dispatch_many(topic, range(1001))
    with pytest.raises(errors.NotFound):
        client.admin.get_topic(topic)

    twice = client.dispatch_many(topic, [NewEvent(data=1, id="a"), NewEvent(data=2, id="a")])
    assert [(each.event_id, each.duplicate) for each in twice] == [("a", False), ("a", True)]


def test_a_missing_engine_or_subscriber_is_reported(client: Client, topic: str) -> None:
    with pytest.raises(errors.NoDispatcherSpecified, match="redis"):
        client.dispatch(topic, "x", engines="redis")
    with pytest.raises(errors.NoHandlerFound):
        client.dispatch(topic, "x", require_subscriber=True)
    with client.subscribe(topic) as subscription:
        client.dispatch(topic, "x", require_subscriber=True)
        assert client.ack(next(subscription)) == []


def test_a_full_topic_has_a_retry_delay(start_server: Callable[..., ServerProcess], topic: str) -> None:
    server = start_server("--max-queued", "2")
    with Client(server.address, timeout=10) as client:
        client.dispatch_many(topic, ["a", "b"])

        with pytest.raises(errors.MaxQueuedEventsReached) as raised:
            client.dispatch(topic, "c")
    assert raised.value.retry_after is not None
    assert raised.value.retry_after > timedelta()


# Of the guaranteed 40 s, the client waits 30 before it sends a ping. Here it pings at once.
ASKS_SOON = (("grpc.keepalive_time_ms", 1_000),)
ANSWER_IN_TIME_S = 10.0


async def test_a_connection_that_dies_silently_is_noticed_in_time(server: ServerProcess, topic: str) -> None:
    async with (
        proxy_to(server.address) as proxy,
        duebus.aio.Client(proxy.address, options=ASKS_SOON) as bus,
        bus.subscribe(topic) as subscription,
    ):
        proxy.stall()
        async with asyncio.timeout(ANSWER_IN_TIME_S + 15):
            with pytest.raises(errors.Unavailable):
                await anext(subscription)


async def test_several_servers_are_used_in_turn_and_an_unreachable_one_is_skipped(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    first, second = start_server(), start_server()
    async with (
        duebus.aio.Client(f"{first.address},{second.address},127.0.0.1:1", timeout=10) as bus,
        connect(first.address) as one,
        connect(second.address) as other,
    ):
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while not all([await each.topic_names() for each in (one, other)]):
                await bus.dispatch(f"{topic}.connects", "x")
        for _ in range(6):
            await bus.dispatch(topic, "x")
        assert [(await each.topic(topic)).queued for each in (one, other)] == [3, 3]


async def test_a_worker_works_with_the_smallest_message_size(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server("--max-message-size", "64KiB", "--backoff-initial", "10ms", "--backoff-max", "10ms")
    worker, failed = Worker(server.address, concurrency=2_000, prefetch=0), 0

    @worker.on(topic)
    async def handle(delivery: Delivery) -> None:
        nonlocal failed
        if delivery.attempt == 1:
            failed += 1
            raise ValueError("x" * 4_000)

    async with duebus.aio.Client(server.address, timeout=10) as client, serving(worker):
        for _ in range(4):
            await client.dispatch_many(topic, range(500))
        async with asyncio.timeout(180):
            while (await client.admin.get_topic(topic)).queued:  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.02)
    assert failed == 2_000


async def test_a_client_splits_requests_that_are_too_large(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server("--max-message-size", "64KiB")
    async with duebus.aio.Client(server.address, timeout=10) as client:
        async with client.subscribe(topic) as subscription:
            assert (await subscription.started()).max_request_bytes == 64 << 10
        assert len(await client.extend([f"{each:0100d}" for each in range(2_000)])) == 2_000
