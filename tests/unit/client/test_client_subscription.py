"""Subscriptions of the asyncio client over a real socket, against a server whose answers the test sets."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from duebus import Closing, ClosingReason, Deliveries, Heartbeat, Started, errors
from duebus._aio.transport import READ_AHEAD
from duebus.aio import Client, Subscription
from duebus.v1 import event_bus_pb2
from unit.client.fake_bus import Failure, FakeBus, Stream, deliveries

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


async def in_thread(event: threading.Event) -> bool:
    return await asyncio.to_thread(event.wait, 10)


async def stream_of(bus: FakeBus) -> Stream:
    return await asyncio.to_thread(bus.next_stream)


async def test_entering_a_subscription_waits_until_it_has_started(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders", group="audit", max_in_flight=5) as subscription:
        started = await subscription.started()

    assert started == Started(
        session_id="session-1",
        max_in_flight=64,
        max_in_flight_bytes=16 * 1024 * 1024,
        lease=timedelta(seconds=30),
        disconnect_grace=timedelta(seconds=1),
        lost_lease_tokens=(),
    )
    assert bus.requests["Subscribe"][0] == event_bus_pb2.SubscribeRequest(
        topic="orders", group="audit", max_in_flight=5
    )


async def test_deliveries_are_yielded_one_by_one(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders") as subscription:
        stream = await stream_of(bus)
        stream.send(deliveries("a", "b"), deliveries("c"))
        stream.end()

        assert [each.event_id async for each in subscription] == ["a", "b", "c"]
        assert subscription.closing is None


async def test_frames_are_yielded_as_they_were_sent(bus: FakeBus, client: Client) -> None:
    closing = event_bus_pb2.Closing(reason=event_bus_pb2.Closing.REASON_DRAINING)
    closing.reconnect_after.FromMilliseconds(250)
    heartbeat = event_bus_pb2.Heartbeat(backlog=7)
    heartbeat.server_time.FromSeconds(1_800_000_000)

    async with client.subscribe("orders") as subscription:
        stream = await stream_of(bus)
        stream.send(
            deliveries("a", "b"),
            event_bus_pb2.SubscribeResponse(heartbeat=heartbeat),
            event_bus_pb2.SubscribeResponse(),
            event_bus_pb2.SubscribeResponse(closing=closing),
        )
        stream.end()
        frames = [each async for each in subscription.frames()]

    started, batch, beat, last = frames
    assert isinstance(started, Started)
    assert isinstance(batch, Deliveries)
    assert [each.lease_token for each in batch] == ["lease-of-a", "lease-of-b"]
    assert isinstance(beat, Heartbeat)
    assert (beat.backlog, beat.server_time.timestamp()) == (7, 1_800_000_000)
    assert last == Closing(ClosingReason.DRAINING, timedelta(milliseconds=250))
    assert subscription.closing == last


async def test_a_broken_stream_raises(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders") as subscription:
        stream = await stream_of(bus)
        stream.send(deliveries("a"))
        assert (await anext(subscription)).event_id == "a"
        stream.fail(Failure(UNAVAILABLE, "redis is away", "DISPATCHER_NOT_WORKING"))

        with pytest.raises(errors.DispatcherNotWorking):
            await anext(subscription)
        assert [each async for each in subscription] == []


async def test_an_error_of_a_subscription_is_raised_on_entering(bus: FakeBus, client: Client) -> None:
    bus.answer("Subscribe", Failure(grpc.StatusCode.FAILED_PRECONDITION, "no redis here", "NO_DISPATCHER_SPECIFIED"))

    with pytest.raises(errors.NoDispatcherSpecified, match="no redis here"):
        async with client.subscribe("orders", engine="redis"):
            pass


async def test_a_stream_that_never_starts_is_an_error_after_the_timeout(bus: FakeBus, client: Client) -> None:
    bus.starts_streams = False

    with pytest.raises(errors.DeadlineExceeded, match=r"did not start the subscription within 1\.0 s"):
        async with client.subscribe("orders", timeout=1):
            pass
    assert await in_thread((await stream_of(bus)).ended)


async def test_leaving_a_subscription_ends_its_stream(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders"):
        stream = await stream_of(bus)
        assert not stream.ended.is_set()

    assert await in_thread(stream.ended)
    assert bus.requests["Nack"] == []


async def test_unseen_deliveries_are_released(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders") as subscription:
        (await stream_of(bus)).send(deliveries("a", "b", "c"))
        assert (await anext(subscription)).event_id == "a"

    (request,) = bus.requests["Nack"]
    assert [(each.lease_token, each.release) for each in request.nacks] == [
        ("lease-of-b", True),
        ("lease-of-c", True),
    ]


async def arrived(subscription: Subscription, frames: int) -> None:
    """How many frames wait to be read."""
    async with asyncio.timeout(10):
        while subscription._reader is None or subscription._reader._frames.qsize() < frames:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0)


async def test_unread_frames_are_released_as_far_as_they_were_received(bus: FakeBus, client: Client) -> None:
    ids = [str(each) for each in range(3 * READ_AHEAD)]
    async with client.subscribe("orders") as subscription:
        (await stream_of(bus)).send(*(deliveries(each) for each in ids))
        assert (await anext(subscription)).event_id == "0"
        await arrived(subscription, READ_AHEAD)

    (request,) = bus.requests["Nack"]
    released = [each.lease_token for each in request.nacks if each.release]
    assert released == [f"lease-of-{each}" for each in ids[1 : len(released) + 1]]
    assert len(released) >= READ_AHEAD


@pytest.mark.parametrize("closes_client", [False, True])
def test_a_subscription_that_is_left_open_full_of_frames_does_not_keep_its_loop_from_ending(
    bus: FakeBus, *, closes_client: bool
) -> None:
    async def leave_open() -> None:
        client = Client(bus.target, timeout=10)
        subscription = await client.subscribe("orders").__aenter__()
        left.append(subscription)
        (await stream_of(bus)).send(*(deliveries(str(each)) for each in range(3 * READ_AHEAD)))
        await anext(subscription)
        await arrived(subscription, READ_AHEAD)
        if closes_client:
            await client.close()

    left: list[Subscription] = []
    ending = threading.Thread(target=asyncio.run, args=(leave_open(),), daemon=True)
    ending.start()
    ending.join(10)
    assert left
    assert not ending.is_alive()


async def test_a_frame_whose_reader_is_cancelled_is_released(bus: FakeBus, client: Client) -> None:
    ids = [str(each) for each in range(3 * READ_AHEAD)]
    async with client.subscribe("orders") as subscription:
        (await stream_of(bus)).send(*(deliveries(each) for each in ids))
        assert (await anext(subscription)).event_id == "0"
        await arrived(subscription, READ_AHEAD)
        assert subscription._reader is not None
        read, reader = subscription._reader._frames.qsize(), subscription._reader._task
        assert reader is not None
        reader.cancel()
        await asyncio.wait((reader,))
        assert reader.cancelled()

    (request,) = bus.requests["Nack"]
    assert [each.lease_token for each in request.nacks] == [f"lease-of-{each}" for each in ids[1 : read + 1]]


async def test_frames_that_arrive_faster_than_they_are_read_keep_their_order(bus: FakeBus, client: Client) -> None:
    ids = [str(each) for each in range(3 * READ_AHEAD)]
    async with client.subscribe("orders") as subscription:
        stream = await stream_of(bus)
        stream.send(*(deliveries(each) for each in ids))
        first = await anext(subscription)
        await arrived(subscription, READ_AHEAD)
        stream.end()
        assert [first.event_id, *[each.event_id async for each in subscription]] == ids


async def test_an_error_is_raised_after_the_frames_before_it(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders") as subscription:
        stream = await stream_of(bus)
        stream.send(deliveries("a"), deliveries("b"))
        stream.fail(Failure(UNAVAILABLE, "restart"))
        assert [(await anext(subscription)).event_id for _ in range(2)] == ["a", "b"]
        with pytest.raises(errors.Unavailable, match="restart"):
            await anext(subscription)
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)


async def test_a_cancelled_wait_loses_no_frame(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders") as subscription:
        stream = await stream_of(bus)
        for each in ("a", "b"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(subscription), 0.02)
            stream.send(deliveries(each))
            assert (await anext(subscription)).event_id == each


async def test_closing_a_subscription_ends_the_iterations_over_it(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders") as subscription:
        waiting = asyncio.create_task(collect(subscription))
        await asyncio.sleep(0)
        await subscription.close()
        await subscription.close()

        assert await asyncio.wait_for(waiting, 10) == []


async def collect(subscription: Any) -> list[str]:
    return [each.event_id async for each in subscription]


async def test_closing_the_client_ends_its_subscriptions(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders") as subscription:
        waiting = asyncio.create_task(collect(subscription))
        await asyncio.sleep(0)
        await client.close()

        assert await asyncio.wait_for(waiting, 10) == []


async def test_closing_a_client_on_a_callers_channel_ends_its_subscriptions_too(bus: FakeBus) -> None:
    async with grpc.aio.insecure_channel(bus.target) as channel:
        client = Client(channel=channel)
        async with client.subscribe("orders") as subscription:
            stream = await stream_of(bus)
            waiting = asyncio.create_task(collect(subscription))
            await asyncio.sleep(0)
            await client.close()

            assert await asyncio.wait_for(waiting, 10) == []
            assert await in_thread(stream.ended)


async def test_cancelling_the_task_that_holds_a_subscription_ends_the_stream(bus: FakeBus, client: Client) -> None:
    async def hold() -> None:
        async with client.subscribe("orders") as subscription:
            await collect(subscription)

    holding = asyncio.create_task(hold())
    stream = await stream_of(bus)
    holding.cancel()

    with pytest.raises(asyncio.CancelledError):
        await holding
    assert await in_thread(stream.ended)


async def test_tasks_share_a_subscription(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders") as subscription:
        both = [asyncio.create_task(collect(subscription)) for _ in range(2)]
        await asyncio.sleep(0)
        stream = await stream_of(bus)
        stream.send(deliveries("a", "b"), deliveries("c"))
        stream.end()

        seen = [each for task in both for each in await task]
        assert sorted(seen) == ["a", "b", "c"]


async def test_two_waiting_tasks_each_get_one_delivery_of_a_frame(bus: FakeBus, client: Client) -> None:
    async with client.subscribe("orders") as subscription:
        both = [asyncio.ensure_future(anext(subscription)) for _ in range(2)]
        await asyncio.sleep(0)
        (await stream_of(bus)).send(deliveries("a", "b"))

        assert {each.event_id for each in await asyncio.wait_for(asyncio.gather(*both), 10)} == {"a", "b"}
