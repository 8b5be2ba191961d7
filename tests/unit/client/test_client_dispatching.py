"""Single dispatches that wait for one another share a call, and each gets only its own result."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from duebus import Dispatched, errors
from duebus.aio import Client
from duebus.v1 import error_details_pb2, event_bus_pb2
from google.protobuf.message import Message
from unit.client.fake_bus import LOST, Failure, FakeBus

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


class HeldCall:
    """The bus holds the first dispatch until the test releases it."""

    def __init__(self, bus: FakeBus) -> None:
        self._came = threading.Event()
        self._released = threading.Event()
        bus.answer("Dispatch", self._answer)

    def _answer(self, request: Any, _context: grpc.ServicerContext) -> Message:
        self._came.set()
        self._released.wait(30)
        return event_bus_pb2.DispatchResponse(event_ids=[event.id for event in request.events])

    async def came(self) -> None:
        assert await asyncio.to_thread(self._came.wait, 10)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def held(bus: FakeBus) -> Iterator[HeldCall]:
    held = HeldCall(bus)
    yield held
    held.release()


async def waiting(client: Client, *event_ids: str, **arguments: Any) -> list[asyncio.Task[Dispatched]]:
    """Starts dispatches that wait behind the first."""
    tasks = [asyncio.create_task(client.dispatch("orders", each, id=each, **arguments)) for each in event_ids]
    await asyncio.sleep(0)
    return tasks


async def behind_a_call(client: Client, held: HeldCall, *event_ids: str) -> list[asyncio.Task[Dispatched]]:
    """Starts a first dispatch, and others that wait for it."""
    first = await waiting(client, event_ids[0])
    await held.came()
    return first + await waiting(client, *event_ids[1:])


def sent(bus: FakeBus) -> list[list[str]]:
    return [[event.id for event in request.events] for request in bus.requests["Dispatch"]]


async def test_dispatches_that_arrive_during_a_call_share_the_next_one(
    bus: FakeBus, client: Client, held: HeldCall
) -> None:
    tasks = await behind_a_call(client, held, "a", "b", "c", "d")
    held.release()

    assert await asyncio.gather(*tasks) == [Dispatched(each, False) for each in "abcd"]
    assert sent(bus) == [["a"], ["b", "c", "d"]]


async def test_each_caller_learns_whether_its_own_event_is_a_duplicate(
    bus: FakeBus, client: Client, held: HeldCall
) -> None:
    bus.answer("Dispatch", event_bus_pb2.DispatchResponse(event_ids=["b", "c"], duplicate_event_ids=["c"]))
    tasks = await behind_a_call(client, held, "a", "b", "c")
    held.release()

    assert await asyncio.gather(*tasks[1:]) == [Dispatched("b", False), Dispatched("c", True)]


async def test_dispatches_with_different_topics_engines_or_options_do_not_share_a_call(
    bus: FakeBus, client: Client, held: HeldCall
) -> None:
    first = await waiting(client, "a")
    await held.came()
    others = [
        client.dispatch("invoices", "b", id="b"),
        client.dispatch("orders", "c", id="c", engines=["redis"]),
        client.dispatch("orders", "d", id="d", require_subscriber=True),
        client.dispatch("orders", "e", id="e", request_id="mine"),
        client.dispatch("orders", "f", id="f", engines=["local", "redis"]),
    ]
    await asyncio.gather(*others)
    held.release()
    await asyncio.gather(*first)

    assert sorted(map(tuple, sent(bus))) == [("a",), ("b",), ("c",), ("d",), ("e",), ("f",)]


async def test_a_bad_event_fails_alone(bus: FakeBus, client: Client, held: HeldCall) -> None:
    refused = Failure(INVALID, reason="INVALID_ARGUMENT", fields={"events[1].id": "is malformed"})
    alone = Failure(INVALID, reason="INVALID_ARGUMENT", fields={"events[0].id": "is malformed"})

    def refuse_c(request: Any, context: grpc.ServicerContext) -> Message:
        ids = [event.id for event in request.events]
        if "c" in ids:
            (refused if len(ids) > 1 else alone).abort(context)
        return event_bus_pb2.DispatchResponse(event_ids=ids)

    bus.answer("Dispatch", *[refuse_c] * 4)
    tasks = await behind_a_call(client, held, "a", "b", "c", "d")
    held.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(each) for each in results] == [Dispatched, Dispatched, errors.InvalidArgument, Dispatched]
    error = results[2]
    assert isinstance(error, errors.InvalidArgument)
    assert [violation.field for violation in error.field_violations] == ["events[0].id"]
    assert sorted(map(tuple, sent(bus)[2:])) == [("b",), ("c",), ("d",)]


async def test_a_topic_with_room_for_some_events_stores_those(bus: FakeBus, client: Client, held: HeldCall) -> None:
    full = Failure(EXHAUSTED, reason="MAX_QUEUED_EVENTS_REACHED", retry_after=1)
    bus.answer("Dispatch", full, event_bus_pb2.DispatchResponse(event_ids=["x"]), full)
    tasks = await behind_a_call(client, held, "a", "b", "c")
    held.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert sorted(type(each).__name__ for each in results[1:]) == ["Dispatched", "MaxQueuedEventsReached"]


async def test_a_call_that_failed_partway_is_not_sent_again(bus: FakeBus, client: Client, held: HeldCall) -> None:
    partial = error_details_pb2.PartialDispatch(stored_engines=[event_bus_pb2.ENGINE_REDIS], event_ids=["b"])
    bus.answer("Dispatch", Failure(EXHAUSTED, reason="MAX_QUEUED_EVENTS_REACHED", more=(partial,)))
    tasks = await behind_a_call(client, held, "a", "b", "c")
    held.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(each) for each in results[1:]] == [errors.MaxQueuedEventsReached] * 2
    assert sent(bus) == [["a"], ["b", "c"]]


async def test_an_error_that_is_not_about_one_event_reaches_all_callers(
    bus: FakeBus, client: Client, held: HeldCall
) -> None:
    bus.answer("Dispatch", Failure(PRECONDITION, reason="NO_DISPATCHER_SPECIFIED"))
    tasks = await behind_a_call(client, held, "a", "b", "c")
    held.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(each) for each in results[1:]] == [errors.NoDispatcherSpecified] * 2
    assert sent(bus) == [["a"], ["b", "c"]]


async def test_a_shared_call_whose_answer_is_lost_is_repeated_as_it_was(
    bus: FakeBus, client: Client, held: HeldCall
) -> None:
    bus.answer("Dispatch", LOST)
    tasks = await behind_a_call(client, held, "a", "b", "c")
    held.release()
    await asyncio.gather(*tasks)

    _, first, second = bus.requests["Dispatch"]
    assert first.request_id
    assert first == second


async def test_a_caller_that_gives_up_waiting_sends_nothing(bus: FakeBus, client: Client, held: HeldCall) -> None:
    tasks = await behind_a_call(client, held, "a", "b", "c")
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    held.release()
    await asyncio.gather(tasks[0], tasks[2])

    assert sent(bus) == [["a"], ["c"]]


async def test_a_caller_that_is_cancelled_does_not_delay_the_others(
    bus: FakeBus, client: Client, held: HeldCall
) -> None:
    tasks = await behind_a_call(client, held, "a", "b")
    tasks[0].cancel()

    assert await tasks[1] == Dispatched("b", False)


async def test_each_caller_has_its_own_timeout(bus: FakeBus, client: Client, held: HeldCall) -> None:
    tasks = await behind_a_call(client, held, "a", "b")
    (hasty,) = await waiting(client, "c", timeout=0.05)

    with pytest.raises(errors.DeadlineExceeded):
        await hasty
    held.release()
    assert await asyncio.gather(*tasks) == [Dispatched("a", False), Dispatched("b", False)]


async def test_an_unreachable_server_is_reported_to_all_callers(bus: FakeBus) -> None:
    bus.stop()
    async with Client(bus.target, timeout=2) as client:
        results = await asyncio.gather(*[client.dispatch("orders", "x") for _ in range(5)], return_exceptions=True)

    assert [type(each) for each in results] == [errors.Unavailable] * 5


async def test_a_dispatch_that_times_out_after_an_outage_reports_the_outage(bus: FakeBus, client: Client) -> None:
    came, released, ended = threading.Event(), threading.Event(), threading.Event()

    def fail(_request: Any, context: grpc.ServicerContext) -> Message:
        came.set()
        released.wait(30)
        Failure(grpc.StatusCode.UNAVAILABLE, "away", retry_after=60).abort(context)
        raise AssertionError

    def hang(_request: Any, _context: grpc.ServicerContext) -> Message:
        ended.wait(30)
        return event_bus_pb2.DispatchResponse()

    bus.answer("Dispatch", fail, hang)
    tasks = await waiting(client, "a", timeout=2)
    await asyncio.to_thread(came.wait, 10)
    tasks += await waiting(client, "b", timeout=2)
    released.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    ended.set()

    assert sent(bus) == [["a"], ["b"]]
    assert [type(each) for each in results] == [errors.Unavailable] * 2


async def test_closing_the_client_ends_all_waiting_dispatches(bus: FakeBus, client: Client, held: HeldCall) -> None:
    tasks = await behind_a_call(client, held, "a", "b", "c")
    await client.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(each) for each in results] == [errors.ClientClosed] * 3


async def test_large_events_are_sent_in_several_calls(bus: FakeBus, client: Client, held: HeldCall) -> None:
    tasks = await behind_a_call(client, held, "a")
    large = [asyncio.create_task(client.dispatch("orders", b"x" * (1 << 20), id=str(each))) for each in range(4)]
    await asyncio.sleep(0)
    held.release()
    await asyncio.gather(*tasks, *large)

    assert sent(bus) == [["a"], ["0", "1"], ["2", "3"]]
