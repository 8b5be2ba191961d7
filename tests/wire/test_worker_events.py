"""A worker and a real server: how events are settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus import DeadLetter, RetryAfter, Worker, aio
from duebus.errors import NoDispatcherSpecified
from support.wire import SIGNAL_TIMEOUT_S, connect
from support.workers import group_when, serving, until_done

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from duebus import Delivery
    from support.server_process import ServerProcess
    from support.wire import Wire


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[aio.Client]:
    async with aio.Client(server.address) as connected:
        yield connected


@pytest.fixture
def worker(server: ServerProcess) -> Worker:
    return Worker(server.address)


async def until_dead(wire: Wire, topic: str) -> None:
    """Wait until the topic has a dead letter."""
    await group_when(wire, topic, lambda group: group.dead == 1)


async def soon(awaitable: Awaitable[object]) -> None:
    """Wait, and fail when it takes too long."""
    await asyncio.wait_for(awaitable, SIGNAL_TIMEOUT_S)


async def test_events_are_handled_once_and_removed(client: aio.Client, worker: Worker, wire: Wire, topic: str) -> None:
    payloads: list[int] = []

    @worker.on(topic)
    async def collect(delivery: Delivery) -> None:
        payloads.append(delivery.json())

    async with serving(worker):
        for start in range(0, 5000, 1000):
            await client.dispatch_many(topic, range(start, start + 1000))
        await until_done(wire, topic)
    assert sorted(payloads) == list(range(5000))


async def test_functions_handle_events_on_threads(client: aio.Client, worker: Worker, wire: Wire, topic: str) -> None:
    payloads: list[int] = []

    @worker.on(topic)
    def collect(delivery: Delivery) -> None:
        payloads.append(delivery.json())

    async with serving(worker):
        await client.dispatch_many(topic, range(1000))
        await until_done(wire, topic)
    assert sorted(payloads) == list(range(1000))


async def test_a_failing_event_is_retried_with_its_last_error_and_then_succeeds(
    client: aio.Client, worker: Worker, wire: Wire, topic: str
) -> None:
    seen: list[tuple[int, str]] = []

    @worker.on(topic)
    async def succeed_the_second_time(delivery: Delivery) -> None:
        seen.append((delivery.attempt, delivery.last_error))
        if delivery.attempt == 1:
            raise RetryAfter(0.05, "not yet")

    async with serving(worker):
        await client.dispatch(topic, "order")
        await until_done(wire, topic)
    assert seen == [(1, ""), (2, "not yet")]


async def test_an_event_that_always_fails_ends_dead_with_its_last_error(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server("--backoff-initial", "20ms", "--max-retries", "3")
    worker = Worker(server.address)
    attempts = []

    @worker.on(topic)
    async def fail(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise ValueError(f"attempt {delivery.attempt}")

    async with aio.Client(server.address) as client, connect(server.address) as wire, serving(worker):
        event_id = (await client.dispatch(topic, "order")).event_id
        await until_dead(wire, topic)
        (group,) = (await client.admin.get_event(topic, event_id)).groups
    assert attempts == [1, 2, 3, 4]
    assert (group.state, group.last_error.splitlines()[0]) == ("dead", "ValueError: attempt 4")


async def test_a_dead_letter_is_dead_at_once(client: aio.Client, worker: Worker, wire: Wire, topic: str) -> None:
    @worker.on(topic)
    async def refuse(_: Delivery) -> None:
        raise DeadLetter("malformed order")

    async with serving(worker):
        event_id = (await client.dispatch(topic, "order")).event_id
        await until_dead(wire, topic)
    (group,) = (await wire.find_event(topic, event_id)).groups
    assert (group.attempts, group.last_error) == (1, "malformed order")


async def test_the_handlers_max_retries_applies_before_the_topics(
    client: aio.Client, worker: Worker, wire: Wire, topic: str
) -> None:
    @worker.on(topic, max_retries=1)
    async def fail(_: Delivery) -> None:
        raise RetryAfter(0)

    async with serving(worker):
        event_id = (await client.dispatch(topic, "order")).event_id
        await until_dead(wire, topic)
    (group,) = (await wire.find_event(topic, event_id)).groups
    assert group.attempts == 2


async def test_only_failed_handlers_see_a_retried_event(
    client: aio.Client, worker: Worker, wire: Wire, topic: str
) -> None:
    ran: list[str] = []

    @worker.on(topic)
    async def write_audit_log(_: Delivery) -> None:
        ran.append("audit")

    @worker.on(topic)
    def send_mail(delivery: Delivery) -> None:
        ran.append("mail")
        if delivery.attempt == 1:
            raise RetryAfter(0.01)

    async with serving(worker):
        await client.dispatch(topic, "order")
        await until_done(wire, topic)
    assert sorted(ran) == ["audit", "mail", "mail"]


async def test_a_handler_that_outlasts_its_lease_keeps_it(
    server: ServerProcess, client: aio.Client, wire: Wire, topic: str
) -> None:
    worker, attempts = Worker(server.address, lease=1, concurrency=1), []

    @worker.on(topic)
    async def outlive(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        # Two leases long. The second event waits for as long without being started.
        await asyncio.sleep(2.2)

    async with serving(worker):
        await client.dispatch_many(topic, ["first", "second"])
        await until_done(wire, topic)
    assert attempts == [1, 1]


async def test_a_handler_that_runs_for_too_long_is_cancelled_and_retried(
    server: ServerProcess, client: aio.Client, wire: Wire, topic: str
) -> None:
    worker, errors = Worker(server.address, max_execution=0.1), []

    @worker.on(topic)
    async def hang_once(delivery: Delivery) -> None:
        errors.append(delivery.last_error)
        if delivery.attempt == 1:
            await asyncio.sleep(SIGNAL_TIMEOUT_S)

    async with serving(worker):
        await client.dispatch(topic, "order")
        await until_done(wire, topic)
    assert errors == ["", "cancelled: the handler ran for longer than 0.1 s"]


async def test_a_removed_handler_leaves_what_it_has_not_started_to_others(
    server: ServerProcess, client: aio.Client, wire: Wire, topic: str
) -> None:
    leaving, staying = Worker(server.address, concurrency=1, prefetch=9), Worker(server.address)
    begun, go_on = asyncio.Event(), asyncio.Event()
    first: list[Delivery] = []
    others: list[Delivery] = []

    async def slow(delivery: Delivery) -> None:
        first.append(delivery)
        begun.set()
        await go_on.wait()

    registration = leaving.add(topic, slow)
    staying.add(f"{topic}.other", slow)
    async with serving(leaving), serving(staying):
        await client.dispatch_many(topic, range(10))
        await soon(begun.wait())
        registration.remove()

        async def handle(delivery: Delivery) -> None:
            others.append(delivery)

        staying.add(topic, handle)
        await group_when(wire, topic, lambda group: group.leased == 1 and not group.ready)
        go_on.set()
        await until_done(wire, topic)
    assert [each.json() for each in first] == [0]
    assert sorted(each.json() for each in others) == list(range(1, 10))
    assert {each.attempt for each in others} == {1}


async def test_an_engine_that_the_server_does_not_run_stops_the_worker(server: ServerProcess, topic: str) -> None:
    worker = Worker(server.address, engine="redis")

    @worker.on(topic)
    async def handle(_: Delivery) -> None: ...

    with pytest.raises(NoDispatcherSpecified):
        await asyncio.wait_for(worker.serve(), SIGNAL_TIMEOUT_S)
