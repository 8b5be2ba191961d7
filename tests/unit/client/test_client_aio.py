"""The asyncio client over a real socket, against a server whose answers the test sets."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from duebus import Dispatched, LeaseFailure, Nack, errors
from duebus.aio import Client
from duebus.v1 import event_bus_pb2
from unit.client.fake_bus import LOST, Failure, FakeBus

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_a_client_in_another_event_loop_is_refused(bus: FakeBus) -> None:
    client = Client(bus.target, timeout=10)
    with asyncio.Runner() as first:
        first.run(client.dispatch("orders", "x"))
        with pytest.raises(RuntimeError, match="belongs to the event loop of its first call"):
            asyncio.run(client.dispatch("orders", "x"))
        with pytest.raises(RuntimeError, match="belongs to the event loop of its first call"):
            asyncio.run(client.subscribe("orders").__aenter__())
        first.run(client.close())


async def test_a_dispatch_returns_its_result(bus: FakeBus, client: Client) -> None:
    assert await client.dispatch("orders", {"id": 42}, id="o-42") == Dispatched("o-42", False)

    (request,) = bus.requests["Dispatch"]
    assert (request.topic, request.events[0].data) == ("orders", b'{"id":42}')


async def test_a_dispatch_whose_answer_is_lost_is_retried(bus: FakeBus, client: Client) -> None:
    bus.answer("Dispatch", LOST)

    assert await client.dispatch_many("orders", ["a", "b"]) == [
        Dispatched("event-0", False),
        Dispatched("event-1", False),
    ]
    first, second = bus.requests["Dispatch"]
    assert first.request_id
    assert first == second


async def test_a_restarted_server_is_found_again(bus: FakeBus, client: Client) -> None:
    await client.dispatch("orders", "before")
    bus.stop()
    dispatching = asyncio.create_task(client.dispatch("orders", "after"))
    await asyncio.sleep(0)

    reborn = await asyncio.to_thread(FakeBus, bus.port)
    try:
        assert (await dispatching).event_id == "event-0"
        assert [each.events[0].data for each in reborn.requests["Dispatch"]] == [b"after"]
    finally:
        reborn.stop()


async def test_an_unreachable_server_is_reported_after_the_timeout() -> None:
    async with Client("127.0.0.1:1", timeout=2) as client:
        with pytest.raises(errors.Unavailable, match=r"can't be reached: .*127\.0\.0\.1:1"):
            await client.dispatch("orders", "x")


async def test_an_unresponsive_server_is_an_error_after_the_timeout(bus: FakeBus, client: Client) -> None:
    late = threading.Event()

    def wait(_request: Any, _context: grpc.ServicerContext) -> event_bus_pb2.AckResponse:
        late.wait(10)
        return event_bus_pb2.AckResponse()

    bus.answer("Ack", wait)
    with pytest.raises(errors.DeadlineExceeded):
        await client.ack("a", timeout=timedelta(milliseconds=500))
    late.set()


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
async def test_an_invalid_timeout_is_refused(client: Client, timeout: float) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^timeout: "):
        await client.ack("a", timeout=timeout)


async def test_the_error_of_a_call_is_raised_with_its_cause(bus: FakeBus, client: Client) -> None:
    bus.answer(
        "Dispatch",
        Failure(grpc.StatusCode.INVALID_ARGUMENT, "topic is empty", "NO_TOPIC_SPECIFIED", fields={"topic": "is empty"}),
    )

    with pytest.raises(errors.NoTopicSpecified) as raised:
        await client.dispatch("", "x")
    assert raised.value.field_violations[0].field == "topic"
    assert isinstance(raised.value.__cause__, grpc.aio.AioRpcError)


async def test_settling_returns_the_leases_that_could_not_be_settled(bus: FakeBus, client: Client) -> None:
    failure = event_bus_pb2.LeaseFailure(lease_token="b", reason=event_bus_pb2.LeaseFailure.REASON_EXPIRED)
    bus.answer("Nack", event_bus_pb2.NackResponse(failures=[failure]))

    assert await client.ack(["a", "b"]) == []
    assert await client.extend("a", 5) == []
    failures = await client.nack_many([Nack(delivery="a", release=True), Nack(delivery="b", delay=1)])

    assert [type(each) for each in failures] == [LeaseFailure]
    assert failures[0].lease_token == "b"
    assert bus.requests["Nack"][0].nacks[0].release


async def test_a_stop_is_not_cut_short_by_the_clients_timeout(bus: FakeBus) -> None:
    deadlines = []

    def note(_request: Any, context: grpc.ServicerContext) -> event_bus_pb2.StopResponse:
        deadlines.append(context.time_remaining())
        return event_bus_pb2.StopResponse()

    bus.answer("Stop", note, note)
    async with Client(bus.target, timeout=10) as client:
        await client.stop("local", 3600)
        await client.stop(timeout=5)

    assert deadlines[0] is None or deadlines[0] > 3600
    assert deadlines[1] < 5.1


async def test_the_token_is_sent_with_calls_and_streams(bus: FakeBus) -> None:
    async with Client(bus.target, token="s3cret") as client:
        await client.ack("a")
        async with client.subscribe("orders"):
            pass

    assert bus.metadata["Ack"][0]["authorization"] == "Bearer s3cret"
    assert bus.metadata["Subscribe"][0]["authorization"] == "Bearer s3cret"


async def test_closing_the_client_ends_calls_under_way(bus: FakeBus, client: Client) -> None:
    arrived, late = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(_request: Any, _context: grpc.ServicerContext) -> event_bus_pb2.AckResponse:
        loop.call_soon_threadsafe(arrived.set)
        late.wait(10)
        return event_bus_pb2.AckResponse()

    bus.answer("Ack", wait)
    acking = asyncio.create_task(client.ack("a"))
    await arrived.wait()
    await client.close()

    with pytest.raises(errors.ClientClosed):
        await acking
    with pytest.raises(errors.ClientClosed):
        await client.ack("a")
    late.set()


async def test_cancelling_a_call_raises_cancelled_error(bus: FakeBus, client: Client) -> None:
    late = threading.Event()

    def wait(_request: Any, _context: grpc.ServicerContext) -> event_bus_pb2.AckResponse:
        late.wait(10)
        return event_bus_pb2.AckResponse()

    bus.answer("Ack", wait)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.ack("a"), 0.05)
    late.set()


def test_a_client_may_be_created_before_there_is_a_loop(bus: FakeBus) -> None:
    client = Client(bus.target)

    async def use() -> None:
        async with client:
            await client.ack("a")

    asyncio.run(use())
    assert len(bus.requests["Ack"]) == 1


async def test_a_channel_of_the_caller_is_left_open(bus: FakeBus) -> None:
    async with grpc.aio.insecure_channel(bus.target) as channel:
        async with Client(channel=channel) as client:
            await client.ack("a")
        async with Client(channel=channel) as client:
            await client.ack("b")

    async with Client(channel=channel) as client:
        with pytest.raises(errors.ClientClosed):
            await client.ack("c")
